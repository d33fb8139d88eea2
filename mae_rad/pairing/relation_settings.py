"""The relations that a strategy can list, each with its settings.

=======================================  ====================================================================
film, study, patient                     vectors of one film, study or patient pull each other
{same: [columns]}                        films with equal values in all columns pull each other
{ignore: [columns]}                      films with equal values in all columns ignore each other
{kernel: column, sigma: s}               pull by exp(-(a - b)² / 2 s²)
{threshold: column, most: m}             films whose values differ by at most m pull each other
{agreement: [labels]}                    pull by the agreement of findings
{neighbours: k, ring: r, every: steps}   mutual neighbours in the encoder itself pull, a ring around them is ignored
{conflict: [labels]}                     films of which one has a finding and the other has not must push
=======================================  ====================================================================

The last five take ``within: [columns]``: films with equal values there only, all others push.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, NamedTuple, Self

import torch
from pydantic import BeforeValidator, Field, model_validator
from torch import Tensor

from data_prep.settings import ChosenByName, Settings
from mae_rad.data.batch import Members, Meta
from mae_rad.pairing.columns import ABSENT, ALL_LABELS, PRESENT, UNCERTAIN, Column, expanded, is_label

Unknown = Literal["push", "ignore"]
NEIGHBOURS = "round.neighbours"
"""Column [films, K] of the rows of the nearest films, made at the start of a round."""


class Marks(NamedTuple):
    """What a relation says of N x M pairs; None says nothing of any.

    Attributes:
        pull: [N, M] float32, not negative; 0 says nothing.
        ignore: [N, M] bool.
        conflict: [N, M] float32 weight in the denominator of pairs that must push; 0 says nothing.
    """

    pull: Tensor | None = None
    ignore: Tensor | None = None
    conflict: Tensor | None = None


class Relation(Settings, ABC):
    """A relation between films, a pure function of what rows and columns show.

    Attributes:
        names_study: whether it decides over the films of one study, which otherwise never push each other.
    """

    names_study: ClassVar[bool] = False

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that it reads."""
        return ()

    @property
    def numbers(self) -> tuple[str, ...]:
        """Those of ``needs`` that must be numbers."""
        return ()

    @property
    def states(self) -> tuple[str, ...]:
        """Those of ``needs`` that must be labels with states."""
        return ()

    @abstractmethod
    def marks(self, rows: Members, columns: Members, of_rows: Meta, of_columns: Meta) -> Marks:
        """Mark the pairs of N rows and M columns.

        Args:
            rows: who the rows are.
            columns: who the columns are.
            of_rows: what is known of the films that the rows show.
            of_columns: the same of the columns.
        """


class SameIdentity(Relation):
    """Vectors of one film, study or patient pull each other."""

    of: Literal["film", "study", "patient"]
    """Whose vectors pull each other."""

    @property
    def names_study(self) -> bool:  # type: ignore[override]
        """Whether it names the study."""
        return self.of == "study"

    def marks(self, rows: Members, columns: Members, of_rows: Meta, of_columns: Meta) -> Marks:
        """Pull where the identity is the same."""
        del of_rows, of_columns
        identity: tuple[Tensor, Tensor] = (getattr(rows, self.of), getattr(columns, self.of))
        return Marks(pull=(identity[0][:, None] == identity[1][None]).float())


class _OfColumns(Relation, ABC):
    """A relation that reads columns."""

    unknown: Unknown | None = None
    """What a pair does of which a needed value is not known: push or ignore; null: push where columns of the index
    decide, ignore where labels do."""

    @property
    def _ignores_unknown(self) -> bool:
        return any(map(is_label, self.needs)) if self.unknown is None else self.unknown == "ignore"

    def _left_out(self, is_unknown: Tensor) -> Tensor | None:
        return is_unknown if self._ignores_unknown else None


class SameColumns(_OfColumns):
    """Films with equal values in all columns pull each other."""

    same: list[Column] = Field(min_length=1)
    """Columns of the index, or label.NAME."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns."""
        return tuple(self.same)

    def marks(self, rows: Members, columns: Members, of_rows: Meta, of_columns: Meta) -> Marks:
        """Pull where all columns are known and equal."""
        equal, unknown = _equal(self.same, of_rows, of_columns)
        return Marks(pull=equal.float(), ignore=self._left_out(unknown))


class IgnoreSame(_OfColumns):
    """Films with equal values in all columns ignore each other: they may be false negatives."""

    ignore: list[Column] = Field(min_length=1)
    """Columns of the index, or label.NAME."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns."""
        return tuple(self.ignore)

    def marks(self, rows: Members, columns: Members, of_rows: Meta, of_columns: Meta) -> Marks:
        """Ignore where all columns are known and equal."""
        equal, unknown = _equal(self.ignore, of_rows, of_columns)
        return Marks(ignore=equal | unknown if self._ignores_unknown else equal)


