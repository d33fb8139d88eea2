"""Differences are to e0_instance, corrected by Holm; circular rows are out of rank, verdict and mean."""

from pathlib import Path

import pytest

from mae_rad.evaluation.statistics.intervals import holm
from mae_rad.pairing.settings import INSTANCE
from mae_rad.pairs_bench.bench_arms import BenchArm, bench_arms
from mae_rad.pairs_bench.bench_page import BenchResults, summary_text, write_bench_page, write_tables
from mae_rad.pairs_bench.bench_prediction import predictions
from mae_rad.pairs_bench.bench_scores import CIRCULAR, gains, summaries
from tests.builders.made_comparison import made_rows
from tests.builders.tiny_run import ROOT

CONFIG = ROOT / "configs" / "pretrain" / "small_cpu_simclr.yaml"
STRATEGIES = ("e1_study", "e13_fracture", "e14_random")
TASKS = ("fracture", "effusion", "cast")
ROWS = made_rows(TASKS, dict.fromkeys((*STRATEGIES, INSTANCE), "simclr"), fractions=(0.1, 1.0))
READ = {("e13_fracture", "fracture")}


@pytest.fixture
def arms(tmp_path: Path) -> list[BenchArm]:
    return bench_arms(STRATEGIES, CONFIG, (), named=[], over=[], films=64, out=tmp_path)


def test_differences_are_those_to_the_instances_corrected_for_their_number(arms: list[BenchArm]) -> None:
    found = [gain for gain in gains(ROWS, arms, READ) if gain.probe == "linear" and gain.labels == 1]
    raw = {
        (row.encoder, row.task): row
        for row in ROWS
        if row.reference == INSTANCE and (row.probe, row.label_fraction, row.metric) == ("linear", 1.0, "auroc")
    }
    assert {(gain.strategy, gain.task) for gain in found} == {(s, t) for s in (*STRATEGIES, INSTANCE) for t in TASKS}
    compared = [gain for gain in found if gain.difference and not gain.is_circular]
    assert len(compared) == 8  # three strategies, three findings, one circular
    p_values = [raw[gain.strategy, gain.task].p_value or 1.0 for gain in compared]
    assert [gain.p_adjusted for gain in compared] == holm(p_values)
    for gain in compared:
        assert gain.difference == raw[gain.strategy, gain.task].difference


def test_circular_rows_are_named_and_take_no_part(arms: list[BenchArm]) -> None:
    found = gains(ROWS, arms, READ)
    circular = [gain for gain in found if gain.is_circular]
    assert {(gain.strategy, gain.task) for gain in circular} == READ
    assert all(gain.p_adjusted is None and gain.verdict == CIRCULAR for gain in circular)
    lines = {one.strategy: one for one in summaries(found, ROWS, arms)}
    assert lines["e13_fracture"].tasks == 2 and lines["e1_study"].tasks == 3
    everything = {one.strategy: one for one in summaries(gains(ROWS, arms, set()), ROWS, arms)}
    headline = [gain for gain in found if gain.probe == "linear" and gain.labels == 1]
    ranks = []
    for task in TASKS:
        values = {g.strategy: g.value.value for g in headline if g.task == task and not g.is_circular}
        ranks.append(1 + sum(value > values["e1_study"] for value in values.values()))
    assert lines["e1_study"].mean_rank == pytest.approx(sum(ranks) / 3)
    assert sum(one.mean_rank or 0 for one in everything.values()) == pytest.approx(1 + 2 + 3 + 4)
    assert lines[INSTANCE].gain is None


def test_gaps_and_scanner_are_of_the_strategy(arms: list[BenchArm]) -> None:
    lines = {one.strategy: one for one in summaries(gains(ROWS, arms, READ), ROWS, arms)}
    own = [
        [row.interval.value for row in ROWS
         if (row.encoder, row.task) == ("e1_study", task) and row.subset.startswith("body_part=")]
        for task in TASKS[1:]
    ]  # fmt: skip
    assert lines["e1_study"].gaps["body_part"] == pytest.approx(sum(max(one) - min(one) for one in own) / 2)
    told = [row.interval for row in ROWS if (row.encoder, row.task) == ("e1_study", "manufacturer")]
    assert lines["e1_study"].scanner["manufacturer"] == told[0]
    assert lines["e1_study"].speed is None  # nothing was trained


def test_speed_is_relative_to_the_instances(arms: list[BenchArm]) -> None:
    for arm, speed in zip(arms, (10, 20, 30, 40), strict=True):
        run = arm.arm.settings.runtime.run_dir
        run.mkdir()
        (run / "metrics.jsonl").write_text(f'{{"step": 1, "films_per_second": {speed}}}\n{{"step": 2}}\n')
    lines = {one.strategy: one.speed for one in summaries(gains(ROWS, arms, READ), ROWS, arms)}
    assert lines == {"e1_study": 0.25, "e13_fracture": 0.5, "e14_random": 0.75, INSTANCE: 1.0}


def test_the_page_has_every_strategy_and_loads_nothing(arms: list[BenchArm], tmp_path: Path) -> None:
    found = gains(ROWS, arms, READ)
    results = BenchResults(
        found,
        summaries(found, ROWS, arms),
        {"": predictions({}, found, "")},
        {},
        {"n8": ["no count"]},
        {"e2": "it <failed>"},
        ["Equal."],
    )
    write_tables(results, tmp_path)
    page = write_bench_page(results, tmp_path).read_text()
    assert all(name in page for name in (*STRATEGIES, INSTANCE)) and "circular" in page
    assert "it &lt;failed&gt;" in page and "no count" in page and "://" not in page
    assert (tmp_path / "pairs_bench.csv").read_text().count(",circular,") == 6  # three probes, two shares of labels
    assert "not known: 0 strategies, and at least 5 are needed" in summary_text(results)
