"""The interface of a relation: what it reads, and how it marks pairs of vectors."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal, NamedTuple

from pydantic import Field
from torch import Tensor

from data_prep.settings import Settings
from mae_rad.data.batch import Members, Meta
from mae_rad.pairing.columns import Column, is_label

Unknown = Literal["push", "ignore"]


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


class OfColumns(Relation, ABC):
    """A relation that reads columns."""

    unknown: Unknown | None = None
    """What a pair does of which a needed value is not known: push or ignore; null: push where columns of the index
    decide, ignore where labels do."""

    @property
    def ignores_unknown(self) -> bool:
        """Whether a pair of which a value is not known is ignored."""
        return any(map(is_label, self.needs)) if self.unknown is None else self.unknown == "ignore"

    def left_out(self, is_unknown: Tensor) -> Tensor | None:
        """Mark the unknown pairs [N, M] as ignored, if they are."""
        return is_unknown if self.ignores_unknown else None


class Within(OfColumns, ABC):
    """A relation between films with equal values in some columns."""

    within: list[Column] = Field(default_factory=list)
    """Columns in which both films have the same known value; a pair without it pushes."""

    def inside(self, of_rows: Meta, of_columns: Meta) -> Tensor | bool:
        """Whether both films have the same known value in all columns: [N, M], or True without columns."""
        return equal_values(self.within, of_rows, of_columns)[0] if self.within else True


def equal_values(names: list[str], of_rows: Meta, of_columns: Meta) -> tuple[Tensor, Tensor]:
    """Compare columns.

    Args:
        names: columns.
        of_rows: what is known of the rows.
        of_columns: what is known of the columns.

    Returns:
        Whether all are known and equal [N, M], and whether any is unknown [N, M].
    """
    equal = unknown = None
    for name in names:
        a, b = of_rows[name], of_columns[name]
        missing = _is_unknown(a)[:, None] | _is_unknown(b)[None]
        match = (a[:, None] == b[None]) & ~missing
        equal = match if equal is None else equal & match
        unknown = missing if unknown is None else unknown | missing
    assert equal is not None and unknown is not None
    return equal, unknown


def difference_of(name: str, of_rows: Meta, of_columns: Meta) -> Tensor:
    """Subtract the values of a column of numbers.

    Args:
        name: column.
        of_rows: what is known of the rows.
        of_columns: what is known of the columns.

    Returns:
        [N, M], NaN where one is not known.
    """
    return of_rows[name][:, None] - of_columns[name][None]


def _is_unknown(values: Tensor) -> Tensor:
    return values.isnan() if values.is_floating_point() else values < 0
