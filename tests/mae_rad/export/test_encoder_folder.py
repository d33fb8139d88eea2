"""An exported encoder loads exactly, or an error states the reason."""

import errno
import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mae_rad.data.batch import Patches
from mae_rad.encoders.vit import EncoderSettings, ViT, build_encoder
from mae_rad.errors import WeightsError
from mae_rad.export.encoder_folder import load_encoder, save_encoder
from mae_rad.objectives import FILM, MAESettings
from tests.builders.full_disk import room_for

SETTINGS = EncoderSettings(dim=16, depth=1, heads=2, patch=4, mean=0.4, std=0.2, pool="cls")
PROVENANCE = {"config_sha256": "c" * 64, "dataset_sha256": "d" * 64, "steps": 20}


@pytest.fixture
def encoder() -> ViT:
    torch.manual_seed(0)
    return build_encoder(SETTINGS).eval()


@pytest.fixture
def folder(tmp_path: Path, encoder: ViT) -> Path:
    save_encoder(encoder, SETTINGS, tmp_path / "run" / "encoder", tokens=196, provenance=PROVENANCE)
    return tmp_path / "run" / "encoder"


def patches() -> Patches:
    values = torch.randint(0, 65536, (2, 5, 16), dtype=torch.int32).to(torch.uint16)
    return Patches(values, torch.rand(2, 5, 2), torch.full((2, 2), 14.0))


def test_a_saved_encoder_loads_exactly(encoder: ViT, folder: Path) -> None:
    loaded, card = load_encoder(folder)
    given = patches()
    assert all(torch.equal(one, other) for one, other in zip(encoder(given), loaded(given), strict=True))
    assert not loaded.training
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    assert card.encoder == SETTINGS
    assert card.provenance == PROVENANCE
    assert (card.preprocessing.tokens, card.preprocessing.patch) == (196, 4)
    assert (card.preprocessing.mean, card.preprocessing.std) == (0.4, 0.2)
    assert card.parameters == sum(parameter.numel() for parameter in encoder.parameters())


def test_a_folder_from_before_the_choice_of_attention_loads(folder: Path, encoder: ViT) -> None:
    card = json.loads((folder / "encoder.json").read_text())
    del card["encoder"]["attention"]
    (folder / "encoder.json").write_text(json.dumps(card))
    given = patches()
    assert torch.equal(load_encoder(folder)[0](given).tokens, encoder(given).tokens)


