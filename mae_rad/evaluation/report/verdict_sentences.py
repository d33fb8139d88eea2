"""What the differences say, in sentences: pure functions of the rows.

A sentence names encoders, not methods, as long as one of them is a single pretraining run; it never says "equal" where
the test set is merely too small.
"""

import math
from collections.abc import Sequence
from typing import get_args

from mae_rad.evaluation.results.display_names import interval_text, metric_of, plain, probe_name, signed
from mae_rad.evaluation.results.queries import Reading
from mae_rad.evaluation.results.rows import ARMS, FLOOR, Row, Verdict, is_self_supervised

NOT_MEASURED = (
    "Each of these encoders is one pretraining run. How much a second run of the same method would differ is not "
    "measured, so these numbers tell the encoders apart, on these films, and do not rank the methods."
)
_UNTRAINED = "pca"
"""The method that no second pretraining would change."""
_ANSWERED = 2
"""Pairs that are answered where no two self-supervised groups meet."""

Pair = tuple[str, str, str]
"""(encoder, reference, arm)."""


def main_pairs(reading: Reading) -> list[Pair]:
    """Pairs that the answer is about: the first two groups of self-supervised runs, whatever their methods.

    Where arms are matched in one respect only, it is the first two groups of each arm. Where no two self-supervised
    groups meet, it is the first pairs of any kind, else of one encoder and the floor.
    """
    among = [pair for pair in reading.pairs if all(is_self_supervised(reading.method(name)) for name in pair[:2])]
    if among:
        return among[:1] + [pair for pair in among if {pair[2], among[0][2]} == set(ARMS)][:1]
    to_floor = [
        (row.encoder, FLOOR, row.arm) for row in reading.differences() if row.reference == FLOOR
    ]  # where one encoder alone was trained
    return reading.pairs[:_ANSWERED] or list(dict.fromkeys(to_floor))[:_ANSWERED]


def of_pair(reading: Reading, pair: Pair, probe: str | None = None) -> list[Row]:
    """Headline differences of a pair."""
    rows = reading.differences(probe=probe)
    return [row for row in rows if (row.encoder, row.reference, row.arm) == pair]


def sentence(reading: Reading, pair: Pair) -> str:
    """The answer in one sentence, with intervals."""
    probe = reading.probes[0]
    rows = of_pair(reading, pair, probe)
    films, patients = (max(getattr(row, name) for row in rows) for name in ("n_films", "n_patients"))
    who = _side(pair[0], rows[0].n_runs), _side(pair[1], rows[0].n_reference_runs or 1)
    by_verdict = {verdict: [row for row in rows if row.verdict == verdict] for verdict in get_args(Verdict)}
    parts = [
        _decided("higher", by_verdict["higher"]),
        _decided("lower", by_verdict["lower"]),
        _undecided("as good as equal", by_verdict["no relevant difference"]),
        _undecided("no difference shown", by_verdict["no difference shown"]),
        _undecided(_too_few(rows[0]), by_verdict["too few patients"]),
    ]
    return (
        f"{who[0]} against {who[1]}, read by {probe_name(probe)} with all labels on up to {films:,} films of "
        f"{patients:,} test patients, {len(rows)} questions: {'; '.join(part for part in parts if part)}."
    )


def other_probes(reading: Reading, pair: Pair) -> list[str]:
    """How the other probes count."""
    told = []
    for probe in reading.probes[1:]:
        rows = of_pair(reading, pair, probe)
        higher, lower = (sum(row.verdict == word for row in rows) for word in ("higher", "lower"))
        if rows:
            rest = len(rows) - higher - lower
            told.append(f"{probe_name(probe)}: higher in {higher}, lower in {lower}, neither in {rest} of {len(rows)}")
    return told


def single_runs(reading: Reading, pairs: Sequence[Pair]) -> list[str]:
    """Sides of ``pairs`` that are one pretraining run: how much another would differ is not known of them."""
    found: dict[str, None] = {}
    for row in reading.differences():
        if (row.encoder, row.reference, row.arm) not in pairs or row.reference is None:
            continue
        sides = (
            (row.encoder, row.method, row.n_runs),
            (row.reference, reading.method(row.reference), row.n_reference_runs),
        )
        for name, method, runs in sides:
            if (runs or 1) == 1 and method != _UNTRAINED and not reading.is_floor(name):
                found.setdefault(name)
    return list(found)


