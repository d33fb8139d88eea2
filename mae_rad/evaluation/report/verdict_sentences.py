"""Summarise the differences of a comparison in sentences.

A sentence names encoders, not methods, if one of them is a single pretraining run; it does not say "equal" if the test
set is only too small.
"""

import math
from collections.abc import Sequence
from typing import get_args

from mae_rad.evaluation.results.display_names import (
    interval_text,
    metric_of,
    plain_name,
    probe_name,
    scale_name,
    signed,
)
from mae_rad.evaluation.results.queries import ComparisonResults
from mae_rad.evaluation.results.rows import ARMS, RANDOM_BASELINE, Row, Verdict, is_self_supervised

NOT_MEASURED = (
    "Each of these encoders is one pretraining run. The difference to a second run of the same method is not "
    "measured, so these values compare the encoders, on these films, and do not rank the methods."
)
_UNTRAINED = "pca"
"""Method without pretraining, for which repeated runs do not differ."""
_MAX_PAIRS = 2
"""Number of main pairs if no two self-supervised groups are compared."""

Pair = tuple[str, str, str]
"""(encoder, reference, arm)."""


def main_pairs(results: ComparisonResults) -> list[Pair]:
    """Select the main pairs: the first two groups of self-supervised runs, of any methods.

    If the arms are separate, these are the first two groups of each arm. If no two self-supervised groups are compared,
    these are the first pairs of any kind, else those of an encoder and the random baseline.
    """
    among = [pair for pair in results.pairs if all(is_self_supervised(results.method(name)) for name in pair[:2])]
    if among:
        return among[:1] + [pair for pair in among if {pair[2], among[0][2]} == set(ARMS)][:1]
    to_floor = [
        (row.encoder, RANDOM_BASELINE, row.arm) for row in results.differences() if row.reference == RANDOM_BASELINE
    ]  # if only one encoder was trained
    return results.pairs[:_MAX_PAIRS] or list(dict.fromkeys(to_floor))[:_MAX_PAIRS]


def pair_differences(results: ComparisonResults, pair: Pair, probe: str | None = None) -> list[Row]:
    """Return the headline differences of a pair.

    Args:
        results: rows of the comparison.
        pair: encoder, reference and arm.
        probe: probe of the differences; None selects all.
    """
    rows = results.differences(probe=probe)
    return [row for row in rows if (row.encoder, row.reference, row.arm) == pair]


def sentence(results: ComparisonResults, pair: Pair) -> str:
    """Summarise the differences of a pair, by the first probe, in one sentence with intervals.

    Args:
        results: rows of the comparison.
        pair: encoder, reference and arm.
    """
    probe = results.probes[0]
    rows = pair_differences(results, pair, probe)
    films, patients = (max(getattr(row, name) for row in rows) for name in ("n_films", "n_patients"))
    names = _side(pair[0], rows[0].n_runs), _side(pair[1], rows[0].n_reference_runs or 1)
    by_verdict = {verdict: [row for row in rows if row.verdict == verdict] for verdict in get_args(Verdict)}
    parts = [
        _significant_part("higher", by_verdict["higher"]),
        _significant_part("lower", by_verdict["lower"]),
        _open_part("no relevant difference", by_verdict["no relevant difference"]),
        _open_part("no difference shown", by_verdict["no difference shown"]),
        _open_part(_too_few(rows[0]), by_verdict["too few patients"]),
    ]
    count = "1 task" if len(rows) == 1 else f"{len(rows)} tasks"
    return (
        f"{names[0]} against {names[1]}, evaluated by {probe_name(probe)} with all labels on up to {films:,} films of "
        f"{patients:,} test patients, {count}: {'; '.join(part for part in parts if part)}."
    )


def other_probes(results: ComparisonResults, pair: Pair) -> list[str]:
    """Count the verdicts of a pair by the other probes.

    Args:
        results: rows of the comparison.
        pair: encoder, reference and arm.
    """
    texts = []
    for probe in results.probes[1:]:
        rows = pair_differences(results, pair, probe)
        higher, lower = (sum(row.verdict == word for row in rows) for word in ("higher", "lower"))
        if rows:
            neither = len(rows) - higher - lower
            texts.append(
                f"{probe_name(probe)}: higher in {higher}, lower in {lower}, neither in {neither} of {len(rows)}"
            )
    return texts


def single_runs(results: ComparisonResults, pairs: Sequence[Pair]) -> list[str]:
    """Return the encoders of ``pairs`` that are a single pretraining run.

    Args:
        results: rows of the comparison.
        pairs: pairs of encoders.
    """
    single: dict[str, None] = {}
    for row in results.differences():
        if (row.encoder, row.reference, row.arm) not in pairs or row.reference is None:
            continue
        sides = (
            (row.encoder, row.method, row.n_runs),
            (row.reference, results.method(row.reference), row.n_reference_runs),
        )
        for name, method, runs in sides:
            if (runs or 1) == 1 and method != _UNTRAINED and not results.is_baseline(name):
                single.setdefault(name)
    return list(single)


