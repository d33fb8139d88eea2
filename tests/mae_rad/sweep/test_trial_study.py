"""Trials are proposed, claimed, continued and ended early; several workers share them, and nothing is trained twice."""

import json
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from mae_rad.errors import RunError, SettingsError
from mae_rad.sweep.arms import Arm
from mae_rad.sweep.sweep_record import check_record
from mae_rad.sweep.trial_metric import TrialMetric
from mae_rad.sweep.trial_plan import plan_trials
from mae_rad.sweep.trial_study import RANDOM_TRIALS, TrialStudy
from mae_rad.sweep.trial_table import trial_rows, trials_text
from tests.builders.tiny_run import ROOT

CONFIG = ROOT / "configs" / "pretrain" / "small_cpu.yaml"
RATE = "optimizer.base_learning_rate"
METRIC = TrialMetric("probe/knn", is_finetuning=False)


def study(out: Path, *over: str, trials: int | None = 8) -> TrialStudy:
    axes = over or (f"{RATE}=log:1e-5:1e-2",)
    settings = ["optimizer.steps=100", "optimizer.batch=8"]
    return TrialStudy(plan_trials(CONFIG, settings, over=axes, trials=trials, films=None, out=out), METRIC)


def log(arm: Arm[Any], *values: float) -> None:
    """What the training of an arm writes: a value every 40 steps."""
    run = arm.settings.runtime.run_dir
    run.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps({"step": 40 * place, "probe/knn": value}) for place, value in enumerate(values, 1))
    (run / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))


def score(arm: Arm[Any]) -> float:
    """Highest at a rate of 1e-3."""
    return 1.0 / (1.0 + abs(arm.settings.optimizer.base_learning_rate - 1e-3))


def train(source: TrialStudy) -> list[Arm[Any]]:
    trained = []
    while arm := source.take():
        log(arm, score(arm))
        source.ended(arm, None)
        trained.append(arm)
    return trained


def test_what_is_proposed_does_not_depend_on_interruptions(tmp_path: Path) -> None:
    whole = [arm.settings.optimizer.base_learning_rate for arm in train(study(tmp_path / "whole"))]
    rates = []
    for _ in range(8):  # every worker is killed while it trains; the next one continues its trial, and begins another
        killed = study(tmp_path / "killed")
        begun = killed.take()
        assert begun
        _kill(killed)
        following = study(tmp_path / "killed")
        continued = following.take()
        assert continued == begun
        log(continued, score(continued))
        following.ended(continued, None)
        rates.append(continued.settings.optimizer.base_learning_rate)
    assert rates == whole
    assert len(set(whole)) == 8
    assert study(tmp_path / "killed").take() is None


def _kill(source: TrialStudy) -> None:
    """What the end of a process does: its locks are released, and nothing is written."""
    for lock in source._locks.values():
        lock.close()


def test_workers_share_the_trials_and_none_is_trained_by_two(tmp_path: Path) -> None:
    first, second = study(tmp_path, trials=3), study(tmp_path, trials=3)
    one, two, three = first.take(), second.take(), first.take()
    assert one and two and three
    assert [arm.name for arm in (one, two, three)] == ["trial-0000", "trial-0001", "trial-0002"]
    assert second.take() is None and not second.is_complete
    for source, arm in ((first, one), (first, three), (second, two)):
        log(arm, score(arm))
        source.ended(arm, None)
    assert first.is_complete and second.is_complete
    assert first.best == second.best
    assert first.best and first.best.value == max(score(arm) for arm in (one, two, three))


def test_every_combination_is_trained_once_in_the_order_given(tmp_path: Path) -> None:
    trained = train(study(tmp_path, f"{RATE}=1e-4,1e-3", "seed=1,2,3", trials=None))
    assert [(arm.settings.optimizer.base_learning_rate, arm.settings.seed) for arm in trained] == [
        (rate, seed) for rate in (1e-4, 1e-3) for seed in (1, 2, 3)
    ]


def test_settings_that_were_trained_are_not_trained_again(tmp_path: Path) -> None:
    source = study(tmp_path, "seed=1,2,3,4,5,6,7", trials=6)
    trained = train(source)
    rows = trial_rows(source.trials, METRIC.name)
    repeated = [row for row in rows if "not trained again" in row["note"]]
    assert len({arm.settings.seed for arm in trained}) == len(trained)
    assert len(rows) == 6 == len(trained) + len(repeated)
    assert all(
        row["probe/knn"] == rows[int(row["note"][-1 * len("0000, not trained again") :][:4])]["probe/knn"]
        for row in repeated
    )


