"""Whoever copies a config to another batch is warned before the first step, and learns what to set instead."""

import hashlib
import json
import re
from pathlib import Path
from typing import ClassVar, Literal

import pytest

from data_prep.settings import load
from mae_rad.objectives import OBJECTIVES, MAESettings
from mae_rad.objectives.learning_rates import RateRule, TriedRates
from mae_rad.pretraining.rate_report import rate_report
from mae_rad.pretraining.settings import PretrainSettings

CONFIGS = sorted((Path(__file__).resolve().parents[3] / "configs" / "pretrain").glob("*.yaml"))
DEMO = next(path for path in CONFIGS if path.stem == "demo_mae")


def _settings(*overrides: str, objective: str = "mae") -> PretrainSettings:
    return load(PretrainSettings, None, [
        "data.shards=[public]", "encoder={model: vit_tiny}", f"objective={{name: {objective}}}", "runtime.run_dir=run",
        "optimizer={steps: 10, batch: 128}", *overrides,
    ])  # fmt: skip


def test_a_base_rate_copied_from_a_small_batch_is_reported_with_the_one_to_set() -> None:
    """8e-3 is a peak of 1e-3 at batch 32, and of 4e-3 at batch 128."""
    report = rate_report(_settings("optimizer.base_learning_rate=8.0e-3"))
    assert report.is_outside and report.peak == pytest.approx(4e-3)
    advised = re.search(r"for a peak of (\S+) set optimizer.base_learning_rate=(\S+),", report.text)
    assert advised is not None and float(advised[1]) == 5e-4
    followed = rate_report(_settings(f"optimizer.base_learning_rate={advised[2]}"))
    assert not followed.is_outside and followed.peak == pytest.approx(5e-4)


@pytest.mark.parametrize("rule", ["linear", "square_root", "none"])
@pytest.mark.parametrize(("base", "batch"), [(1e-1, 128), (1e-1, 1000), (1e-7, 128), (1e-7, 20)])
def test_the_advice_is_right_for_every_rule_and_batch(rule: str, base: float, batch: int) -> None:
    words = [f"optimizer={{steps: 10, batch: {batch}, rate_rule: {rule}}}"]
    report = rate_report(_settings(*words, f"optimizer.base_learning_rate={base}"))
    assert report.is_outside and ("may learn slowly" in report.text) == (base < 1e-3)
    advised = re.search(r"set optimizer.base_learning_rate=(\S+),", report.text)
    assert advised is not None
    followed = rate_report(_settings(*words, f"optimizer.base_learning_rate={float(advised[1])}"))
    assert followed.range is not None
    assert min(abs(followed.peak / end - 1) for end in followed.range[:2]) < 0.05  # two digits are printed


def test_a_run_from_trained_weights_may_have_a_lower_peak_and_no_higher_one() -> None:
    low = rate_report(_settings("optimizer.base_learning_rate=1e-6", "start_from=encoder"))
    assert not low.is_outside and "began with random weights" in low.text
    assert rate_report(_settings("optimizer.base_learning_rate=1e-6")).is_outside
    assert rate_report(_settings("optimizer.base_learning_rate=1e-1", "start_from=encoder")).is_outside


def test_an_objective_without_trials_is_not_warned_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MAESettings, "tried_rates", ())
    report = rate_report(_settings("optimizer.base_learning_rate=1.0"))
    assert not report.is_outside and "states no range" in report.text


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_shipped_config_starts_without_a_warning_or_says_that_it_does(path: Path) -> None:
    comments = " ".join(line.lstrip("# ") for line in path.read_text(encoding="utf-8").splitlines())
    assert rate_report(load(PretrainSettings, path)).is_outside == ("warns that its rate" in comments)


def test_an_objective_states_its_own_rule_and_a_config_may_overrule_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class RootSettings(MAESettings):
        rate_rule: ClassVar[RateRule] = "square_root"
        tried_rates: ClassVar[tuple[TriedRates, ...]] = ()
        name: Literal["root"] = "root"  # type: ignore[assignment]

    monkeypatch.setitem(OBJECTIVES, "root", RootSettings)
    own = _settings(objective="root")
    assert own.optimizer.rate_rule == "square_root"
    assert load(PretrainSettings, None, base=own.model_dump(mode="json")).optimizer.rate_rule == "square_root"
    assert _settings("optimizer.rate_rule=linear", objective="root").optimizer.rate_rule == "linear"
    assert own.results()["optimizer"]["rate_rule"] == "square_root"  # type: ignore[index]


def test_hashes_of_runs_with_the_rule_of_earlier_releases_are_theirs() -> None:
    """The settings of the optimiser that 0.2.0 hashed."""
    earlier = "optimizer={steps: 250, batch: 32, base_learning_rate: 8.0e-3, warmup_fraction: 0.1}"
    results = load(PretrainSettings, DEMO, [earlier]).results()
    assert results["optimizer"] == {
        "steps": 250, "batch": 32, "accumulation": 1, "base_learning_rate": 8e-3, "warmup_fraction": 0.1,
        "weight_decay": 0.05, "betas": [0.9, 0.95], "clip_norm": 1.0,
    }  # fmt: skip
    explicit = load(PretrainSettings, DEMO, [earlier, "optimizer.rate_rule=linear"]).results()
    other = load(PretrainSettings, DEMO, [earlier, "optimizer.rate_rule=none"]).results()
    hashes = [
        hashlib.sha256(json.dumps(one, sort_keys=True).encode()).hexdigest() for one in (results, explicit, other)
    ]
    assert hashes[0] == hashes[1] != hashes[2]
