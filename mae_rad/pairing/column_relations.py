"""Relations by identity, and by columns of the index or labels: equal values, and numbers that are close."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from mae_rad.data.batch import Members, Meta
from mae_rad.pairing.columns import Column
from mae_rad.pairing.relation import Marks, OfColumns, Relation, Within, difference_of, equal_values


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


class SameColumns(OfColumns):
    """Films with equal values in all columns pull each other."""

    same: list[Column] = Field(min_length=1)
    """Columns of the index, or label.NAME."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns."""
        return tuple(self.same)

    def marks(self, rows: Members, columns: Members, of_rows: Meta, of_columns: Meta) -> Marks:
        """Pull where all columns are known and equal."""
        equal, unknown = equal_values(self.same, of_rows, of_columns)
        return Marks(pull=equal.float(), ignore=self.left_out(unknown))


class IgnoreSame(OfColumns):
    """Films with equal values in all columns ignore each other: they may be false negatives."""

    ignore: list[Column] = Field(min_length=1)
    """Columns of the index, or label.NAME."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns."""
        return tuple(self.ignore)

    def marks(self, rows: Members, columns: Members, of_rows: Meta, of_columns: Meta) -> Marks:
        """Ignore where all columns are known and equal."""
        equal, unknown = equal_values(self.ignore, of_rows, of_columns)
        return Marks(ignore=equal | unknown if self.ignores_unknown else equal)


class Kernel(Within):
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
        difference = difference_of(self.kernel, of_rows, of_columns)
        inside = self.inside(of_rows, of_columns)
        weight = torch.exp(-difference.square() / (2 * self.sigma**2)).nan_to_num(0.0)
        return Marks(pull=weight * inside, ignore=self.left_out(difference.isnan() & inside))


class Threshold(Within):
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
        difference = difference_of(self.threshold, of_rows, of_columns)
        inside = self.inside(of_rows, of_columns)
        return Marks(
            pull=((difference.abs() <= self.most) & inside).float(),
            ignore=self.left_out(difference.isnan() & inside),
        )
