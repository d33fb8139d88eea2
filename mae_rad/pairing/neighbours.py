"""Neighbours in the encoder itself: the nearest films of every film, and the relation of mutual neighbours."""

from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.functional import normalize

from mae_rad.data.batch import Members, Meta
from mae_rad.pairing.relation import Marks, Within

NEIGHBOURS = "round.neighbours"
"""Column [films, K] of the rows of the nearest films, made at the start of a round."""
_ROWS_AT_ONCE = 1024


class MutualNeighbours(Within):
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
        inside = (rows.patient[:, None] != columns.patient[None]) & self.inside(of_rows, of_columns)
        mutual = near & near_back & inside
        return Marks(pull=mutual.float(), ignore=(around | around_back) & inside & ~mutual)


def nearest_films(vectors: Tensor, count: int) -> Tensor:
    """Find the nearest other films by cosine, nearest first.

    Args:
        vectors: [films, D].
        count: of neighbours; fewer where there are not so many films.

    Returns:
        [films, count] int64 rows.
    """
    unit = normalize(vectors.float(), dim=1)
    count = min(count, len(unit) - 1)
    found = []
    for start in range(0, len(unit), _ROWS_AT_ONCE):
        part = unit[start : start + _ROWS_AT_ONCE] @ unit.T
        own = torch.arange(len(part))
        part[own, start + own] = -torch.inf
        found.append(part.topk(count, dim=1).indices)
    return torch.cat(found)


def _contains(lists: Tensor, film: Tensor) -> Tensor:
    """Whether each of N lists [N, K] contains each of M films: [N, M] bool."""
    found = torch.zeros(len(lists), len(film), dtype=torch.bool, device=lists.device)
    for place in range(lists.shape[1]):  # not at once, which would take K times the memory
        found |= lists[:, place, None] == film[None]
    return found