def not_measured(reading: Reading, pairs: Sequence[Pair] | None = None) -> str:
    """What is to be said of ``pairs``, by default those of the answer, that rest on single runs; else nothing."""
    pairs = main_pairs(reading) if pairs is None else pairs
    single = single_runs(reading, pairs)
    sides = {name for one, other, _ in pairs for name in (one, other) if not reading.is_floor(name)}
    if not single:
        return "" if pairs else NOT_MEASURED
    if set(single) == sides:
        return NOT_MEASURED
    return (
        f"One pretraining run each stands behind {', '.join(single)}. How much a second run would differ is not "
        "measured, so differences to these tell encoders apart, on these films, and do not rank methods."
    )


def spread_words(reading: Reading) -> str:
    """What the intervals hold beside the patients."""
    if any(row.n_runs > 1 and not reading.is_floor(row.encoder) for row in reading.differences()):
        return "and, where a method was pretrained several times, the spread of its runs"
    return "with every encoder as it is"


def verdict_words(row: Row) -> str:
    """What one difference says, for a table."""
    if row.difference is None:
        return ""
    least = row.minimum_detectable_difference
    if row.verdict in ("higher", "lower"):
        return f"{row.encoder} {row.verdict}"
    if row.verdict == "no relevant difference":
        return "as good as equal"
    if row.difference.low > 0 or row.difference.high < 0:
        return "not shown: the interval leaves out zero, but does not hold after correction"
    if row.verdict == "too few patients" or not math.isfinite(row.difference.low):
        return _too_few(row) + _would_show(least)
    return "no difference shown" + (f"; {least:.3f} or more would show" if known(least) else "")


def _would_show(least: float | None) -> str:
    """With how many patients and runs there are; no metric differs by more than one."""
    if least is None or not math.isfinite(least):
        return ""
    return f": only {least:.3f} or more would show" if least < 1 else ": no difference at all would show"


def _too_few(row: Row) -> str:
    """What there is too little of: where runs were repeated, more of these may be missing as well as patients."""
    repeated = row.reference != FLOOR and max(row.n_runs, row.n_reference_runs or 1) > 1
    return f"too few patients{' or pretraining runs' if repeated else ''} to tell"


def known(value: float | None) -> bool:
    """Whether there is such a number."""
    return value is not None and math.isfinite(value)


def _decided(word: str, rows: Sequence[Row]) -> str:
    """In how many questions, and the one where it is clearest."""
    if not rows:
        return f"{word} in none"
    first = max(rows, key=lambda row: abs(row.difference.value) if row.difference else 0.0)
    assert first.difference is not None
    most = "" if len(rows) == 1 else f"{len(rows)}, most in "
    number = f"{metric_of(first.metric).name} {interval_text(first.difference, signs=True)}"
    return f"{word} in {most}{plain(first.task)} ({number})"


def _undecided(words: str, rows: Sequence[Row]) -> str:
    """In which questions, between which bounds; where nothing was shown, how large a difference would have been."""
    if not rows:
        return ""
    names = ", ".join(plain(row.task) for row in rows)
    bounds = [bound for row in rows if row.difference for bound in row.difference[1:] if math.isfinite(bound)]
    told = [f"intervals from {signed(min(bounds))} to {signed(max(bounds))}"] if bounds else []
    found = [row.minimum_detectable_difference for row in rows]
    least = sorted(value for value in found if value is not None and value < 1)
    if least and not words.startswith("as good"):
        span = f"{least[0]:.3f}" if len(least) == 1 else f"{least[0]:.3f} to {least[-1]:.3f}"
        told.append(f"a difference of {span} or more would probably have been seen")
    return f"{words} in {names}" + (f" ({'; '.join(told)})" if told else "")


def _side(name: str, runs: int) -> str:
    return f"{name} ({runs} pretraining runs)" if runs > 1 else name
