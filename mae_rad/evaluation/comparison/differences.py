"""Compute the rows of one metric: values of encoders and groups of runs, differences, and their verdicts."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mae_rad.evaluation.comparison.candidates import Candidate
from mae_rad.evaluation.comparison.compute_budget import EQUAL_QUANTITY, budget_ratio
from mae_rad.evaluation.comparison.settings import CompareSettings
from mae_rad.evaluation.results.rows import (
    MAY_BE_NARROW,
    RANDOM_BASELINE,
    TRAINED_ELSEWHERE,
    Arm,
    Row,
    Verdict,
    is_self_supervised,
)
from mae_rad.evaluation.statistics.intervals import (
    BootstrapSamples,
    Contrast,
    Interval,
    bootstrap,
    contrast,
    detectable_reach,
    holm,
    honest_interval,
    interval,
    pool_runs,
    with_rule_of_three,
)
from mae_rad.evaluation.statistics.metrics import Estimate

SIGNIFICANT = 0.05
FEW_PATIENTS = 20
"""With fewer test patients of a class, 95 % intervals contain the true value too rarely: with 5 to 8 patients in 78 to
88 of 100 cases, with 20 in 94 (AUROC of normal scores)."""


_RANGES = {
    "ari": (-1.0, 1.0),
    "r2": (-math.inf, 1.0),
    "mean_absolute_error": (0.0, math.inf),
    "log_loss": (0.0, math.inf),
}
"""Lowest and highest value of metrics; all others are between 0 and 1. One patient may change a metric without bounds
by any amount."""
_NUMBER_METRICS = ("r2", "mean_absolute_error")
"""Metrics of predicted numbers, where there are no classes."""
_SAME_FAMILY = {"macro_auroc": "auroc", "r2": "auroc"}
"""Main metric → the one with which it is corrected: one table of the report has the main metrics of all tasks."""


@dataclass(frozen=True, kw_only=True)
class ComparedMetric:
    """One metric on fixed films, as functions of their weights.

    Attributes:
        task, subset, probe, label_fraction, metric: values of the columns of the rows.
        vectors: encoder → T and pool.
        choice: position of T and pooling in ``CompareSettings.choices``.
        patients: [N] number of the patient of each film.
        estimates: encoder → functions of the weights, one per draw of labelled patients.
        notes: encoder → note of its probe, such as the chosen hyperparameter.
        n_train, n_train_patients: training films and patients of one draw.
        biased: see :func:`mae_rad.evaluation.statistics.intervals.interval`.
        min_class_patients: patients of the class that has the fewest, or of a number; 0 where there are no classes, or
            the metric is a mean over films.
        unit: unit of a predicted number.
        spread: standard deviation of the predicted numbers of the test films; a mean absolute error is relevantly
            different by the relevant difference times this.
    """

    task: str
    probe: str
    metric: str
    vectors: Mapping[str, tuple[int, str]]
    patients: NDArray[np.int64]
    estimates: Mapping[str, Sequence[Estimate]]
    notes: Mapping[str, str]
    choice: int = 0
    subset: str = "all"
    label_fraction: float = 1.0
    n_train: int = 0
    n_train_patients: int = 0
    biased: bool = False
    min_class_patients: int = 0
    unit: str = ""
    spread: float = 1.0

    @property
    def bound(self) -> int:
        """Number of patients for the rule of three."""
        return self.min_class_patients or len(np.unique(self.patients))

    def interval(self, sampled: BootstrapSamples) -> Interval:
        """Compute the interval of one encoder or of pooled runs, within the range of the metric."""
        lowest, highest = self._range
        return honest_interval(interval(sampled, biased=self.biased), self.bound, lowest=lowest, highest=highest)

    @property
    def _range(self) -> tuple[float, float]:
        return _RANGES.get(self.metric, (0.0, 1.0))

    def contrast(self, first: BootstrapSamples, second: BootstrapSamples) -> Contrast:
        """Compute the difference ``first`` minus ``second``."""
        estimate = contrast(first, second, biased=self.biased)
        if not all(map(math.isfinite, self._range)):
            return estimate
        return estimate._replace(interval=with_rule_of_three(estimate.interval, self.bound))


class EncoderPair(NamedTuple):
    """Two compared groups of runs, the arm, and a note on what is not matched."""

    encoder: str
    reference: str
    arm: str
    note: str


def group_members(candidates: Sequence[Candidate]) -> dict[str, list[Candidate]]:
    """Return group → its runs, in the order of the candidates."""
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(candidate.group, []).append(candidate)
    return groups


def encoder_pairs(candidates: Sequence[Candidate], within: float) -> list[EncoderPair]:
    """Select the compared groups: each with the random baseline, and any two that share an arm or lack arms.

    A ceiling is compared with the random baseline alone: of an encoder, the share of the way to it is reported. A
    self-supervised encoder comes before one that was trained elsewhere, whatever their order.

    Args:
        candidates: all compared encoders.
        within: largest relative difference of matched budgets; a larger one is noted.
    """
    groups = group_members(candidates)
    n_reference_runs = [name for name in groups if name != RANDOM_BASELINE]
    out = (
        [EncoderPair(name, RANDOM_BASELINE, "none", "") for name in n_reference_runs]
        if RANDOM_BASELINE in groups
        else []
    )
    compared = [name for name in n_reference_runs if groups[name][0].role != "ceiling"]
    for pair in combinations(compared, 2):
        first, second = reversed(pair) if _is_turned(*(groups[name][0].method for name in pair)) else pair
        encoder_runs, reference_runs = groups[first][0].arms, groups[second][0].arms
        common = [arm for arm in encoder_runs if arm in reference_runs]
        if common or not encoder_runs or not reference_runs:
            problems = [_mismatch(groups[first], groups[second], arm, within) for arm in common]
            problems += _other_differences([*groups[first], *groups[second]]) if common else []
            note = "; ".join(filter(None, problems))
            out.append(EncoderPair(first, second, arm_value(common), note))
    return out


def _is_turned(first_method: str, second_method: str) -> bool:
    return first_method in TRAINED_ELSEWHERE and is_self_supervised(second_method)


def arm_value(arms: Sequence[Arm]) -> str:
    """Return the value of the column ``arm``."""
    return "both" if len(arms) > 1 else arms[0] if arms else "none"


def _mismatch(encoder_runs: Sequence[Candidate], reference_runs: Sequence[Candidate], arm: Arm, within: float) -> str:
    ratios = [budget_ratio(first.budget, second.budget, arm) for first in encoder_runs for second in reference_runs]
    if any(value is None for value in ratios):
        return f"declared {arm}, but {EQUAL_QUANTITY[arm]} is not known of every run"
    largest = max(value for value in ratios if value is not None)
    return "" if largest - 1 <= within else f"declared {arm}, but {EQUAL_QUANTITY[arm]} differs by {largest - 1:.0%}"


def _other_differences(runs: Sequence[Candidate]) -> list[str]:
    """Name other differences between runs of one arm: backbones, shards."""
    shapes = [first.shape for first in runs if first.shape]
    backbones = {(*shape.shape, shape.patch) for shape in shapes}
    shards = {first.trained_on for first in runs if first.trained_on}
    return [
        *(["their backbones differ"] if len(backbones) > 1 else []),
        *(["they were pretrained on different shards"] if len(shards) > 1 else []),
    ]


def metric_rows(
    metric: ComparedMetric,
    candidates: Sequence[Candidate],
    pairs: Sequence[EncoderPair],
    settings: CompareSettings,
    seed: int,
) -> list[Row]:
    """Compute the rows of one metric: encoders, groups of several runs, single draws, differences.

    Args:
        metric: metric on fixed films.
        candidates: all compared encoders.
        pairs: pairs whose differences are computed.
        settings: settings of the comparison.
        seed: seed of the bootstrap.
    """
    present = [candidate for candidate in candidates if candidate.name in metric.estimates]
    sampled = bootstrap(metric.patients, metric.estimates, repetitions=settings.repetitions, seed=seed)
    rows = []
    for candidate in present:
        samples = sampled[candidate.name]
        rows.append(metric_row(metric, [candidate], metric.interval(samples)))
        if samples.values.size > 1:
            rows += _draw_rows(metric, candidate, samples)
    groups = group_members(present)
    runs = {name: pool_runs([sampled[member.name] for member in members]) for name, members in groups.items()}
    for name, members in groups.items():
        if len(members) > 1:
            rows.append(metric_row(metric, members, metric.interval(runs[name])))
    for pair in pairs:
        if pair.encoder in runs and pair.reference in runs:
            estimate = metric.contrast(runs[pair.encoder], runs[pair.reference])
            note = "; ".join(
                filter(None, (pair.note, _reference_vector_note(metric, groups[pair.encoder], groups[pair.reference])))
            )
            row = metric_row(metric, groups[pair.encoder], metric.interval(runs[pair.encoder]), note)
            rows.append(with_difference(row, pair, estimate, len(groups[pair.reference])))
    return rows


def _reference_vector_note(
    metric: ComparedMetric, encoder_runs: Sequence[Candidate], reference_runs: Sequence[Candidate]
) -> str:
    """Note T and pool of the reference if they differ from those of the encoder and both have several vectors."""
    (tokens, pool), (their_tokens, their_pool) = (
        metric.vectors[runs[0].name] for runs in (encoder_runs, reference_runs)
    )
    if (tokens, pool) == (their_tokens, their_pool) or "none" in (pool, their_pool):
        return ""
    return f"against vectors of T {their_tokens}, {their_pool}"


def metric_row(metric: ComparedMetric, runs: Sequence[Candidate], value: Interval, note: str = "") -> Row:
    """Build a row without a difference, of one run or of several pooled runs.

    Args:
        metric: metric on fixed films.
        runs: one run, or the runs of a group.
        value: value with its interval.
        note: note to append.
    """
    first, several = runs[0], len(runs) > 1
    probe_note = "" if several else metric.notes.get(first.name, "")
    tokens, pool = metric.vectors[first.name]
    return Row(
        encoder=first.group if several else first.name,
        method=first.method,
        arm=arm_value(first.arms),
        pretraining_seed=None if several else first.seed,
        n_runs=len(runs),
        task=metric.task,
        subset=metric.subset,
        tokens=tokens,
        pool=pool,
        choice=metric.choice,
        probe=metric.probe,
        label_fraction=metric.label_fraction,
        metric=metric.metric,
        interval=value,
        n_films=len(metric.patients),
        n_patients=len(np.unique(metric.patients)),
        n_train=metric.n_train,
        n_train_patients=metric.n_train_patients,
        relevant_unit=metric.spread if metric.metric == "mean_absolute_error" else 1.0,
        note="; ".join(filter(None, (probe_note, _unit_note(metric), _caveat(value, metric), note))),
    )


def _draw_rows(metric: ComparedMetric, candidate: Candidate, sampled: BootstrapSamples) -> Iterator[Row]:
    """Yield the values of single draws of labels, without intervals."""
    for draw, value in enumerate(sampled.values[0].tolist()):
        row = metric_row(metric, [candidate], Interval(value, math.nan, math.nan))
        yield replace(row, probe_seed=draw, note="")


def with_difference(row: Row, pair: EncoderPair, estimate: Contrast, n_reference_runs: int) -> Row:
    """Add a difference to a row.

    Args:
        row: row of the encoder.
        pair: compared groups.
        estimate: difference with its interval.
        n_reference_runs: number of runs of the reference.
    """
    return replace(
        row,
        arm=pair.arm,
        reference=pair.reference,
        n_reference_runs=n_reference_runs,
        difference=estimate.interval,
        p_value=estimate.p_value if math.isfinite(estimate.p_value) else None,
        minimum_detectable_difference=estimate.detectable if math.isfinite(estimate.detectable) else None,
        freedom=estimate.freedom,
    )


def _unit_note(metric: ComparedMetric) -> str:
    return f"in {metric.unit or 'the unit of the label'}" if metric.metric == "mean_absolute_error" else ""


def _caveat(value: Interval, metric: ComparedMetric) -> str:
    is_number = metric.metric in _NUMBER_METRICS
    if not math.isfinite(value.low):
        return f"too few patients{'' if is_number else ' of a class'} for an interval"
    if 0 < metric.min_class_patients < FEW_PATIENTS:
        subject = "there are" if is_number else "a class has"
        return f"{subject} {metric.min_class_patients} test patients: {MAY_BE_NARROW}"
    return ""


def with_verdicts(rows: Sequence[Row], settings: CompareSettings) -> list[Row]:
    """Correct the p-values and detectable differences of all rows for their number, and set the verdicts.

    Differences of one kind are corrected together: to the random baseline or between encoders, with equal choice of
    vectors, label fraction, metric and kind of subset. So each table of the report is corrected for its own length.

    Args:
        rows: all rows of the comparison.
        settings: settings of the comparison.
    """
    families: dict[tuple[object, ...], list[int]] = {}
    for position, row in enumerate(rows):
        if row.p_value is not None:
            families.setdefault(family(row), []).append(position)
    adjusted: dict[int, float] = {}
    tests: dict[int, int] = {}
    for positions in families.values():
        p_values = [p for position in positions if (p := rows[position].p_value) is not None]
        adjusted |= dict(zip(positions, holm(p_values), strict=True))
        tests |= dict.fromkeys(positions, len(positions))
    out = []
    for position, row in enumerate(rows):
        corrected_row = replace(row, p_adjusted=adjusted.get(position))
        if row.minimum_detectable_difference is not None and position in tests:
            correction = detectable_reach(row.freedom, tests[position]) / detectable_reach(row.freedom)
            min_class_patients = row.minimum_detectable_difference * correction
            corrected_row = replace(corrected_row, minimum_detectable_difference=min_class_patients)
        out.append(replace(corrected_row, verdict=verdict(corrected_row, settings.relevant_difference)))
    return out


def family(row: Row) -> tuple[object, ...]:
    """Return what the rows share that are corrected together."""
    metric = _SAME_FAMILY.get(row.metric, row.metric)
    subset_kind = row.subset.partition("=")[0]
    return (
        row.reference == RANDOM_BASELINE,
        row.choice,
        row.label_fraction,
        metric,
        subset_kind,
        row.probe == "shortcut",
    )


def verdict(row: Row, relevant: float) -> Verdict:
    """Return the verdict on the difference of a row.

    Args:
        row: row with a difference, or without, whose verdict is empty.
        relevant: smallest relevant difference, in units of ``row.relevant_unit``.
    """
    relevant = relevant * row.relevant_unit
    if row.difference is None:
        return ""
    _, low, high = row.difference
    if not math.isfinite(low):
        return "too few patients"
    is_significant = row.p_adjusted is not None and row.p_adjusted < SIGNIFICANT
    if is_significant and low > 0:
        return "higher"
    if is_significant and high < 0:
        return "lower"
    if -relevant < low and high < relevant:
        return "no relevant difference"
    detectable = row.minimum_detectable_difference
    return "too few patients" if detectable is None or detectable > relevant else "no difference shown"
