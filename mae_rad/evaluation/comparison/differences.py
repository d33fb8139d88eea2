"""One metric of all encoders on the same films → rows: encoders, groups of runs, differences; then what they show."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mae_rad.evaluation.comparison.budget import WORDS, ratio
from mae_rad.evaluation.comparison.candidates import Candidate
from mae_rad.evaluation.comparison.settings import CompareSettings
from mae_rad.evaluation.results.rows import FLOOR, MAY_BE_NARROW, Arm, Row, Verdict
from mae_rad.evaluation.statistics.intervals import (
    Contrast,
    Interval,
    Sampled,
    bootstrap,
    contrast,
    detectable_reach,
    holm,
    interval,
    together,
    widened,
)
from mae_rad.evaluation.statistics.metrics import Estimate

SIGNIFICANT = 0.05
FEW_PATIENTS = 20
"""With fewer test patients of a class, 95 % intervals of a value hold the truth too rarely: with 5 to 8 in 78 to
88 of 100 cases, with 20 in 94 (AUROC of normal scores)."""


_LEAST = {"ari": -1.0}
"""Metrics that may be negative; all others lie between 0 and 1."""


@dataclass(frozen=True, kw_only=True)
class ComparedMetric:
    """One metric on fixed films, as functions of their weights.

    Attributes:
        task, subset, probe, label_fraction, metric: as in the rows.
        vectors: encoder → T and pool.
        choice: place of the choice of vectors among those of the settings.
        patients: [N] of the films that are weighed.
        estimates: encoder → functions, one per draw of labelled patients.
        notes: encoder → what its probe chose.
        n_train, n_train_patients: of one draw.
        biased: see :func:`mae_rad.evaluation.statistics.intervals.interval`.
        least: patients of the class that has the fewest; 0 where there are no classes.
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
    least: int = 0

    @property
    def bound(self) -> int:
        """Patients who bound what may be said where all of them go one way."""
        return self.least or len(np.unique(self.patients))

    def interval(self, sampled: Sampled) -> Interval:
        """Of one encoder or of several runs, within what the metric can be."""
        found = widened(interval(sampled, biased=self.biased), self.bound)
        if not math.isfinite(found.low):
            return found
        return found._replace(low=max(found.low, _LEAST.get(self.metric, 0.0)), high=min(found.high, 1.0))

    def contrast(self, one: Sampled, other: Sampled) -> Contrast:
        """Of two of them."""
        found = contrast(one, other, biased=self.biased)
        return found._replace(interval=widened(found.interval, self.bound))


class EncoderPair(NamedTuple):
    """Two groups of runs that are compared, the arm in which, and what is to be said against it."""

    one: str
    other: str
    arm: str
    note: str


def group_members(candidates: Sequence[Candidate]) -> dict[str, list[Candidate]]:
    """Group → its runs, in the order of the candidates."""
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(candidate.group, []).append(candidate)
    return groups


def pairs(candidates: Sequence[Candidate], within: float) -> list[EncoderPair]:
    """Which groups are compared: each with the floor, and any two that share an arm or of which one has none.

    Args:
        candidates: everyone.
        within: largest excess at which an arm is matched; a larger one is said.
    """
    groups = group_members(candidates)
    others = [name for name in groups if name != FLOOR]
    out = [EncoderPair(name, FLOOR, "none", "") for name in others] if FLOOR in groups else []
    for one, other in combinations(others, 2):
        ours, theirs = groups[one][0].arms, groups[other][0].arms
        common = [arm for arm in ours if arm in theirs]
        if common or not ours or not theirs:
            wrong = [_mismatch(groups[one], groups[other], arm, within) for arm in common]
            wrong += _unlike([*groups[one], *groups[other]]) if common else []
            note = "; ".join(filter(None, wrong))
            out.append(EncoderPair(one, other, arm_word(common), note))
    return out


def arm_word(arms: Sequence[Arm]) -> str:
    """As the column ``arm`` says it."""
    return "both" if len(arms) > 1 else arms[0] if arms else "none"


def _mismatch(ours: Sequence[Candidate], theirs: Sequence[Candidate], arm: Arm, within: float) -> str:
    ratios = [ratio(one.budget, other.budget, arm) for one in ours for other in theirs]
    if any(value is None for value in ratios):
        return f"declared {arm}, but {WORDS[arm]} is not known of every run"
    most = max(value for value in ratios if value is not None)
    return "" if most - 1 <= within else f"declared {arm}, but {WORDS[arm]} differs by {most - 1:.0%}"


def _unlike(runs: Sequence[Candidate]) -> list[str]:
    """What else differs between runs that an arm calls matched."""
    shapes = [one.shape for one in runs if one.shape]
    backbones = {(*shape.shape, shape.patch) for shape in shapes}
    shards = {one.trained_on for one in runs if one.trained_on}
    return [
        *(["their backbones differ"] if len(backbones) > 1 else []),
        *(["they were pretrained on different shards"] if len(shards) > 1 else []),
    ]


