"""The results of a benchmark of pairs: gain of every strategy over e0_instance, rank, shortcuts, gaps and overhead."""

import json
import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from mae_rad.evaluation.comparison.differences import SIGNIFICANT
from mae_rad.evaluation.results.display_names import LABELLED
from mae_rad.evaluation.results.queries import ComparisonResults
from mae_rad.evaluation.results.rows import Row
from mae_rad.evaluation.statistics.intervals import Interval, holm
from mae_rad.pairing.settings import INSTANCE
from mae_rad.pairs_bench.bench_arms import BenchArm, in_group

RANKED = "linear"
"""Probe by which strategies are ranked, with all labels."""
_OF_CLASSES = ("auroc", "macro_auroc")
"""Metrics of which gaps are averaged: R² has no lower bound, and is of any size in a small group."""
CIRCULAR = "circular"
"""Verdict of a row whose strategy read what is asked."""


@dataclass(frozen=True)
class Gain:
    """A score of a strategy, and its paired difference to e0_instance.

    Attributes:
        strategy, setting: of the runs.
        task, probe, metric, labels: what was scored, with which share of the labels.
        value: score with its interval over patients.
        difference: to e0_instance; None of e0_instance itself.
        p_adjusted: of the difference, by Holm over the strategies and tasks of a probe, setting and share of labels.
        verdict: higher, lower, no difference shown, circular; empty of e0_instance.
        runs: pretrainings.
    """

    strategy: str
    setting: str
    task: str
    probe: str
    metric: str
    labels: float
    value: Interval
    difference: Interval | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    verdict: str = ""
    runs: int = 1

    @property
    def is_circular(self) -> bool:
        """Whether the strategy read what is asked."""
        return self.verdict == CIRCULAR


@dataclass(frozen=True)
class StrategySummary:
    """A strategy under a setting.

    Attributes:
        mean_rank: mean rank over the tasks that it did not read, 1 is best; None if it read all.
        tasks: number of these tasks.
        gain: mean difference to e0_instance over them; None of e0_instance.
        scanner: shortcut → how well it is told from the embedding.
        gaps: column → mean over the tasks of classes of the difference between the best and the worst subset.
        speed: films per second relative to e0_instance; None where it was not measured.
    """

    strategy: str
    setting: str
    mean_rank: float | None
    tasks: int
    gain: float | None
    scanner: Mapping[str, Interval]
    gaps: Mapping[str, float]
    speed: float | None


def gains(rows: Sequence[Row], arms: Sequence[BenchArm], circular: Collection[tuple[str, str]]) -> list[Gain]:
    """Join the scores of a comparison with the differences to e0_instance.

    Args:
        rows: of the comparison.
        arms: arms that were compared.
        circular: (strategy, task) of the rows that take no part in rank and verdict.

    Returns:
        By setting, probe, share of labels, task, and in the order of the arms.
    """
    results = ComparisonResults(rows)
    groups = {arm.group: arm for arm in arms}
    found: list[Gain] = []
    for fraction in results.fractions:
        differences = {
            (row.encoder, row.reference, row.task, row.probe): row for row in results.differences(fraction=fraction)
        }
        for row in results.values(fraction=fraction):
            arm = groups.get(row.encoder)
            if arm is None or row.probe not in LABELLED:
                continue
            reference = in_group(INSTANCE, arm.setting)
            found.append(_gain(arm, row, differences.get((row.encoder, reference, row.task, row.probe)), circular))
    return _corrected(found)


def _gain(arm: BenchArm, row: Row, difference: Row | None, circular: Collection[tuple[str, str]]) -> Gain:
    is_circular = (arm.strategy, row.task) in circular
    return Gain(
        arm.strategy, arm.setting, row.task, row.probe, row.metric, row.label_fraction, row.interval,
        difference.difference if difference else None, difference.p_value if difference else None,
        verdict=CIRCULAR if is_circular else "", runs=row.n_runs,
    )  # fmt: skip