def test_a_trial_below_the_median_of_the_others_is_ended_early(tmp_path: Path) -> None:
    source = study(tmp_path)
    for _ in range(RANDOM_TRIALS):
        arm = source.take()
        assert arm
        log(arm, 0.8, 0.8, 0.9)
        assert not source.gives_up(arm)
        source.ended(arm, None)
    bad, good = source.take(), source.take()
    assert bad and good
    log(bad, 0.1)
    log(good, 0.85)
    assert source.gives_up(bad) and not source.gives_up(good)
    source.ended(bad, "terminated")
    source.ended(good, None)
    assert [trial.state for trial in source.trials[-2:]] == [TrialState.PRUNED, TrialState.COMPLETE]
    assert "ended early" in trials_text(trial_rows(source.trials, METRIC.name))
    assert source.best and source.best.value == 0.9  # the earliest of equal ones


def test_proposals_and_early_ends_do_not_depend_on_how_often_values_are_read(tmp_path: Path) -> None:
    often, sometimes, never = (_polled(tmp_path / str(every), every) for every in (1, 2, 99))
    assert often == sometimes == never
    states = [state for state, *_ in often]
    assert TrialState.PRUNED in states and TrialState.COMPLETE in states[RANDOM_TRIALS:]


def _polled(out: Path, every: int) -> list[tuple[TrialState, dict[str, Any], dict[int, float]]]:
    """The trials of a sweep that reads every so-manyth of them while they train, the others when they have ended."""
    source = study(out, trials=12)
    while arm := source.take():
        curve, failure = [0.2 * score(arm), 0.5 * score(arm), score(arm)], None
        if int(arm.name[-4:]) % every == 0:
            for number in range(1, 4):
                log(arm, *curve[:number])
                if source.gives_up(arm):
                    failure = "stopped"
                    break
        if failure is None:
            log(arm, *curve)
        source.ended(arm, failure)
    return [(trial.state, trial.params, trial.intermediate_values) for trial in source.trials]


def test_a_trial_that_was_to_end_is_ended_by_the_next_worker(tmp_path: Path) -> None:
    source = study(tmp_path)
    for _ in range(RANDOM_TRIALS):
        arm = source.take()
        assert arm
        log(arm, 0.8, 0.8, 0.9)
        source.ended(arm, None)
    bad = source.take()
    assert bad
    log(bad, 0.1)
    assert source.gives_up(bad)
    _kill(source)
    following = study(tmp_path)
    assert following.take() == bad and following.gives_up(bad)
    following.ended(bad, "terminated")
    assert following.trials[-1].state == TrialState.PRUNED


def test_a_failed_trial_says_why_and_is_not_repeated(tmp_path: Path) -> None:
    source = study(tmp_path, trials=2)
    failed, empty = source.take(), source.take()
    assert failed and empty
    source.ended(failed, "error: the loss is not finite")
    source.ended(empty, None)
    assert source.take() is None and source.is_complete and source.best is None
    notes = [row["note"] for row in trial_rows(study(tmp_path, trials=2).trials, METRIC.name)]
    assert notes == ["error: the loss is not finite", "probe/knn was not logged, or is not finite"]


def test_no_other_trial_is_begun_when_the_first_ones_failed(tmp_path: Path) -> None:
    source = study(tmp_path)
    for _ in range(3):
        arm = source.take()
        assert arm
        source.ended(arm, "error: labels.parquet is missing")
    assert source.take() is None and source.has_only_failed


def test_a_torn_line_of_the_journal_is_dropped_and_a_damaged_one_is_told(tmp_path: Path) -> None:
    arm = study(tmp_path).take()
    journal = tmp_path / "study" / "study.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":5,"wor')
    assert study(tmp_path).take() == arm  # it can be read, and whoever trained it has ended
    for damaged in (b"\x00\x00\x00\n{}\n", b"[" * 100_000 + b"\n"):
        journal.write_bytes(whole + damaged + whole)
        with pytest.raises(RunError, match="is damaged"):
            study(tmp_path)


def test_a_folder_of_another_sweep_is_refused(tmp_path: Path) -> None:
    record = {"kind": "trials", "settings": {"optimizer": {"steps": 6}}, "over": {"seed": "1,2"}}
    check_record(tmp_path / "out", record)
    check_record(tmp_path / "out", record)
    with pytest.raises(SettingsError, match=r"holds another sweep: settings\.optimizer\.steps was 6 and is 8"):
        check_record(tmp_path / "out", record | {"settings": {"optimizer": {"steps": 8}}})
    with pytest.raises(SettingsError, match=r"over\.seed was '1,2' and is '1,3'"):
        check_record(tmp_path / "out", record | {"over": {"seed": "1,3"}})
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="is a file"):
        check_record(tmp_path / "file", record)
