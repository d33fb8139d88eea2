"""Published masked autoencoders of any patch and grid, also in checkpoints of Lightning, give their own features."""

import enum
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from data_prep.shard_format.sidecar import Sidecar
from mae_rad.data.film import Film
from mae_rad.data.views import stack, whole_film
from mae_rad.errors import WeightsError
from mae_rad.export.convert import ConvertSettings, convert_file
from mae_rad.export.encoder_folder import load_encoder
from mae_rad.losses import sincos_positions
from tests.builders.shard_builder import film, noise

DIM, DEPTH, HEADS, DECODER_DIM = 32, 2, 2, 16
PLAIN = ConvertSettings(heads=HEADS, decoder_heads=2, mean=[0], std=[1])
"""Values in [0, 1], as a training without mean and deviation has them."""


def table(dim: int, rows: int, columns: int) -> Tensor:
    coords = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).double()
    return torch.cat([torch.zeros(1, dim), sincos_positions(coords, dim).float()])[None]


def published(patch: int, side: int, channels: int = 1) -> Any:
    """transformers' own model, on a grid of ``side`` patches."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ViTMAEConfig(
        hidden_size=DIM, num_hidden_layers=DEPTH, num_attention_heads=HEADS, intermediate_size=4 * DIM,
        image_size=patch * side, patch_size=patch, num_channels=channels, decoder_hidden_size=DECODER_DIM,
        decoder_num_hidden_layers=1, decoder_num_attention_heads=2, decoder_intermediate_size=4 * DECODER_DIM,
        mask_ratio=0.0, layer_norm_eps=1e-6,
    )  # fmt: skip
    model = transformers.ViTMAEForPreTraining(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        model.vit.embeddings.position_embeddings.copy_(table(DIM, side, side))
        model.decoder.decoder_pos_embed.copy_(table(DECODER_DIM, side, side))
    return model


def assert_same_features(folder: Path, model: Any, patch: int, side: int, channels: int = 1) -> None:
    """Of a film of ``side`` patches that is cut as embedding cuts it."""
    encoder, card = load_encoder(folder)
    stream, sidecar = film("one", noise(patch * side, patch * side, seed=3))
    one = Film(stream, Sidecar.model_validate(sidecar), card.encoder.film_scale)
    patches = stack([whole_film(one, card.preprocessing.tokens, patch)])
    assert patches.values.shape[1] == side * side
    pixels = torch.from_numpy(one.displayed().astype("float32") / 65535)[None, None].expand(-1, channels, -1, -1)
    with torch.no_grad():
        theirs = model.vit(pixels, noise=torch.arange(side * side)[None].float()).last_hidden_state
        ours = encoder(patches)
    torch.testing.assert_close(ours.tokens, theirs[:, 1:], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.cls, theirs[:, 0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("patch", "side", "channels"), [(48, 6, 1), (8, 20, 1), (64, 3, 3), (16, 14, 1), (4, 64, 1)])
def test_any_patch_and_grid_gives_the_features_of_transformers(
    patch: int, side: int, channels: int, tmp_path: Path
) -> None:
    model = published(patch, side, channels)
    model.save_pretrained(tmp_path / "theirs")
    settings = PLAIN.model_copy(update={"mean": [0.0] * channels, "std": [1.0] * channels})
    report = convert_file(tmp_path / "theirs", tmp_path / "e", settings)
    card = load_encoder(tmp_path / "e")[1]
    assert card.preprocessing.tokens == side * side
    assert (card.encoder.film_scale.native, any("scale: native" in line for line in report)) == ((side != 14,) * 2)
    assert (tmp_path / "e" / "objective.safetensors").exists()
    assert_same_features(tmp_path / "e", model, patch, side, channels)


class Colour(enum.Enum):
    """An object of a training program."""

    RED = 1


class Harmful:
    """Pickled code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("run",)


@pytest.mark.parametrize("prefix", ["net.", "net._orig_mod.", "module.net.", "_orig_mod."])
def test_a_checkpoint_of_lightning_is_read_without_its_pickled_objects(
    prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = published(48, 5)
    checkpoint = {
        "pytorch-lightning_version": "2.0.1",
        "epoch": 9,
        "state_dict": {f"{prefix}{name}": value for name, value in model.state_dict().items()},
        "callbacks": {"ModelCheckpoint": {"dirpath": Path("/home/somebody"), "best": torch.tensor(1.0)}},
        "hyper_parameters": {"colour": Colour.RED, "lr": functools.partial(print, "run"), "more": Harmful()},
    }
    torch.save(checkpoint, tmp_path / "epoch_009.ckpt")
    convert_file(tmp_path / "epoch_009.ckpt", tmp_path / "e", PLAIN)
    assert "run" not in capsys.readouterr().out
    assert_same_features(tmp_path / "e", model, 48, 5)


class SystemCall:
    """Pickled code that torch never accepts."""

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, ("echo run",)


@pytest.mark.parametrize(
    "damage",
    [
        lambda checkpoint: checkpoint.update(hyper_parameters=SystemCall()),
        lambda checkpoint: checkpoint.update(state_dict=Harmful()),
        lambda checkpoint: checkpoint["state_dict"].update({"net.vit.embeddings.cls_token": Harmful()}),
        lambda checkpoint: (checkpoint.pop("pytorch-lightning_version"), checkpoint.update(more=Harmful())),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_line(
    damage: Callable[[dict[str, Any]], object], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    state = {f"net.{name}": value for name, value in published(16, 4).state_dict().items()}
    checkpoint = {"pytorch-lightning_version": "2.0.1", "state_dict": state, "callbacks": Colour.RED}
    damage(checkpoint)
    torch.save(checkpoint, tmp_path / "last.ckpt")
    with pytest.raises(WeightsError, match=r"could run code|holds no mapping of weights"):
        convert_file(tmp_path / "last.ckpt", tmp_path / "e", PLAIN)
    assert "run" not in capfd.readouterr().out


def test_two_models_of_the_same_names_are_refused(tmp_path: Path) -> None:
    state = published(16, 4).state_dict()
    both = {f"net.{name}": value for name, value in state.items()} | dict(state)
    torch.save({"state_dict": both}, tmp_path / "both.pth")
    with pytest.raises(WeightsError, match="two models of the same names"):
        convert_file(tmp_path / "both.pth", tmp_path / "e", PLAIN)


def test_one_channel_without_a_stated_normalisation_is_not_guessed(tmp_path: Path) -> None:
    torch.save(published(16, 4).state_dict(), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"mean=\[0\] std=\[1\]"):
        convert_file(tmp_path / "w.pth", tmp_path / "e", ConvertSettings(heads=HEADS, decoder_heads=2))


def test_a_grid_that_is_no_square_is_known(tmp_path: Path) -> None:
    state = published(16, 4).state_dict()
    state["vit.embeddings.position_embeddings"] = table(DIM, 2, 8)
    state["decoder.decoder_pos_embed"] = table(DECODER_DIM, 2, 8)
    torch.save(state, tmp_path / "w.pth")
    report = convert_file(tmp_path / "w.pth", tmp_path / "e", PLAIN)
    assert any("a film of 2 x 8 patches" in line for line in report)
    state["decoder.decoder_pos_embed"] = table(DECODER_DIM, 4, 4)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="positions of the decoder"):
        convert_file(tmp_path / "other.pth", tmp_path / "f", PLAIN)