def _corrected(found: Sequence[Gain]) -> list[Gain]:
    """Correct the p-values of each family and set the verdicts."""
    families: dict[tuple[str, str, float], list[int]] = {}
    for place, gain in enumerate(found):
        if gain.p_value is not None and not gain.is_circular:
            families.setdefault((gain.setting, gain.probe, gain.labels), []).append(place)
    corrected = list(found)
    for places in families.values():
        p_values = [p for place in places if (p := found[place].p_value) is not None]
        for place, p in zip(places, holm(p_values), strict=True):
            gain = found[place]
            assert gain.difference is not None  # a row with a p-value has one
            is_shown = p < SIGNIFICANT and (gain.difference.low > 0 or gain.difference.high < 0)
            verdict = ("higher" if gain.difference.value > 0 else "lower") if is_shown else "no difference shown"
            corrected[place] = replace(gain, p_adjusted=p, verdict=verdict)
    return corrected


def summaries(found: Sequence[Gain], rows: Sequence[Row], arms: Sequence[BenchArm]) -> list[StrategySummary]:
    """Summarise every strategy under every setting.

    Args:
        found: results of :func:`gains`.
        rows: of the comparison.
        arms: arms that were compared.
    """
    results = ComparisonResults(rows)
    headline = [gain for gain in found if gain.probe == RANKED and gain.labels == 1]
    ranks = _ranks(headline)
    speeds = _speeds(arms)
    scanners, _ = results.shortcuts()
    made = []
    for group, arm in {arm.group: arm for arm in arms}.items():
        own = [g for g in headline if (g.strategy, g.setting) == (arm.strategy, arm.setting) and not g.is_circular]
        of_group = [ranks[_key(gain)] for gain in own]
        differences = [gain.difference.value for gain in own if gain.difference]
        reference = speeds.get(in_group(INSTANCE, arm.setting))
        speed = speeds.get(group)
        made.append(
            StrategySummary(
                arm.strategy,
                arm.setting,
                statistics.fmean(of_group) if of_group else None,
                len(own),
                statistics.fmean(differences) if differences else None,
                {row.task: row.interval for row in scanners if row.encoder == group},
                _gaps(results, group, [gain.task for gain in own if gain.metric in _OF_CLASSES]),
                speed / reference if speed and reference else None,
            )
        )
    return made


def _ranks(headline: Sequence[Gain]) -> dict[tuple[str, str, str], float]:
    """Rank of each row among the strategies that did not read its task, under its setting; 1 is best."""
    ranks: dict[tuple[str, str, str], float] = {}
    for task, setting in dict.fromkeys((gain.task, gain.setting) for gain in headline):
        own = [gain for gain in headline if (gain.task, gain.setting) == (task, setting) and not gain.is_circular]
        values = [-gain.value.value for gain in own]
        ranks |= {_key(gain): float(rank) for gain, rank in zip(own, rankdata(values), strict=True)}
    return ranks


def _key(gain: Gain) -> tuple[str, str, str]:
    return gain.strategy, gain.setting, gain.task


def _gaps(results: ComparisonResults, group: str, tasks: Sequence[str]) -> dict[str, float]:
    """Mean over tasks of the difference between the best and the worst value of a column."""
    per_column: dict[str, list[float]] = {}
    for task in tasks:
        of_task: dict[str, list[float]] = {}
        for subset, rows in results.subsets(task, RANKED).items():
            column = subset.partition("=")[0]
            of_task.setdefault(column, []).extend(row.interval.value for row in rows if row.encoder == group)
        for column, values in of_task.items():
            if len(values) > 1 and np.isfinite(values).all():
                per_column.setdefault(column, []).append(max(values) - min(values))
    return {column: statistics.fmean(values) for column, values in per_column.items()}


def _speeds(arms: Sequence[BenchArm]) -> dict[str, float]:
    """Group → median of the films per second that its trainings logged."""
    logged: dict[str, list[float]] = {}
    for arm in arms:
        logged.setdefault(arm.group, []).extend(_films_per_second(arm.arm.settings.runtime.run_dir))
    return {group: statistics.median(values) for group, values in logged.items() if values}


def _films_per_second(run: Path) -> list[float]:
    log = run / "metrics.jsonl"
    lines = map(json.loads, log.read_text(encoding="utf-8").splitlines()) if log.is_file() else ()
    values = [line.get("films_per_second") for line in lines]
    return [value for value in values if isinstance(value, int | float) and math.isfinite(value) and value > 0]
