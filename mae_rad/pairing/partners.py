"""Partners: the film of another draw that the second view of a film shows.

A rule names columns in which a partner has the same known value, and columns in which it has another one:

===================  =====================================================
itself               no other film
study                another film of the study
other_view           another film of the study, of another view position
patient              another film of the patient
patient_same_part    another film of the patient, of the same body part
patient_other_date   a film of the patient of another study
random               any other film
===================  =====================================================

A partner is one of the films that the run trains on, chosen by arithmetic in (seed, epoch, position): the same for any
number of ranks and workers.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from data_prep.settings import Settings
from mae_rad.data.seeded_random import generator_for
from mae_rad.pairing.columns import Column, expanded, is_known

_MOST_COUNTED = 10_000
"""Films of which it is counted how many have a partner."""


class PartnerRule(Settings):
    """Which films may be the partner of a film."""

    same: list[Column] = Field(default_factory=list)
    """Columns in which a partner has the same known value: of the index, such as study, patient or body_part, or
    label.NAME."""
    other: list[Column] = Field(default_factory=list)
    """Columns in which a partner has another known value."""
    agree: list[Column] = Field(default_factory=list)
    """Columns in which a partner has no other value: the same, or one of the two is not known."""
    itself: bool = False
    """Whether the film itself is one of those from which its partner is drawn."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that it reads."""
        return (*self.same, *self.other, *self.agree)

    @property
    def is_itself(self) -> bool:
        """Whether every film is its own partner."""
        return "key" in self.same


RULES: dict[str, dict[str, list[str]]] = {
    "itself": {"same": ["key"]},
    "study": {"same": ["study"]},
    "other_view": {"same": ["study"], "other": ["view"]},
    "patient": {"same": ["patient"]},
    "patient_same_part": {"same": ["patient", "body_part"]},
    "patient_other_date": {"same": ["patient"], "other": ["study"]},
    "random": {},
}
"""Name → rule."""


def _named(value: object) -> object:
    if isinstance(value, str):
        if value not in RULES:
            raise ValueError(f"{value} is no rule for partners. Choose one of {', '.join(RULES)}, or give its columns")
        return RULES[value]
    return value


AnyPartner = Annotated[PartnerRule, BeforeValidator(_named)]
"""Type of a settings field for the rule of partners: a name of RULES, or a mapping."""


class Partners:
    """Chooses the partner of every draw.

    Args:
        rule: which films may be a partner.
        columns: column → [films] values; those that the rule needs.
        films: number of films.
        seed: seed of the run.
    """

    def __init__(self, rule: PartnerRule, columns: Mapping[str, NDArray[Any]], films: int, seed: int) -> None:
        self._itself, self._columns, self._films, self._seed = rule.itself, columns, films, seed
        self._other, self._agree = expanded(rule.other, columns), expanded(rule.agree, columns)
        group, known = np.zeros(films, dtype=np.int64), np.ones(films, dtype=np.bool_)
        for name in expanded(rule.same, columns):
            known &= is_known(columns[name])
            codes = np.unique(columns[name], return_inverse=True)[1]
            group = np.unique(group * (codes.max() + 1) + codes, return_inverse=True)[1].astype(np.int64)
        self._group = np.where(known, group, -1)
        self._by_group = np.argsort(self._group, kind="stable")
        self._sorted_groups = self._group[self._by_group]

    def partner(self, epoch: int, position: int, row: int) -> int:
        """Choose the partner of a draw.

        Args:
            epoch: of the draw.
            position: of the draw.
            row: row of the film.

        Returns:
            Row of the partner; ``row`` where the film has none.
        """
        first, last = self._group_of(row)
        others = last - first - (0 if self._itself else 1)
        if others < 1:
            return row
        generator = generator_for("partner", self._seed, epoch, position)
        if not (self._other or self._agree):
            place = first + int(generator.integers(others))
            own = first + int(np.searchsorted(self._by_group[first:last], row))  # rows of a group ascend
            return int(self._by_group[place + (not self._itself and place >= own)])
        candidates = self._candidates(row)
        return int(candidates[generator.integers(len(candidates))]) if len(candidates) else row

    def count_alone(self) -> tuple[int, int]:
        """Count films without a partner, among at most _MOST_COUNTED evenly spaced films: (alone, counted)."""
        rows = np.unique(np.linspace(0, self._films - 1, min(self._films, _MOST_COUNTED)).astype(np.int64))
        alone = sum(not len(candidates) or candidates.tolist() == [row] for row, candidates in self._all(rows))
        return alone, len(rows)

    def _all(self, rows: NDArray[np.int64]) -> list[tuple[int, NDArray[np.int64]]]:
        return [(int(row), self._candidates(int(row))) for row in rows]

    def _group_of(self, row: int) -> tuple[int, int]:
        """First and last place, exclusive, of the films with the same values; none for a film of unknown values."""
        group = self._group[row]
        if group < 0:
            return 0, 0
        first, last = np.searchsorted(self._sorted_groups, [group, group + 1])
        return int(first), int(last)

    def _candidates(self, row: int) -> NDArray[np.int64]:
        """Rows of the films that may be the partner of a film, ascending."""
        first, last = self._group_of(row)
        rows = self._by_group[first:last]
        if not self._itself:
            rows = rows[rows != row]
        for name in (*self._other, *self._agree):
            values = self._columns[name]
            known = is_known(values[rows]) & is_known(values[row : row + 1])
            is_other = known & (values[rows] != values[row])
            rows = rows[is_other if name in self._other else ~is_other]
        return rows
