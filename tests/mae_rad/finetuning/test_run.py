"""Finetuning, from labelled shards to a predictor whose predictions equal those of its evaluation."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from data_prep.settings import load
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.data.whole_films import whole_film_batches
from mae_rad.errors import SettingsError
from mae_rad.export.encoder_folder import save_encoder
from mae_rad.export.predictor_folder import Predictor, load_predictor
from mae_rad.finetuning.task.settings import FinetuneSettings
from tests.builders.processes.warm_python import run_ranks, run_script
from tests.builders.tiny_finetuning import arguments, write_labelled

FROZEN = ["adaptation.encoder=frozen", "film={tokens: 36}"]


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("shards") / "public")


def _settings(public: Path, run: Path, *more: str) -> FinetuneSettings:
    words = arguments(public, run, *more)
    return load(FinetuneSettings, Path(words[1]), words[2:])


def _finetune(public: Path, run: Path, *more: str) -> None:
    from mae_rad.finetuning.run import finetune

    finetune(_settings(public, run, *more))


@pytest.fixture(scope="module")
def finished(public: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    _finetune(public, run)
    return run


def test_mlflow_has_the_films_the_metrics_and_the_predictor_of_a_finished_run(finished: Path) -> None:
    connection = sqlite3.connect(finished.parent / "mlflow.db")
    (run,) = connection.execute("select run_uuid from runs where name = 'whole'").fetchone()
    ((name, profile),) = connection.execute("select name, dataset_profile from datasets").fetchall()
    versions = connection.execute("select name, run_id from model_versions").fetchall()
    connection.close()
    assert name == "public"
    assert json.loads(profile) == {"train_films": 48, "train_patients": 24}
    assert versions == [("whole", run)]
    (weights,) = (finished.parent / "mlartifacts").rglob("predictor.safetensors")
    assert weights.read_bytes() == (finished / "predictor" / "predictor.safetensors").read_bytes()


def _lines(run: Path) -> list[dict[str, float]]:
    timed = {"time", "films_per_second", "data_wait", "memory_gib"}
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in timed} for line in lines]


def _losses(run: Path) -> list[float]:
    return [line["loss"] for line in _lines(run) if "loss" in line]


def _weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "predictor" / "predictor.safetensors")


def _stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    from mae_rad.training.deepspeed_engine import Engine

    forward, taken = Engine.forward, 0

    def interrupted(self: Any, batch: Any) -> Any:
        nonlocal taken
        if taken == step:
            raise KeyboardInterrupt
        taken += 1
        return forward(self, batch)

    monkeypatch.setattr(Engine, "forward", interrupted)
    return monkeypatch.undo


def test_the_run_folder_holds_the_documented_files(finished: Path) -> None:
    names = {"config.yaml", "run.json", "checkpoints", "metrics.jsonl", "mlflow_run", "samples"}
    assert {path.name for path in finished.iterdir()} == names | {
        "best.safetensors",
        "predictor",
        "encoder",
        "evaluation",
    }
    tables = {"results.parquet", "results.txt", "predictions.parquet", "report.html"}
    pictures = {
        "curves.png",
        "reliability.png",
        "confusion.png",
        "subgroups.png",
        "learning_curves.png",
        "films-object.png",
        "films-scratch.png",
    }
    assert {path.name for path in (finished / "evaluation").iterdir()} == tables | pictures
    for name in pictures:
        with Image.open(finished / "evaluation" / name) as picture:
            assert picture.width > 300
    load(FinetuneSettings, finished / "config.yaml")
    stored = {path.name for path in (finished.parent / "mlartifacts").rglob("*")}
    assert tables | pictures <= stored


def test_a_predictor_predicts_as_in_its_evaluation(public: Path, finished: Path) -> None:
    predictor, again = load_predictor(finished), load_predictor(finished / "predictor")
    card = predictor.card
    predictions = pq.read_table(finished / "evaluation" / "predictions.parquet").to_pylist()
    expected = {(row["key"], row["label"]): row["probability"] for row in predictions if row["split"] == "test"}
    index = ShardIndex([public], split="test")
    compared = 0
    for rows, patches in whole_film_batches(index, tokens=card.tokens, patch=card.encoder.patch, batch=4, workers=0):
        probabilities = predictor.predict(patches).probabilities
        assert probabilities is not None
        assert torch.equal(probabilities, again.predict(patches).probabilities)  # type: ignore[arg-type]
        for row, film in zip(rows, probabilities, strict=True):
            for label, probability in zip(card.labels, film.tolist(), strict=True):
                assert probability == pytest.approx(expected[index.key(row), label], abs=1e-6)
                compared += 1
    assert compared == len(expected) == 2 * len(index)
    assert _decisions(predictor, public, "val") == {
        (row["key"], row["label"], name): row["probability"] >= thresholds[row["label"]]
        for row in predictions
        for name, thresholds in card.operating_points.items()
        if row["split"] == "val"
    }
    assert card.scope.body_parts == {"HAND": 24, "CHEST": 24} and card.scope.views
    assert card.operating_points.keys() == {"sensitivity_90", "sensitivity_95"}
    assert card.provenance["train_patients"] == 24


def test_films_of_a_body_part_of_few_patients_are_not_counted_in_the_card(tmp_path: Path) -> None:
    public = write_labelled(tmp_path / "public", films=24)
    _finetune(public, tmp_path / "run")
    card = load_predictor(tmp_path / "run").card
    assert card.scope.body_parts and set(card.scope.body_parts.values()) == {0}
    assert "HAND (of fewer than 10 patients)" in (tmp_path / "run" / "predictor" / "README.md").read_text()


def _decisions(predictor: Predictor, public: Path, split: str) -> dict[tuple[str, str, str], bool]:
    """Key, label and operating point → whether the predictor's probability reaches it."""
    index, card, found = ShardIndex([public], split=split), predictor.card, {}
    for rows, patches in whole_film_batches(index, tokens=card.tokens, patch=card.encoder.patch, batch=1, workers=0):
        probabilities = predictor.predict(patches).probabilities
        assert probabilities is not None
        for label, probability in zip(card.labels, probabilities[0].tolist(), strict=True):
            for name, thresholds in card.operating_points.items():
                found[index.key(rows[0]), label, name] = probability >= thresholds[label]
    return found