class _Within(_OfColumns, ABC):
    """A relation between films with equal values in some columns."""

    within: list[Column] = Field(default_factory=list)
    """Columns in which both films have the same known value; a pair without it pushes."""

    def _inside(self, of_rows: Meta, of_columns: Meta) -> Tensor | bool:
        return _equal(self.within, of_rows, of_columns)[0] if self.within else True


class Kernel(_Within):
    """Films pull each other by the closeness of a number (Dufumier et al. 2021)."""

    kernel: Column
    """Column of numbers."""
    sigma: float = Field(gt=0)
    """Width of the kernel, in the unit of the column."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns."""
        return (self.kernel, *self.within)

    @property
    def numbers(self) -> tuple[str, ...]:
        """The column of numbers."""
        return (self.kernel,)

    def marks(self, rows: Members, columns: Members, of_rows: Meta, of_columns: Meta) -> Marks:
        """Pull by exp(-(a - b)² / 2 sigma²)."""
        difference = _difference(self.kernel, of_rows, of_columns)
        inside = self._inside(of_rows, of_columns)
        weight = torch.exp(-difference.square() / (2 * self.sigma**2)).nan_to_num(0.0)
        return Marks(pull=weight * inside, ignore=self._left_out(difference.isnan() & inside))


class Threshold(_Within):
    """Films whose numbers are close pull each other."""

    threshold: Column
    """Column of numbers."""
    most: float = Field(ge=0)
    """Largest difference, in the unit of the column."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns."""
        return (self.threshold, *self.within)

    @property
    def numbers(self) -> tuple[str, ...]:
        """The column of numbers."""
        return (self.threshold,)

    def marks(self, rows: Members, columns: Members, of_rows: Meta, of_columns: Meta) -> Marks:
        """Pull where the numbers differ by at most ``most``."""
        difference = _difference(self.threshold, of_rows, of_columns)
        inside = self._inside(of_rows, of_columns)
        return Marks(
            pull=((difference.abs() <= self.most) & inside).float(),
            ignore=self._left_out(difference.isnan() & inside),
        )


class FindingAgreement(_Within):
    """Films pull each other by the agreement of their findings.

    Of the labels whose state is known of both films those count that either film has, for certain or not; a label
    agrees by 1 where both states are equal and by 1/2 where one is uncertain. Films without any finding agree. What is
    not mentioned says nothing.
    """

    agreement: list[Column] = Field(default_factory=lambda: [ALL_LABELS], min_length=1)
    """label.NAME, or label.* for all labels of the shards."""
    least: float = Field(default=0.0, ge=0, le=1)
    """Pairs that agree by less push."""
    nearest: int | None = Field(default=None, ge=1)
    """Number of films of the batch that agree best with each and pull it, all others push; null: all."""
    days: float | None = Field(default=None, gt=0)
    """Agreement is multiplied by exp(-d / days), where the studies are d days apart; null: by 1."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The labels and columns."""
        return (*self.agreement, *self.within, *(["study_day"] if self.days else []))

    @property
    def states(self) -> tuple[str, ...]:
        """The labels."""
        return tuple(self.agreement)

    def marks(self, rows: Members, columns: Members, of_rows: Meta, of_columns: Meta) -> Marks:
        """Pull by the agreement."""
        same, counted, known = (torch.zeros(len(rows.film), len(columns.film), device=rows.film.device) for _ in "abc")
        for label in expanded(self.agreement, of_rows):
            a, b = of_rows[label][:, None], of_columns[label][None]
            both = (a >= 0) & (b >= 0)
            has = both & ((a != ABSENT) | (b != ABSENT))
            is_half = (a != b) & ((a == UNCERTAIN) | (b == UNCERTAIN))
            same += (has & (a == b)).float() + 0.5 * (has & is_half).float()
            counted, known = counted + has, known + both
        agreed = torch.where(counted > 0, same / counted.clamp(min=1), (known > 0).float())
        is_unknown = known == 0
        if self.days:
            apart = _difference("study_day", of_rows, of_columns).abs()
            is_unknown = is_unknown | apart.isnan()
            agreed = agreed * torch.exp(-apart / self.days).nan_to_num(0.0)
        inside = self._inside(of_rows, of_columns)
        agreed = agreed.masked_fill(agreed < self.least, 0.0) * inside
        if self.nearest is not None:
            agreed = _best(agreed, self.nearest, rows, columns)
        return Marks(pull=agreed, ignore=self._left_out(is_unknown & inside))


