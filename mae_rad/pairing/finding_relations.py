"""Relations by the states of findings: their agreement, and conflicts of present with absent."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from mae_rad.data.batch import Members, Meta
from mae_rad.pairing.columns import ABSENT, ALL_LABELS, PRESENT, UNCERTAIN, Column, expanded
from mae_rad.pairing.relation import Marks, Within, difference_of


class FindingAgreement(Within):
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
            apart = difference_of("study_day", of_rows, of_columns).abs()
            is_unknown = is_unknown | apart.isnan()
            agreed = agreed * torch.exp(-apart / self.days).nan_to_num(0.0)
        inside = self.inside(of_rows, of_columns)
        agreed = agreed.masked_fill(agreed < self.least, 0.0) * inside
        if self.nearest is not None:
            agreed = _best(agreed, self.nearest, rows, columns)
        return Marks(pull=agreed, ignore=self.left_out(is_unknown & inside))


class FindingConflict(Within):
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
        return Marks(conflict=self.weight * (found & self.inside(of_rows, of_columns)).float())


def _best(agreed: Tensor, count: int, rows: Members, columns: Members) -> Tensor:
    """Keep the ``count`` largest positive values of each row among other films; of equal ones the first drawn."""
    others = agreed.masked_fill(rows.film[:, None] == columns.film[None], 0.0)
    by_draw = torch.argsort(columns.position * 64 + columns.view)  # the same for any number of ranks
    order = by_draw[torch.argsort(others[:, by_draw], dim=1, descending=True, stable=True)][:, :count]
    return torch.zeros_like(others).scatter(1, order, others.gather(1, order))