def test_loading_leaves_the_random_state_alone(folder: Path) -> None:
    before = torch.get_rng_state()
    load_encoder(folder)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_folder_holds_only_its_documented_files(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {"encoder.safetensors", "encoder.json", "README.md"}
    assert [path.name for path in folder.parent.iterdir()] == ["encoder"]
    text = (folder / "README.md").read_text()
    for fact in ("c" * 64, "196 patches", "4 x 4 pixels", "mean 0.4, std 0.2", "class token", "Not a medical device"):
        assert fact in text


def test_weights_are_written_in_float32(tmp_path: Path, encoder: ViT) -> None:
    save_encoder(encoder.bfloat16(), SETTINGS, tmp_path / "e", tokens=196, provenance={})
    assert {value.dtype for value in load_file(tmp_path / "e" / "encoder.safetensors").values()} == {torch.float32}


def test_the_other_weights_of_the_objective_are_saved_with_it(tmp_path: Path, encoder: ViT) -> None:
    objective = MAESettings(decoder_dim=8, decoder_depth=1, decoder_heads=2).build({FILM: encoder})
    save_encoder(encoder, SETTINGS, tmp_path / "e", tokens=196, provenance={}, objective=objective)
    saved = load_file(tmp_path / "e" / "objective.safetensors")
    assert set(saved) | {f"encoder.{name}" for name in encoder.state_dict()} == set(objective.state_dict())
    assert torch.equal(saved["decoder.mask_token"], objective.state_dict()["decoder.mask_token"])
    load_encoder(tmp_path / "e")


def test_writing_again_replaces_it(folder: Path, encoder: ViT) -> None:
    with torch.no_grad():
        encoder.cls.fill_(2)
    save_encoder(encoder, SETTINGS, folder, tokens=1024, provenance={"steps": 40})
    loaded, card = load_encoder(folder)
    assert loaded.cls.eq(2).all()
    assert (card.preprocessing.tokens, card.provenance) == (1024, {"steps": 40})
    assert [path.name for path in folder.parent.iterdir()] == ["encoder"]


def test_a_full_disk_is_reported_and_the_old_folder_kept(
    folder: Path, encoder: ViT, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write() -> None:
        with pytest.raises(WeightsError, match=r"cannot be written \(.+\)\. Free disk space"):
            save_encoder(encoder, SETTINGS, folder, tokens=196, provenance=PROVENANCE)

    def late(_: int) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")  # a network disk tells it when the file is complete

    before = (folder / "encoder.safetensors").read_bytes()
    with room_for(1000):
        write()
    load_encoder(folder)
    monkeypatch.setattr("data_prep.runtime.atomic_write.os.fsync", late)
    write()
    assert (folder / "encoder.safetensors").read_bytes() == before
    assert [path.name for path in folder.parent.iterdir()] == ["encoder"]


def test_another_folder_is_never_replaced(tmp_path: Path, encoder: ViT) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(WeightsError, match=r"holds no encoder\.json, so it is not replaced"):
        save_encoder(encoder, SETTINGS, tmp_path, tokens=196, provenance={})
    assert (tmp_path / "thesis.txt").exists()


def test_weights_that_cannot_be_right_are_not_written(tmp_path: Path, encoder: ViT) -> None:
    with pytest.raises(WeightsError, match="do not fit"):
        save_encoder(encoder, SETTINGS.model_copy(update={"depth": 2}), tmp_path / "e", tokens=196, provenance={})
    encoder.cls.data = torch.empty(0)  # as ZeRO stage 3 leaves parameters outside a gather
    with pytest.raises(WeightsError, match=r"cls is \(0,\), not \(16,\)"):
        save_encoder(encoder, SETTINGS, tmp_path / "e", tokens=196, provenance={})
    encoder.cls.data = torch.full((16,), torch.nan)
    with pytest.raises(WeightsError, match="not finite"):
        save_encoder(encoder, SETTINGS, tmp_path / "e", tokens=196, provenance={})
    assert not list(tmp_path.iterdir())


def edit_card(folder: Path, **changes: object) -> None:
    card = json.loads((folder / "encoder.json").read_text())
    (folder / "encoder.json").write_text(json.dumps(card | changes))


def replace_weights(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    """Other weights, with the card's checksum made to fit."""
    save_file(weights, folder / "encoder.safetensors")
    edit_card(folder, weights_sha256=hashlib.sha256((folder / "encoder.safetensors").read_bytes()).hexdigest())


def test_the_error_of_a_missing_folder_names_the_right_one(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="Give the encoder folder of a run"):
        load_encoder(tmp_path / "nowhere")
    with pytest.raises(WeightsError, match="not an encoder folder"):
        load_encoder(tmp_path)


def test_missing_weights_are_named(folder: Path) -> None:
    (folder / "encoder.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"has no encoder\.safetensors"):
        load_encoder(folder)


@pytest.mark.parametrize("position", [3, -5])
def test_one_flipped_byte_is_noticed(position: int, folder: Path) -> None:
    data = bytearray((folder / "encoder.safetensors").read_bytes())
    data[position] ^= 1
    (folder / "encoder.safetensors").write_bytes(data)
    with pytest.raises(WeightsError, match="damaged"):
        load_encoder(folder)


def test_a_file_of_another_kind_is_noticed(folder: Path) -> None:
    (folder / "encoder.safetensors").write_bytes(b"\x80\x04pickled")
    edit_card(folder, weights_sha256=hashlib.sha256(b"\x80\x04pickled").hexdigest())
    with pytest.raises(WeightsError, match="not a safetensors file"):
        load_encoder(folder)


def test_missing_and_unexpected_weights_are_named(folder: Path, encoder: ViT) -> None:
    weights = dict(encoder.state_dict())
    weights["register"] = weights.pop("cls").clone()
    replace_weights(folder, weights)
    with pytest.raises(WeightsError, match="cls is missing; register is not expected"):
        load_encoder(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"format_version": 2}, "format_version"), ({"encoder": {"dim": 30, "heads": 4}}, "encoder"), ({"x": 1}, "x")],
)
def test_a_card_of_another_version_is_refused(change: dict[str, object], message: str, folder: Path) -> None:
    edit_card(folder, **change)
    with pytest.raises(WeightsError, match=f"damaged or of another version: {message}"):
        load_encoder(folder)


def test_a_torn_card_is_refused(folder: Path) -> None:
    (folder / "encoder.json").write_text("{")
    with pytest.raises(WeightsError, match="damaged or of another version"):
        load_encoder(folder)
