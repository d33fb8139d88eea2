"""A finished run goes on as a new segment: its own warm-up and decay, films and T as if it had never stopped."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml
from pydantic import ValidationError
from safetensors.torch import load_file

from mae_rad.errors import RunError
from mae_rad.export.encoder_folder import read_card
from mae_rad.pretraining.run import pretrain
from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.training.learning_rate import learning_rate
from mae_rad.training.settings import OptimizerSettings
from tests.builders.shard_builder import film, noise, write_public
from tests.mae_rad.training.test_loop import _losses, _pretrain, _settings, _stop_at

SCHEDULE = "objective={name: mae, tokens: 36, predicted: 0.5, decoder_dim: 32, decoder_depth: 1, decoder_heads: 2, \
schedule: [{until: 0.5, tokens: 16}]}"
MORE = ("mae", SCHEDULE, "optimizer.warmup_fraction=0.3", "runtime.checkpoint_every=1")
FIRST, WHOLE = "optimizer.steps=4", "optimizer.steps=7"


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    films = [film(f"f{i}", noise(120 + 10 * (i % 3), 100, seed=i)) for i in range(20)]
    return write_public(tmp_path_factory.mktemp("shards") / "public", films)


@pytest.fixture(scope="module")
def planned(public: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both segments in one go, as ``config.yaml`` of an extended run states them."""
    run = tmp_path_factory.mktemp("runs") / "planned"
    _pretrain(public, run, *MORE, WHOLE, "optimizer.segments=[4]")
    return run


def _assert_equal(run: Path, expected: Path) -> None:
    assert _losses(run) == _losses(expected)
    weights, others = (load_file(folder / "encoder" / "encoder.safetensors") for folder in (run, expected))
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in others)


def _optimizer(steps: int, *segments: int) -> OptimizerSettings:
    return OptimizerSettings(steps=steps, segments=segments, batch=256, base_learning_rate=1e-3, warmup_fraction=0.1)


def test_every_segment_warms_up_and_decays() -> None:
    extended = _optimizer(150, 100)
    rates = [learning_rate(step, extended) for step in range(150)]
    assert rates[:100] == [learning_rate(step, _optimizer(100)) for step in range(100)]
    assert rates[100:] == [learning_rate(step, _optimizer(50)) for step in range(50)]
    assert max(rates[100:]) == extended.peak_rate
    assert rates[100] < max(rates[100:]) > rates[149]
    assert [extended.segment_of(step) for step in (0, 99, 100, 149)] == [(0, 100)] * 2 + [(100, 150)] * 2


@pytest.mark.parametrize("segments", [[100], [150], [20, 20], [30, 20], [0]])
def test_segments_ascend(segments: list[int]) -> None:
    with pytest.raises(ValidationError):
        _optimizer(100, *segments)


def test_later_segments_have_the_size_of_the_last_stage(tmp_path: Path) -> None:
    extended: PretrainSettings = _settings(tmp_path, tmp_path / "run", *MORE, WHOLE, "optimizer.segments=[4]")
    assert [extended.at(step).objective.tokens for step in range(7)] == [16, 16, 36, 36, 36, 36, 36]
    stages = extended.stages()
    assert [(stage.objective.tokens, stage.optimizer.steps) for stage in stages] == [(16, 2), (36, 5)]
    assert all(stage.optimizer.segments == () for stage in stages)


def test_settings_of_a_run_that_is_not_extended_keep_their_hash(tmp_path: Path) -> None:
    optimizer = _settings(tmp_path, tmp_path / "run").results()["optimizer"]
    assert "segments" not in optimizer


def test_an_extended_run_is_the_planned_one(public: Path, planned: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    _pretrain(public, run, *MORE, FIRST)
    finished = (run / "metrics.jsonl").read_text().splitlines()
    assert read_card(run / "encoder").provenance["steps"] == 4
    text = pretrain(_settings(public, run, *MORE, WHOLE))
    _assert_equal(run, planned)
    assert text is not None
    assert text.splitlines()[0] == f"encoder: {run / 'encoder'}"
    for command in (
        f"mae-rad embed {run} shards={public} out=",
        f"mae-rad compare {run} shards={public} out=",
        f"data.shards={public} start_from={run} runtime.run_dir=",
        "optimizer.steps=14 extends the run by 7 steps",
    ):
        assert command in text
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert lines[:4] == [json.loads(line) for line in finished]
    assert [line.get("segment") for line in lines] == [None] * 4 + [2] * 3
    rates = [line["learning_rate"] for line in lines]
    assert rates[3] < rates[4] == max(rates)
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["optimizer"]["segments"] == [4]
    provenance = read_card(run / "encoder").provenance
    assert (provenance["steps"], provenance["segments"]) == (7, "4 + 3 steps")
    assert provenance == read_card(planned / "encoder").provenance
    _pretrain(public, run, *MORE, WHOLE)  # again: nothing is left to do
    _assert_equal(run, planned)


@pytest.mark.parametrize("stop", [0, 1])
def test_resume_within_an_extension_is_bitwise_identical(
    public: Path, planned: Path, tmp_path: Path, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped before the first step of the extension is saved, and after it."""
    run = tmp_path / "run"
    _pretrain(public, run, *MORE, FIRST)
    go_on = _stop_at(stop, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        _pretrain(public, run, *MORE, WHOLE)
    go_on()
    if stop:  # an unfinished extension is not extended
        with pytest.raises(RunError, match=r"has taken 5 of 7 steps, and only a finished run can be extended"):
            _pretrain(public, run, *MORE, "optimizer.steps=9")
    _pretrain(public, run, *MORE, WHOLE)
    _assert_equal(run, planned)


def test_what_cannot_be_extended_is_refused(public: Path, planned: Path, tmp_path: Path) -> None:
    for more, message in (
        (FIRST, r"optimizer\.segments was \[4\].*optimizer\.steps was 7 and is 4"),
        ("optimizer.batch=4", r"optimizer\.batch was 8 and is 4"),
    ):
        with pytest.raises(RunError, match=message):
            _pretrain(public, planned, *MORE, "optimizer.steps=9" if "batch" in more else WHOLE, more)


def test_ends_of_segments_are_logged_and_saved(planned: Path) -> None:
    """A run without an interval at the end of its first segment has a line there all the same."""
    steps = [json.loads(line)["step"] for line in (planned / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 8))
    assert all(before < after for before, after in pairwise(steps))
