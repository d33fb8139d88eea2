"""A new objective needs one class of settings, one model and one line in ``OBJECTIVES``, and works in every stage."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import pyarrow.parquet as pq
import pytest
from torch import nn

from data_prep.settings import load
from mae_rad.cost.memory import estimate_activations
from mae_rad.cost.table import GIB, Machine, cost_table, vary_settings
from mae_rad.data.batch import Batch, ViewSpec
from mae_rad.embedding.embed_run import embed_table
from mae_rad.encoders.any_encoder import AnyEncoderSettings, Encoder
from mae_rad.encoders.transformer_cost import Activations, Flops, encoder_activations, encoder_flops
from mae_rad.errors import SettingsError
from mae_rad.evaluation.compare_runs import compare_runs
from mae_rad.evaluation.comparison.settings import CompareSettings
from mae_rad.evaluation.report.verdict_sentences import main_pairs
from mae_rad.evaluation.results.queries import ComparisonResults
from mae_rad.evaluation.results.rows import read_comparison
from mae_rad.export.encoder_folder import read_card
from mae_rad.export.encoder_with_decoder_folder import load_objective
from mae_rad.export.export_run import export
from mae_rad.export.fixed_size import FilmSize
from mae_rad.objectives import FILM, OBJECTIVES
from mae_rad.objectives.interface import MethodLabel, Objective, ObjectiveOutput, ObjectiveSettings
from mae_rad.pretraining.run import pretrain
from mae_rad.pretraining.run_flops import flops_per_film
from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.training.deepspeed_engine import Engine
from tests.builders import tiny_run
from tests.builders.shard_builder import film, noise, write_public

STEPS = 6


class BrightnessSettings(ObjectiveSettings):
    """Predict the mean display value of a film."""

    label: ClassVar[MethodLabel] = MethodLabel("Brightness", "the mean brightness of a film is predicted")
    speed_only: ClassVar[frozenset[str]] = frozenset({"chunk"})
    name: Literal["brightness"] = "brightness"
    width: int = 8
    chunk: int = 1

    def views(self) -> dict[str, ViewSpec]:
        return {"whole": ViewSpec(self.tokens, visible=0.5, schedule=self.schedule)}

    def flops(self, encoders: Mapping[str, AnyEncoderSettings], films: int) -> Flops:
        return encoder_flops(encoders[FILM], self.tokens // 2)._replace(
            rest=2.0 * self.width * encoders[FILM].shape.dim
        )

    def activations(self, encoders: Mapping[str, AnyEncoderSettings], films: int, operand_bytes: int) -> Activations:
        return encoder_activations(encoders[FILM], self.tokens // 2, operand_bytes)

    def build(self, encoders: Mapping[str, Encoder]) -> Objective:
        return Brightness(encoders[FILM], self)


class Brightness(Objective):
    def __init__(self, encoder: Encoder, settings: BrightnessSettings) -> None:
        super().__init__()
        self.encoder, self.views = encoder, settings.views()
        self.head = nn.Sequential(nn.Linear(encoder.dim, settings.width), nn.GELU(), nn.Linear(settings.width, 1))

    def forward(self, batch: Batch) -> ObjectiveOutput:
        visible = batch.views["whole"].visible
        target = visible.values.float().mean(dim=(1, 2)) / 65535
        error = self.head(self.encoder(visible).pooled)[:, 0] - target
        return ObjectiveOutput(error.square().mean(), {"error": error.detach().abs().mean()})


@pytest.fixture(autouse=True)
def line_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OBJECTIVES, "brightness", BrightnessSettings)


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    films = [
        film(f"{split}{i}", noise(120, 100, seed=i + start), split=split, body_part=("HAND", "CHEST")[i % 2])
        for start, split, count in ((0, "train", 24), (50, "val", 4), (90, "test", 16))
        for i in range(count)
    ]
    return write_public(tmp_path_factory.mktemp("shards") / "public", films)


def settings(
    public: Path, run: Path, *more: str, objective: str = "{name: brightness, tokens: 36}"
) -> PretrainSettings:
    config, path, *words = tiny_run.arguments(public, run, STEPS, f"objective={objective}", *more)
    assert config == "--config"
    return load(PretrainSettings, Path(path), words)


def test_an_objective_of_the_table_is_read_by_its_name(tmp_path: Path) -> None:
    chosen = settings(tmp_path, tmp_path / "run", "objective.width=4").objective
    assert isinstance(chosen, BrightnessSettings) and chosen.width == 4
    with pytest.raises(SettingsError, match=r"unknown setting 'objective.widht' .*did you mean 'objective.width'"):
        settings(tmp_path, tmp_path / "run", "objective.widht=4")
    with pytest.raises(SettingsError, match=r"name must be one of mae, simclr, .*, brightness, not other"):
        settings(tmp_path, tmp_path / "run", "objective.name=other")


def test_it_is_costed_by_its_own_count(tmp_path: Path) -> None:
    chosen = settings(tmp_path, tmp_path / "run")
    counted = BrightnessSettings(tokens=36).flops({FILM: chosen.encoder}, 8)
    assert flops_per_film(chosen) == counted
    assert estimate_activations(chosen) == encoder_activations(chosen.encoder, 18, 4)
    line = cost_table(list(vary_settings(chosen, [], [], [])), Machine(1e12, 1, GIB, 1e-8, 1536)).splitlines()[-1]
    assert line.split()[:7] == ["36", "96", "vit_tiny", "0", f"{counted.forward / 1e9:.1f}", "0", "-"]
    with pytest.raises(SettingsError, match=r"does not apply to Brightness\. .* objective\.width=…"):
        list(vary_settings(chosen, [], [], ["0.25/0.25"]))


def test_settings_of_speed_are_left_out_of_results(tmp_path: Path) -> None:
    results = settings(tmp_path, tmp_path / "run", "objective.chunk=3").results()
    assert results["objective"] == {"name": "brightness", "tokens": 36, "schedule": [], "width": 8}


def test_it_is_trained_resumed_exported_embedded_and_compared(
    public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    pretrain(settings(public, whole))
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "forward", _until(4))
        with pytest.raises(KeyboardInterrupt):
            pretrain(settings(public, cut))
    pretrain(settings(public, cut, "objective.chunk=2"))  # what changes speed alone may differ
    card = read_card(cut / "encoder")
    assert card.weights_sha256 == read_card(whole / "encoder").weights_sha256
    assert card.provenance["objective"] == "brightness"

    kept = load_objective(export(cut, "safetensors", None, tmp_path / "kept", step=3))
    assert isinstance(kept.objective, Brightness) and kept.card.provenance["objective"] == "brightness"
    assert (
        "output = objective(batch)" in (export(cut, "safetensors", None, tmp_path / "last") / "README.md").read_text()
    )
    assert (export(cut, "timm", FilmSize(96, 96), tmp_path / "timm") / "model.safetensors").is_file()

    out = embed_table(
        cut, shards=[public], out=tmp_path / "films.parquet", tokens=36, pool="mean", precision="f32",
        batch_size=8, workers=0, processes=1,
    )  # fmt: skip
    assert pq.read_table(out).num_rows == 44

    pretrain(
        settings(public, tmp_path / "contrast", objective="{name: simclr, tokens: 36, head_hidden: 8, head_dim: 4}")
    )
    compared = _compare(public, [cut, tmp_path / "contrast"], tmp_path / "comparison")
    rows = read_comparison(compared / "comparison.parquet")
    assert {row.encoder: row.method for row in rows if row.reference is None}["cut"] == "brightness"
    assert main_pairs(ComparisonResults(rows))[0][:2] == ("cut", "contrast")
    assert "The mean brightness of a film is predicted." in (compared / "report.html").read_text()


def _until(step: int) -> Any:
    forward, taken = Engine.forward, 0

    def stopping(self: Any, batch: Batch) -> Any:
        nonlocal taken
        if taken == step:
            raise KeyboardInterrupt
        taken += 1
        return forward(self, batch)

    return stopping


def _compare(public: Path, runs: list[Path], out: Path) -> Path:
    words = {
        "shards": [str(public)], "out": str(out), "tokens": 36, "pools": ["mean"], "precision": "f32",
        "tasks": [{"column": "body_part"}], "probes": ["linear"], "analyses": [], "label_fractions": [1.0],
        "random_seeds": [0], "pixel_components": 0, "repetitions": 100, "subsets": [],
        "runtime": {"workers": 0, "processes": 1, "threads": 1},
    }  # fmt: skip
    compare_runs(runs, CompareSettings.model_validate(words))
    return out
