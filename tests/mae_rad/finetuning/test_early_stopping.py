"""A finetuning that stops early exports its best weights, says so, and is the same when it was interrupted."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from data_prep.settings import load
from mae_rad.finetuning.task.settings import FinetuneSettings
from mae_rad.training.preemption import Preemption, StopRequest
from tests.builders.tiny_finetuning import arguments, write_labelled

STOPPING = [
    "optimizer={steps: 40, batch: 8, base_learning_rate: 0.03, warmup_fraction: 0.2, min_learning_rate: 1e-6}",
    "evaluation={every: 2, repetitions: 100}",
    "early_stopping={metric: loss, patience: 2, min_delta: 0.5}",
    "film.transforms=finetuning",
]


def _finetune(public: Path, run: Path, *more: str) -> None:
    from mae_rad.finetuning.run import finetune

    words = arguments(public, run, *STOPPING, *more)
    finetune(load(FinetuneSettings, Path(words[1]), words[2:]))


def _validations(run: Path) -> dict[int, dict[str, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {
        line["step"]: {name: value for name, value in line.items() if name.startswith("val/")}
        for line in lines
        if "val/loss" in line
    }


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("shards") / "public")


@pytest.fixture(scope="module")
def stopped(public: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    _finetune(public, run, "runtime.checkpoint_every=3")
    return run


def test_it_ends_when_the_metric_no_longer_improves_and_exports_the_best(stopped: Path) -> None:
    validations = _validations(stopped)
    assert list(validations) == [2, 4, 6]  # none before the first step; the second and third improve by less than 0.5
    provenance = json.loads((stopped / "predictor" / "predictor.json").read_text())["provenance"]
    assert (provenance["steps"], provenance["films_seen"]) == (6, 48)
    assert provenance["best_step"] == min(validations, key=lambda step: validations[step]["val/loss"])
    assert provenance["stopped_early"] == "loss on val not better by more than 0.5 in 2 validations"
    page = (stopped / "evaluation" / "report.html").read_text()
    assert "6 of 40 steps of 8 films, stopped early: loss on val not better" in page
    assert (stopped / "checkpoints" / "step-0000006").is_dir()


def test_the_metrics_that_it_may_name_are_those_that_are_logged(public: Path, stopped: Path) -> None:
    words = arguments(public, stopped)
    names = load(FinetuneSettings, Path(words[1]), words[2:]).task.validation_metrics
    assert {name for line in _validations(stopped).values() for name in line} <= {f"val/{name}" for name in names}
    assert {"val/auroc", "val/average_precision", "val/loss", "val/auroc/object"} <= set(_validations(stopped)[2])


def test_the_same_command_changes_nothing_of_a_run_that_stopped(public: Path, stopped: Path) -> None:
    before = (stopped / "predictor" / "predictor.safetensors").read_bytes(), _validations(stopped)
    _finetune(public, stopped, "runtime.checkpoint_every=3")
    assert ((stopped / "predictor" / "predictor.safetensors").read_bytes(), _validations(stopped)) == before


def test_an_interrupted_run_stops_at_the_same_step_with_the_same_weights(
    public: Path, stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "resumed"
    with monkeypatch.context() as patch:
        patch.setattr(Preemption, "pop_requests", staticmethod(_exit_after(5)))
        with pytest.raises(SystemExit):
            _finetune(public, run, "runtime.checkpoint_every=1")
    assert max(_validations(run)) == 4
    _finetune(public, run, "runtime.checkpoint_every=1")
    assert _validations(run) == _validations(stopped)
    ours, theirs = (load_file(folder / "predictor" / "predictor.safetensors") for folder in (run, stopped))
    assert all(weights.equal(theirs[name]) for name, weights in ours.items())


def _exit_after(steps: int) -> Callable[[dict[str, float]], StopRequest]:
    """A ``Preemption.pop_requests`` that asks to leave after so many steps."""
    original, taken = Preemption.pop_requests, itertools.count(1)
    return lambda means: original(means)._replace(exit=next(taken) == steps)


def test_test_films_that_are_left_out_are_evaluated_by_a_later_command(public: Path, tmp_path: Path) -> None:
    run = tmp_path / "trial"
    _finetune(public, run, "runtime.test_films=false")
    card = json.loads((run / "predictor" / "predictor.json").read_text())
    assert (card["provenance"]["test_films"], "test/" in (run / "metrics.jsonl").read_text()) == (0, False)
    assert "There are no test films" in (run / "evaluation" / "report.html").read_text()
    weights = (run / "predictor" / "predictor.safetensors").read_bytes()
    _finetune(public, run)
    assert (run / "predictor" / "predictor.safetensors").read_bytes() == weights
    assert json.loads((run / "predictor" / "predictor.json").read_text())["provenance"]["test_films"] == 12
    assert '"test/auroc' in (run / "metrics.jsonl").read_text()