def rows_of(
    measured: ComparedMetric,
    candidates: Sequence[Candidate],
    compared: Sequence[EncoderPair],
    settings: CompareSettings,
    seed: int,
) -> list[Row]:
    """Values of every encoder, of groups of several runs and of single draws; differences of ``compared``."""
    present = [candidate for candidate in candidates if candidate.name in measured.estimates]
    sampled = bootstrap(measured.patients, measured.estimates, repetitions=settings.repetitions, seed=seed)
    rows = []
    for candidate in present:
        own = sampled[candidate.name]
        rows.append(row_of(measured, [candidate], measured.interval(own)))
        if own.values.size > 1:
            rows += _draws(measured, candidate, own)
    groups = group_members(present)
    runs = {name: together([sampled[member.name] for member in members]) for name, members in groups.items()}
    for name, members in groups.items():
        if len(members) > 1:
            rows.append(row_of(measured, members, measured.interval(runs[name])))
    for pair in compared:
        if pair.one in runs and pair.other in runs:
            found = measured.contrast(runs[pair.one], runs[pair.other])
            note = "; ".join(filter(None, (pair.note, _other_vector(measured, groups[pair.one], groups[pair.other]))))
            row = row_of(measured, groups[pair.one], measured.interval(runs[pair.one]), note)
            rows.append(with_difference(row, pair, found, len(groups[pair.other])))
    return rows


def _other_vector(measured: ComparedMetric, ours: Sequence[Candidate], theirs: Sequence[Candidate]) -> str:
    """T and pool of the reference where they are not those of the encoder, and both have several vectors."""
    (tokens, pool), (their_tokens, their_pool) = (measured.vectors[runs[0].name] for runs in (ours, theirs))
    if (tokens, pool) == (their_tokens, their_pool) or "none" in (pool, their_pool):
        return ""
    return f"against vectors of T {their_tokens}, {their_pool}"


def row_of(measured: ComparedMetric, runs: Sequence[Candidate], value: Interval, note: str = "") -> Row:
    """A row without a difference, of one run or of several together."""
    first, several = runs[0], len(runs) > 1
    said = "" if several else measured.notes.get(first.name, "")
    tokens, pool = measured.vectors[first.name]
    return Row(
        encoder=first.group if several else first.name,
        method=first.method,
        arm=arm_word(first.arms),
        pretraining_seed=None if several else first.seed,
        n_runs=len(runs),
        task=measured.task,
        subset=measured.subset,
        tokens=tokens,
        pool=pool,
        choice=measured.choice,
        probe=measured.probe,
        label_fraction=measured.label_fraction,
        metric=measured.metric,
        interval=value,
        n_films=len(measured.patients),
        n_patients=len(np.unique(measured.patients)),
        n_train=measured.n_train,
        n_train_patients=measured.n_train_patients,
        note="; ".join(filter(None, (said, _caveat(value, measured.least), note))),
    )


def _draws(measured: ComparedMetric, candidate: Candidate, sampled: Sampled) -> Iterator[Row]:
    """The values of single draws of labels, without intervals: the points behind a band."""
    for draw, value in enumerate(sampled.values[0].tolist()):
        row = row_of(measured, [candidate], Interval(value, math.nan, math.nan))
        yield replace(row, probe_seed=draw, note="")


def with_difference(row: Row, pair: EncoderPair, found: Contrast, others: int) -> Row:
    """``row`` with its difference to ``pair.other``, of ``others`` runs."""
    return replace(
        row,
        arm=pair.arm,
        reference=pair.other,
        n_reference_runs=others,
        difference=found.interval,
        p_value=found.p_value if math.isfinite(found.p_value) else None,
        minimum_detectable_difference=found.detectable if math.isfinite(found.detectable) else None,
        freedom=found.freedom,
    )


def _caveat(value: Interval, least: int) -> str:
    if not math.isfinite(value.low):
        return "too few patients of a class for an interval"
    if 0 < least < FEW_PATIENTS:
        return f"a class has {least} test patients: {MAY_BE_NARROW}"
    return ""


def judged(rows: Sequence[Row], settings: CompareSettings) -> list[Row]:
    """The rows with their p-values and detectable differences corrected, and their verdicts.

    Corrected together are the differences of one kind: against the floor or between encoders, same choice of vectors,
    share of labels, metric and way of taking films apart. So each table of a report is corrected for its own length.
    """
    families: dict[tuple[object, ...], list[int]] = {}
    for place, row in enumerate(rows):
        if row.p_value is not None:
            families.setdefault(_family(row), []).append(place)
    adjusted: dict[int, float] = {}
    tests: dict[int, int] = {}
    for places in families.values():
        p_values = [p for place in places if (p := rows[place].p_value) is not None]
        adjusted |= dict(zip(places, holm(p_values), strict=True))
        tests |= dict.fromkeys(places, len(places))
    out = []
    for place, row in enumerate(rows):
        corrected = replace(row, p_adjusted=adjusted.get(place))
        if row.minimum_detectable_difference is not None and place in tests:
            more = detectable_reach(row.freedom, tests[place]) / detectable_reach(row.freedom)
            least = row.minimum_detectable_difference * more
            corrected = replace(corrected, minimum_detectable_difference=least)
        out.append(replace(corrected, verdict=verdict(corrected, settings.relevant_difference)))
    return out


def _family(row: Row) -> tuple[object, ...]:
    metric = row.metric.removeprefix("macro_")
    apart = row.subset.partition("=")[0]
    return row.reference == FLOOR, row.choice, row.label_fraction, metric, apart, row.probe == "shortcut"


def verdict(row: Row, relevant: float) -> Verdict:
    """What the difference of ``row`` shows, see :data:`mae_rad.evaluation.results.rows.Verdict`."""
    if row.difference is None:
        return ""
    _, low, high = row.difference
    if not math.isfinite(low):
        return "too few patients"
    sure = row.p_adjusted is not None and row.p_adjusted < SIGNIFICANT
    if sure and low > 0:
        return "higher"
    if sure and high < 0:
        return "lower"
    if -relevant < low and high < relevant:
        return "no relevant difference"
    detectable = row.minimum_detectable_difference
    return "too few patients" if detectable is None or detectable > relevant else "no difference shown"