def test_results_have_intervals_and_subgroups(finished: Path) -> None:
    rows = pq.read_table(finished / "evaluation" / "results.parquet").to_pylist()
    areas = [row for row in rows if row["metric"] == "auroc" and row["subset"] == "all"]
    assert {(row["label"], row["split"]) for row in areas} == {
        (label, split) for label in ("object", "scratch") for split in ("val", "test")
    }
    assert all(row["low"] <= row["value"] <= row["high"] or np.isnan(row["low"]) for row in rows)
    assert {row["subset"].partition("=")[0] for row in rows} == {"all", "body_part", "view", "sex", "age"}
    text = (finished / "evaluation" / "results.txt").read_text()
    assert "test scratch: left out 3 not labelled." in text


def test_the_best_weights_are_those_of_the_best_validation(finished: Path) -> None:
    validations = {line["step"]: line["val/auroc"] for line in _lines(finished) if "val/auroc" in line}
    assert list(validations) == [2, 4, 6]
    best = load_predictor(finished).card.provenance["best_step"]
    assert validations[best] == max(validations.values())  # type: ignore[index]


@pytest.mark.parametrize(("stop", "more"), [(3, []), (4, []), pytest.param(5, FROZEN, marks=pytest.mark.slow)])
def test_resume_is_bitwise_identical(
    public: Path, finished: Path, tmp_path: Path, stop: int, more: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = finished
    if more:
        expected = tmp_path / "expected"
        _finetune(public, expected, *more)
    go_on = _stop_at(stop, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        _finetune(public, tmp_path / "run", *more)
    go_on()
    _finetune(public, tmp_path / "run", *more)
    assert _lines(tmp_path / "run") == _lines(expected)
    weights = _weights(tmp_path / "run")
    assert all(torch.equal(weights[name], value) for name, value in _weights(expected).items())


def test_a_run_stopped_at_a_validation_repeats_it(public: Path, finished: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as exit_info:
        _finetune(public, tmp_path / "run", "runtime.max_minutes=1.0e-9", "runtime.checkpoint_every=1")
    assert exit_info.value.code == 75
    for _ in range(5):
        try:
            _finetune(public, tmp_path / "run", "runtime.max_minutes=1.0e-9")
        except SystemExit:
            continue
    assert _lines(tmp_path / "run") == _lines(finished)


def test_two_ranks_train_the_same_model_as_one(public: Path, finished: Path, tmp_path: Path) -> None:
    result = run_ranks("finetune", arguments(public, tmp_path / "two"), 2, tmp_path / "log")
    assert result.returncode == 0, result.stderr[-2000:]
    assert _losses(tmp_path / "two") == pytest.approx(_losses(finished), rel=2e-5)
    validations = [
        [line["val/loss"] for line in _lines(run) if "val/loss" in line] for run in (tmp_path / "two", finished)
    ]
    assert len(validations[0]) == 3
    assert validations[0] == pytest.approx(validations[1], rel=1e-4)


def test_accumulation_does_not_change_the_model(public: Path, finished: Path, tmp_path: Path) -> None:
    _finetune(public, tmp_path / "run", "optimizer.accumulation=4")
    assert _losses(tmp_path / "run") == pytest.approx(_losses(finished), rel=2e-5)


def test_a_frozen_encoder_does_not_change_and_its_features_can_be_cached(public: Path, tmp_path: Path) -> None:
    from mae_rad.finetuning.run import Finetuning
    from mae_rad.training.deepspeed_engine import join_ranks

    settings = _settings(public, tmp_path / "start", *FROZEN)
    torch.manual_seed(settings.seed)
    model = Finetuning(settings).build_model(join_ranks(1, 60))
    assert settings.encoder is not None
    save_encoder(model.encoder, settings.encoder, tmp_path / "encoder", tokens=36, provenance={})
    begun = [f"start_from={tmp_path / 'encoder'}", "encoder=null", "optimizer.steps=2"]
    _finetune(public, tmp_path / "kept", *FROZEN, *begun)
    _finetune(public, tmp_path / "shown", *FROZEN, *begun, "runtime.cache_gib=0")
    assert _losses(tmp_path / "kept") == pytest.approx(_losses(tmp_path / "shown"), rel=1e-5)
    _finetune(public, tmp_path / "scaled", *FROZEN, *begun, "film.scale=0.5")  # nothing can be kept of films that vary
    assert _losses(tmp_path / "scaled") != pytest.approx(_losses(tmp_path / "kept"), rel=1e-5)
    weights, source = _weights(tmp_path / "kept"), load_file(tmp_path / "encoder" / "encoder.safetensors")
    assert all(torch.equal(weights[f"encoder.{name}"], value) for name, value in source.items())
    head = {name: value for name, value in weights.items() if name.startswith("head.")}
    assert any(not torch.equal(value, model.state_dict()[name]) for name, value in head.items())
    card = load_predictor(tmp_path / "kept").card
    assert card.provenance["started_from_sha256"]


@pytest.mark.slow
def test_windows_of_a_frozen_encoder_may_be_kept_too(public: Path, tmp_path: Path) -> None:
    few = [*FROZEN, "optimizer.steps=2"]
    _finetune(public, tmp_path / "kept", *few)
    windows = [*few, "task.window=4"]
    _finetune(public, tmp_path / "windows", *windows)
    _finetune(public, tmp_path / "windows_shown", *windows, "runtime.cache_gib=0")
    assert _losses(tmp_path / "windows") == pytest.approx(_losses(tmp_path / "windows_shown"), rel=1e-5)
    assert _losses(tmp_path / "windows") != pytest.approx(_losses(tmp_path / "kept"), rel=1e-5)
    assert load_predictor(tmp_path / "windows").card.provenance["window"] == 4
    _finetune(public, tmp_path / "scored", *windows, "task.pool=max_score", "task.hidden=8")
    _finetune(
        public, tmp_path / "scored_shown", *windows, "task.pool=max_score", "task.hidden=8", "runtime.cache_gib=0"
    )
    assert _losses(tmp_path / "scored") == pytest.approx(_losses(tmp_path / "scored_shown"), rel=1e-5)
    assert _losses(tmp_path / "scored") != pytest.approx(_losses(tmp_path / "windows"), rel=1e-5)


@pytest.mark.slow
def test_a_head_learns_to_find_planted_objects(tmp_path: Path) -> None:
    public = write_labelled(tmp_path / "public", 300)
    _finetune(
        public, tmp_path / "run", "film={tokens: 36}", "adaptation.layer_decay=1", "evaluation.every=50",
        "optimizer={steps: 150, batch: 16, base_learning_rate: 0.05, warmup_fraction: 0.2}", "runtime.log_every=50",
    )  # fmt: skip
    test = next(line for line in _lines(tmp_path / "run") if "test/auroc/object" in line)
    for label in ("object", "scratch"):
        assert test[f"test/auroc/{label}"] > 0.95
        assert test[f"test/log_loss/{label}"] < 0.5


@pytest.mark.parametrize("more", [[], pytest.param(FROZEN, marks=pytest.mark.slow)])
def test_partitioned_optimisers_train_the_same_model(
    public: Path, finished: Path, tmp_path: Path, more: list[str]
) -> None:
    if more:
        _finetune(public, tmp_path / "whole", *more)
    _finetune(public, tmp_path / "parts", *more, "runtime.zero_stage=2")
    assert _losses(tmp_path / "parts") == pytest.approx(_losses(tmp_path / "whole" if more else finished), rel=1e-4)


def test_the_command_reports_a_wrong_setting_in_one_line(public: Path, tmp_path: Path) -> None:
    script = "import sys; from launch.finetune import main; sys.exit(main(sys.argv[1:]))"
    result = run_script(script, arguments(public, tmp_path / "run", "task.pol=mean"))
    assert result.returncode == 2
    assert "did you mean 'task.pool'" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_earlier_setting_for_a_resnet_names_its_successor(public: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"Give encoder=\{timm: resnet50_gn\}"):
        _settings(public, tmp_path / "run", "encoder=null", "resnet={model: resnet18}")