class MutualNeighbours(_Within):
    """Films of other patients pull that are nearest neighbours of each other in the encoder at the start of a round.

    Neighbours are found among all training films; ``within`` and other patients are asked for afterwards.
    """

    neighbours: int = Field(ge=1)
    """Number of neighbours: two films that each are among so many of the other pull."""
    ring: int = Field(ge=1)
    """Number of neighbours of either film that are ignored, where they do not pull; at least ``neighbours``."""
    every: int = Field(ge=1)
    """Optimiser steps of a round."""
    first: int = Field(default=0, ge=0)
    """Optimiser step of the first round: random weights choose no neighbours. Before, the relation says nothing."""

    @model_validator(mode="after")
    def _ring_is_outside(self) -> Self:
        if self.ring < self.neighbours:
            raise ValueError("ring must be at least neighbours")
        return self

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns."""
        return tuple(self.within)

    def marks(self, rows: Members, columns: Members, of_rows: Meta, of_columns: Meta) -> Marks:
        """Pull mutual neighbours, and ignore the ring around them."""
        if NEIGHBOURS not in of_rows:
            return Marks()
        pairs = []
        for count in (self.neighbours, self.ring):
            to_column = _contains(of_rows[NEIGHBOURS][:, :count], columns.film)
            to_row = _contains(of_columns[NEIGHBOURS][:, :count], rows.film).T
            pairs.append((to_column, to_row))
        (near, near_back), (around, around_back) = pairs
        inside = (rows.patient[:, None] != columns.patient[None]) & self._inside(of_rows, of_columns)
        mutual = near & near_back & inside
        return Marks(pull=mutual.float(), ignore=(around | around_back) & inside & ~mutual)


class FindingConflict(_Within):
    """Films of which one has a finding and the other has not must push, whatever other relations say."""

    conflict: list[Column] = Field(default_factory=lambda: [ALL_LABELS], min_length=1)
    """label.NAME, or label.* for all labels of the shards."""
    weight: float = Field(default=1.0, gt=0)
    """Weight of such a pair in the denominator; 2 pushes as two films do."""
    unknown: Literal["push"] | None = None
    """A pair of which a state is not known has no conflict."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The labels and columns."""
        return (*self.conflict, *self.within)

    @property
    def states(self) -> tuple[str, ...]:
        """The labels."""
        return tuple(self.conflict)

    def marks(self, rows: Members, columns: Members, of_rows: Meta, of_columns: Meta) -> Marks:
        """Mark a conflict where one is present and the other absent."""
        found = torch.zeros(len(rows.film), len(columns.film), dtype=torch.bool, device=rows.film.device)
        for label in expanded(self.conflict, of_rows):
            a, b = of_rows[label][:, None], of_columns[label][None]
            found |= ((a == PRESENT) & (b == ABSENT)) | ((a == ABSENT) & (b == PRESENT))
        return Marks(conflict=self.weight * (found & self._inside(of_rows, of_columns)).float())


_RELATIONS: dict[str, type[Relation]] = {
    "of": SameIdentity,
    "same": SameColumns,
    "ignore": IgnoreSame,
    "kernel": Kernel,
    "threshold": Threshold,
    "agreement": FindingAgreement,
    "neighbours": MutualNeighbours,
    "conflict": FindingConflict,
}
"""Key that only this relation has → relation."""


def _key_of(values: Mapping[str, object]) -> str | None:
    return next((key for key in _RELATIONS if key in values), next(iter(values), None))


AnyRelation = Annotated[
    Relation,
    ChosenByName(_RELATIONS, _key_of),
    BeforeValidator(lambda value: {"of": value} if isinstance(value, str) else value),
]
"""Type of a settings field for any relation."""


def _equal(names: list[str], of_rows: Meta, of_columns: Meta) -> tuple[Tensor, Tensor]:
    """Whether all columns are known and equal [N, M], and whether any is unknown."""
    equal = unknown = None
    for name in names:
        a, b = of_rows[name], of_columns[name]
        missing = _is_unknown(a)[:, None] | _is_unknown(b)[None]
        match = (a[:, None] == b[None]) & ~missing
        equal = match if equal is None else equal & match
        unknown = missing if unknown is None else unknown | missing
    assert equal is not None and unknown is not None
    return equal, unknown


def _difference(name: str, of_rows: Meta, of_columns: Meta) -> Tensor:
    """Differences [N, M] of a column of numbers, NaN where one is not known."""
    return of_rows[name][:, None] - of_columns[name][None]


def _is_unknown(values: Tensor) -> Tensor:
    return values.isnan() if values.is_floating_point() else values < 0


def _contains(lists: Tensor, film: Tensor) -> Tensor:
    """Whether each of N lists [N, K] contains each of M films: [N, M] bool."""
    found = torch.zeros(len(lists), len(film), dtype=torch.bool, device=lists.device)
    for place in range(lists.shape[1]):  # not at once, which would take K times the memory
        found |= lists[:, place, None] == film[None]
    return found


def _best(agreed: Tensor, count: int, rows: Members, columns: Members) -> Tensor:
    """Keep the ``count`` largest positive values of each row among other films; of equal ones the first drawn."""
    others = agreed.masked_fill(rows.film[:, None] == columns.film[None], 0.0)
    by_draw = torch.argsort(columns.position * 64 + columns.view)  # the same for any number of ranks
    order = by_draw[torch.argsort(others[:, by_draw], dim=1, descending=True, stable=True)][:, :count]
    return torch.zeros_like(others).scatter(1, order, others.gather(1, order))
