"""Read every score between a floor and a ceiling on the same films, with the same probe, labels and metric.

The floors are the random baseline and the raw pixels; the better one counts for the share, and both count for the
verdict. The ceilings are the encoders whose entry says ``role: ceiling``. A score is read as
(score - floor) / (ceiling - floor).

The verdict is a test of the union of "not above the random baseline" and "not above the pixels": its p-value is the
larger of the two (Berger 1982, intersection-union test), corrected by Holm for the number of scores of one kind.

==========  ====================================================================================================
yes         the adjusted p is under 0.05, and the intervals of the differences to all floors exclude zero
no          neither, and a difference to a floor is below zero or is no relevant difference
not shown   neither
==========  ====================================================================================================

The attentive probe needs patch tokens, so the random baseline is its only floor.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from mae_rad.evaluation.comparison.candidates import Candidate
from mae_rad.evaluation.comparison.differences import SIGNIFICANT, family
from mae_rad.evaluation.results.display_names import metric_of
from mae_rad.evaluation.results.rows import FLOORS, AboveFloors, Role, Row
from mae_rad.evaluation.statistics.intervals import holm

_WITHOUT_FLOOR = "geometry"
"""Probe whose metrics are no scores: a random encoder is not worse than a trained one in them."""


class _Place(NamedTuple):
    """What the compared scores have in common."""

    task: str
    probe: str
    label_fraction: float
    metric: str
    subset: str
    choice: int
    probe_seed: int | None


def with_floors_and_ceilings(rows: Sequence[Row], candidates: Sequence[Candidate]) -> list[Row]:
    """Add role, floor, ceiling, share and verdict to the rows.

    Args:
        rows: all rows of a comparison, with the p-values and verdicts of their differences.
        candidates: all compared encoders.
    """
    roles: dict[str, Role] = {}
    for candidate in candidates:
        roles |= {candidate.name: candidate.role, candidate.group: candidate.role}
    ceilings = list(dict.fromkeys(candidate.group for candidate in candidates if candidate.role == "ceiling"))
    scores = {(_place(row), row.encoder): row for row in rows if row.reference is None and row.probe != _WITHOUT_FLOOR}
    differences = {(_place(row), row.encoder, row.reference): row for row in rows if row.difference is not None}
    out, above = [], {}
    for position, row in enumerate(rows):
        role = roles.get(row.encoder, "encoder")
        place = _place(row)
        if role == "encoder" and scores.get((place, row.encoder)) is row:
            floors = _scores_of(FLOORS, place, scores)
            to_floors = [differences.get((place, row.encoder, floor.encoder)) for floor in floors]
            if floors and all(to_floors):
                above[position] = [difference for difference in to_floors if difference is not None]
            out.append(replace(_between(row, floors, _scores_of(ceilings, place, scores)), role=role))
        else:
            out.append(replace(row, role=role))
    for position, answer in _above_floors(rows, above).items():
        out[position] = replace(out[position], above_floors=answer)
    return out


def _place(row: Row) -> _Place:
    return _Place(row.task, row.probe, row.label_fraction, row.metric, row.subset, row.choice, row.probe_seed)


def _scores_of(names: Iterable[str], place: _Place, scores: Mapping[tuple[_Place, str], Row]) -> list[Row]:
    """Return the scores of some encoders at a place; a single vector per film has its score at the first choice."""
    found = []
    for name in names:
        row = scores.get((place, name))
        if row is None:
            row = scores.get((place._replace(choice=0), name))
            row = row if row is not None and row.pool == "none" else None
        if row is not None and math.isfinite(row.interval.value):
            found.append(row)
    return found


def _between(row: Row, floors: Sequence[Row], ceilings: Sequence[Row]) -> Row:
    """Add the better floor, the best ceiling and the share to the row of a score."""
    sign = _sign(row.metric)
    floor, ceiling = (max(some, key=lambda one: sign * one.interval.value, default=None) for some in (floors, ceilings))
    share = None
    if floor is not None and ceiling is not None:
        span = ceiling.interval.value - floor.interval.value
        share = (row.interval.value - floor.interval.value) / span if sign * span > 0 else None
    return replace(
        row,
        floor=None if floor is None else floor.interval.value,
        floor_encoder=None if floor is None else floor.encoder,
        ceiling=None if ceiling is None else ceiling.interval.value,
        ceiling_encoder=None if ceiling is None else ceiling.encoder,
        share=share,
    )


def _above_floors(rows: Sequence[Row], above: Mapping[int, Sequence[Row]]) -> dict[int, AboveFloors]:
    """Answer, for the positions of ``above``, whether the differences to all floors are above zero."""
    families: dict[tuple[object, ...], dict[int, float]] = {}
    for position, differences in above.items():
        p_values = [row.p_value for row in differences if row.p_value is not None]
        if len(p_values) == len(differences):
            families.setdefault(family(rows[position]), {})[position] = max(p_values)
    adjusted: dict[int, float] = {}
    for p_values_of in families.values():
        adjusted |= dict(zip(p_values_of, holm(list(p_values_of.values())), strict=True))
    return {position: _answer(differences, adjusted.get(position, 1.0)) for position, differences in above.items()}


def _answer(differences: Sequence[Row], adjusted: float) -> AboveFloors:
    metric = differences[0].metric
    bounds = [sorted(_sign(metric) * bound for bound in row.difference[1:]) for row in differences if row.difference]
    if any(not math.isfinite(bound) for pair in bounds for bound in pair):
        return "not shown"
    if adjusted < SIGNIFICANT and all(low > 0 for low, _ in bounds):
        return "yes"
    is_equal = any(row.verdict == "no relevant difference" for row in differences)
    return "no" if is_equal or any(high < 0 for _, high in bounds) else "not shown"


def _sign(metric: str) -> int:
    return -1 if metric_of(metric).lower_is_better else 1
