"""A film has equal features in all export formats; models that a format cannot represent are refused."""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

from launch.export import main
from mae_rad.encoders.vit import build_encoder
from mae_rad.errors import SettingsError, WeightsError
from mae_rad.export.convert import ConvertSettings, convert_file
from mae_rad.export.encoder_folder import load_encoder, start_from
from mae_rad.export.encoder_with_decoder_folder import load_objective
from mae_rad.export.export_run import Target, export
from mae_rad.export.fixed_size import FilmSize, ImageEncoder
from mae_rad.losses import patchify
from mae_rad.objectives import FILM, MAESettings, ObjectiveSettings, SimCLRSettings
from mae_rad.objectives.mae import MAE
from tests.builders.trained_run import DECODER, PATCH, as_embedded, as_images, films, our_features, train
from tests.references.published_masking import random_masking

ROWS, COLUMNS = 40, 24
"""Pixels: 10 x 6 patches."""

CLOSE: dict[str, float] = {"rtol": 0, "atol": 1e-5}
"""Of features of about 1 to 4, in float32: other kernels round otherwise."""

SELF = MAESettings.model_validate(DECODER)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    train(tmp_path / "run", SELF)
    return tmp_path / "run"


def exported(run: Path, to: Target, channels: Literal[1, 3] = 1, rows: int = ROWS, columns: int = COLUMNS) -> Path:
    return export(run, to, FilmSize(rows, columns, channels), run.parent / to)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("pool", "emphasis"), [("mean", 0), ("cls", 0), ("mean", 1.5)])
def test_timm_gives_the_same_features(
    tmp_path: Path, channels: Literal[1, 3], pool: str, emphasis: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective = train(tmp_path / "run", SELF, pool=pool, emphasis=emphasis)
    folder = exported(tmp_path / "run", "timm", channels)
    config = json.loads((folder / "config.json").read_text())
    model = timm.create_model(config["architecture"], pretrained=False, **config["model_args"]).eval()
    model.load_state_dict(load_file(folder / "model.safetensors"), strict=True)
    inputs = config["pretrained_cfg"]
    assert inputs["input_size"] == [channels, ROWS, COLUMNS]
    images = as_images(films(ROWS, COLUMNS), channels)
    images = (images - torch.tensor(inputs["mean"])[:, None, None]) / torch.tensor(inputs["std"])[:, None, None]
    expected = our_features(objective.encoder, films(ROWS, COLUMNS))
    with torch.no_grad():
        torch.testing.assert_close(model.forward_features(images)[:, 1:], expected.tokens, **CLOSE)
        torch.testing.assert_close(model(images), expected.pooled, **CLOSE)
        monkeypatch.chdir(folder.parent)
        by_itself = timm.create_model("local-dir:timm", pretrained=True).eval()
        torch.testing.assert_close(by_itself(images), expected.pooled, **CLOSE)
    assert by_itself.pretrained_cfg["mean"] == inputs["mean"]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("rows", "emphasis"), [(ROWS, 0), (COLUMNS, 0), (ROWS, 1.5)])
def test_hugging_face_gives_the_same_features(
    tmp_path: Path, channels: Literal[1, 3], rows: int, emphasis: float
) -> None:
    transformers = pytest.importorskip("transformers", reason="Hugging Face parity needs transformers (dev extra)")
    run = tmp_path / "run"
    train(run, SELF, emphasis=emphasis)
    folder = exported(run, "hf_vit", channels, rows)
    model, info = transformers.ViTModel.from_pretrained(folder, add_pooling_layer=False, output_loading_info=True)
    assert not any(info.values()), info
    images = (as_images(films(rows, COLUMNS), channels) - 0.45) / 0.3
    with torch.no_grad():
        hidden = model.eval()(images).last_hidden_state
    expected = our_features(load_encoder(run / "encoder")[0], films(rows, COLUMNS))
    torch.testing.assert_close(hidden[:, 1:], expected.tokens, **CLOSE)
    torch.testing.assert_close(hidden[:, 0], expected.cls, **CLOSE)