def not_measured(results: ComparisonResults, pairs: Sequence[Pair] | None = None) -> str:
    """State that the variation between pretraining runs is unknown for single runs.

    Args:
        results: rows of the comparison.
        pairs: pairs of encoders; None selects the main pairs.

    Returns:
        The caution; empty if there are no single runs.
    """
    pairs = main_pairs(results) if pairs is None else pairs
    single = single_runs(results, pairs)
    sides = {name for encoder, reference, _ in pairs for name in (encoder, reference) if not results.is_baseline(name)}
    if not single:
        return "" if pairs else NOT_MEASURED
    if set(single) == sides:
        return NOT_MEASURED
    return (
        f"Each of {', '.join(single)} is one pretraining run. The difference to a second run is not "
        "measured, so differences to these compare encoders, on these films, and do not rank methods."
    )


def spread_words(results: ComparisonResults) -> str:
    """State which variation the intervals contain besides that of the patients."""
    if any(row.n_runs > 1 and not results.is_baseline(row.encoder) for row in results.differences()):
        return "and, if a method was pretrained several times, over its runs"
    return "for fixed encoders"


def verdict_words(row: Row) -> str:
    """Return the text of the verdict on a difference, for a table."""
    if row.difference is None:
        return ""
    detectable = row.minimum_detectable_difference
    if row.verdict in ("higher", "lower"):
        better = {"lower": " (better)", "higher": " (worse)"} if metric_of(row.metric).lower_is_better else {}
        return f"{row.encoder} {row.verdict}{better.get(row.verdict, '')}"
    if row.verdict == "no relevant difference":
        return "no relevant difference"
    if row.difference.low > 0 or row.difference.high < 0:
        return "not shown: the interval excludes zero, but is not significant after correction"
    if row.verdict == "too few patients" or not math.isfinite(row.difference.low):
        return _too_few(row) + _detectable_text(detectable, math.inf if row.metric == "mean_absolute_error" else 1)
    return "no difference shown" + (f"; {detectable:.3f} or more would be detected" if is_finite(detectable) else "")


def _detectable_text(detectable: float | None, largest: float) -> str:
    """Return the text of the minimum detectable difference; differences above ``largest`` do not occur."""
    if detectable is None or not math.isfinite(detectable):
        return ""
    return (
        f": only {detectable:.3f} or more would be detected"
        if detectable < largest
        else ": no difference can be detected"
    )


def _too_few(row: Row) -> str:
    """Name what is too few: patients, and pretraining runs if they were repeated."""
    repeated = row.reference != RANDOM_BASELINE and max(row.n_runs, row.n_reference_runs or 1) > 1
    return f"too few patients{' or pretraining runs' if repeated else ''}"


def is_finite(value: float | None) -> bool:
    """Return whether the value is a finite number."""
    return value is not None and math.isfinite(value)


def _significant_part(word: str, rows: Sequence[Row]) -> str:
    """Count the tasks with a verdict, and name the one with the largest difference on each scale."""
    if not rows:
        return f"{word} in none"
    largest = []
    for of_scale in _by_scale(rows).values():
        first = max(of_scale, key=lambda row: abs(row.difference.value) if row.difference else 0.0)
        assert first.difference is not None
        number = f"{metric_of(first.metric).name} {interval_text(first.difference, signs=True)}"
        largest.append(f"{plain_name(first.task)} ({number})")
    most = "" if len(rows) == 1 else f"{len(rows)}, largest in "
    return f"{word} in {most}{' and '.join(largest)}"


def _by_scale(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return scale of the metric → rows: differences of AUROC and of R² are not compared with each other."""
    scales: dict[str, list[Row]] = {}
    for row in rows:
        scales.setdefault(scale_name(row.metric), []).append(row)
    return scales


def _open_part(words: str, rows: Sequence[Row]) -> str:
    """Name the tasks with a verdict, the range of their intervals, and the minimum detectable difference."""
    if not rows:
        return ""
    names = ", ".join(plain_name(row.task) for row in rows)
    scales = _by_scale(rows)
    texts = [
        text if len(scales) == 1 else f"{scale}: {text}"
        for scale, of_scale in scales.items()
        if (text := _open_text(words, of_scale))
    ]
    return f"{words} in {names}" + (f" ({'; '.join(texts)})" if texts else "")


def _open_text(words: str, rows: Sequence[Row]) -> str:
    """Return the range of the intervals, and the minimum detectable difference, of rows of one scale."""
    bounds = [bound for row in rows if row.difference for bound in row.difference[1:] if math.isfinite(bound)]
    texts = [f"intervals from {signed(min(bounds))} to {signed(max(bounds))}"] if bounds else []
    single = [row.minimum_detectable_difference for row in rows]
    detectable = sorted(value for value in single if value is not None and value < 1)
    if detectable and not words.startswith("no relevant"):
        span = f"{detectable[0]:.3f}" if len(detectable) == 1 else f"{detectable[0]:.3f} to {detectable[-1]:.3f}"
        texts.append(f"a difference of {span} or more would probably be detected")
    return "; ".join(texts)


def _side(name: str, runs: int) -> str:
    return f"{name} ({runs} pretraining runs)" if runs > 1 else name