@pytest.mark.parametrize("channels", [1, 3])
def test_its_image_processor_makes_the_input(run: Path, channels: Literal[1, 3]) -> None:
    transformers = pytest.importorskip("transformers", reason="Hugging Face parity needs transformers (dev extra)")
    processor = transformers.AutoImageProcessor.from_pretrained(exported(run, "hf_vit", channels))
    grey = films(ROWS, COLUMNS)[0].astype(np.uint8)
    picture: Any = Image.fromarray(grey) if channels == 3 else grey[..., None]
    made = processor(picture, return_tensors="pt").pixel_values
    expected = ((torch.from_numpy(grey) / 255 - 0.45) / 0.3).expand(1, channels, -1, -1)
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("normalise", "emphasis"), [(True, 0), (False, 0), (True, 1.5)])
def test_hugging_face_reconstructs_the_same(
    tmp_path: Path, channels: Literal[1, 3], normalise: bool, emphasis: float
) -> None:
    transformers = pytest.importorskip("transformers", reason="Hugging Face parity needs transformers (dev extra)")
    settings = SELF.model_copy(update={"normalise_pixels": normalise, "variance_floor": 0.0})
    ours = train(tmp_path / "run", settings, emphasis=emphasis)
    assert isinstance(ours, MAE)
    folder = exported(tmp_path / "run", "hf_vit_mae", channels, COLUMNS)
    loaded = transformers.ViTMAEForPreTraining.from_pretrained(folder, output_loading_info=True)
    model, info = loaded
    assert not any(info.values()), info
    values = films(COLUMNS, COLUMNS)
    images = as_images(values, channels)
    noise = torch.rand(3, 36, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        output = model.eval()((images - 0.45) / 0.3, noise=noise)
        drawn = random_masking(noise, keep=9)
        every = as_embedded(values)
        films_index = torch.arange(3)[:, None]
        seen, hidden = (
            type(every)(every.values[films_index, part], every.coords[films_index, part], every.size)
            for part in (drawn.visible, drawn.removed)
        )
        prediction = ours.decoder(ours.encoder(seen), seen.coords, hidden.coords)
    if not normalise:
        prediction = (prediction - 0.45) / 0.3
    logits = output.logits[films_index, drawn.removed].unflatten(-1, (PATCH**2, channels))
    torch.testing.assert_close(logits, prediction[..., None].expand_as(logits), **CLOSE)
    target = patchify((images - 0.45) / 0.3, PATCH)
    if normalise:
        target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
    error = (output.logits - target)[films_index, drawn.removed].square().mean()
    torch.testing.assert_close(output.loss, error, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("channels", "attention", "fine"),
    [
        pytest.param(1, "plain", {}, marks=pytest.mark.slow),
        (3, "fused", {}),
        (1, "fused", {"emphasis": 1.5, "stem": "convolutional"}),
    ],
)
def test_onnx_gives_the_same_features(
    tmp_path: Path, channels: Literal[1, 3], attention: str, fine: dict[str, Any]
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX parity needs onnxruntime (dev extra)")
    pytest.importorskip("onnxscript", reason="ONNX export needs onnxscript (export extra)")
    encoder = train(tmp_path / "run", SELF, attention=attention, **fine).encoder
    path = exported(tmp_path / "run", "onnx", channels) / "model.onnx"
    assert b"fixed_size.py" not in path.read_bytes()  # the exporter notes the files of the machine it ran on
    session = onnxruntime.InferenceSession(path)
    images = as_images(films(ROWS, COLUMNS), channels)
    expected = our_features(encoder, films(ROWS, COLUMNS))
    for count in (1, 3):
        tokens, pooled = session.run(None, {"images": images[:count].numpy()})
        torch.testing.assert_close(torch.from_numpy(tokens), expected.tokens[:count], **CLOSE)
        torch.testing.assert_close(torch.from_numpy(pooled), expected.pooled[:count], **CLOSE)


@pytest.mark.parametrize("settings", [SELF, MAESettings(decoder_dim=16, decoder_heads=4), SimCLRSettings()])
def test_safetensors_keep_the_decoder(tmp_path: Path, settings: ObjectiveSettings) -> None:
    objective = train(tmp_path / "run", settings)
    folder = export(tmp_path / "run", "safetensors", None, tmp_path / "out")
    loaded = load_objective(folder)
    assert loaded.settings == settings
    state = loaded.objective.state_dict()
    assert state.keys() == objective.state_dict().keys()
    assert all(torch.equal(state[name], value) for name, value in objective.state_dict().items())
    fresh = settings.build({FILM: build_encoder(loaded.card.encoder)})
    assert start_from(folder, fresh) == loaded.card  # to go on training
    assert all(torch.equal(fresh.state_dict()[name], value) for name, value in state.items())


def test_an_exported_objective_loads_again(run: Path) -> None:
    folder = exported(run, "timm", 3, 14 * PATCH, 14 * PATCH)
    convert_file(folder, run.parent / "back", ConvertSettings(heads=2))
    expected = our_features(load_encoder(run / "encoder")[0], films(56, 56))
    back = our_features(load_encoder(run.parent / "back")[0], films(56, 56))
    torch.testing.assert_close(back.tokens, expected.tokens, **CLOSE)


def test_content_sets_the_scale_of_positions(run: Path) -> None:
    encoder, _ = load_encoder(run / "encoder")
    half, whole = (FilmSize(ROWS, COLUMNS, content=share).positions(PATCH, 32) for share in (0.5, 1.0))
    assert half.shape == (1, 61, 32)
    assert not half[:, 0].any()
    assert not torch.equal(half, whole)
    images = as_images(films(ROWS, COLUMNS), 1)
    tokens = [ImageEncoder(encoder, FilmSize(ROWS, COLUMNS, content=share))(images)[0] for share in (0.5, 1.0)]
    assert not torch.allclose(*tokens)


def test_the_command_writes_a_card_that_shows_how_to_load_the_folder(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run.parent / "exported" / "timm"
    assert main([str(run), "--to", "timm", "--channels", "3", "--size", "40x24", "--content", "0.8", f"out={out}"]) == 0
    assert capsys.readouterr().out == f"exported: {out}\n"
    assert {path.name for path in out.iterdir()} == {"README.md", "config.json", "model.safetensors"}
    text = (out / "README.md").read_text()
    for fact in ("local-dir:", "[B, 3, 40, 24]", "three equal channels", "80% of the film", "Not a medical device"):
        assert fact in text
    assert main([str(run), "--to", "timm", "--size", "24x24", f"out={out}"]) == 0  # again: replaced
    assert [path.name for path in out.parent.iterdir()] == ["timm"]


@pytest.mark.parametrize(
    ("to", "size", "message"),
    [
        ("timm", None, "Give --size"),
        ("timm", (30, 24), "not a multiple of the patch side 4: 30x24. Give 32x24"),
        ("hf_vit_mae", (ROWS, COLUMNS), "square films only"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(run: Path, to: Target, size: tuple[int, int] | None, message: str) -> None:
    with pytest.raises((WeightsError, SettingsError), match=message):
        export(run, to, FilmSize(*size) if size else None, run.parent / "out")
    assert [path.name for path in run.parent.iterdir()] == ["run"]


def test_what_cannot_be_expressed_is_refused(tmp_path: Path) -> None:
    train(tmp_path / "cross", MAESettings(decoder_dim=16, decoder_heads=4))
    with pytest.raises(WeightsError, match="Export with --to hf_vit"):
        exported(tmp_path / "cross", "hf_vit_mae", 1, 24)
    train(tmp_path / "simclr", SimCLRSettings())
    with pytest.raises(WeightsError, match="trained with simclr"):
        exported(tmp_path / "simclr", "hf_vit_mae", 1, 24)
    train(tmp_path / "stem", SELF, stem="convolutional")
    targets: tuple[Target, ...] = ("timm", "hf_vit", "hf_vit_mae")
    for to in targets:
        with pytest.raises(WeightsError, match=r"cannot represent\. Export it --to onnx"):
            exported(tmp_path / "stem", to, 1, 24)


def test_what_is_missing_is_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(WeightsError, match=r"neither config\.yaml nor objective\.json"):
        load_objective(run / "encoder")
    (run / "encoder" / "objective.safetensors").unlink()
    with pytest.raises(WeightsError, match="the decoder or head was not exported"):
        load_objective(run)
    assert main([str(run), "--to", "timm", "--size", "40", f"out={run.parent / 'out'}"]) == 2
    assert "not ROWSxCOLUMNS" in capsys.readouterr().err
    with pytest.raises(WeightsError, match=r"holds no README\.md, so it is not replaced"):
        export(run, "timm", FilmSize(ROWS, COLUMNS), run)
