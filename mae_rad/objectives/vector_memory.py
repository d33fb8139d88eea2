"""A memory of vectors of earlier steps, equal on all ranks."""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mae_rad.data.batch import Members
from mae_rad.losses.all_ranks import gather_columns
from mae_rad.losses.vectors import unit_rows


class VectorMemory(nn.Module):
    """The last vectors of unit length that were collected in training; those of a step replace the oldest.

    Args:
        size: S, number of vectors.
        dim: channels.

    Attributes:
        vectors: [S, dim] buffer, at first random (Dwibedi et al. 2021, algorithm 1).
        stored: [] int64 buffer, number of vectors that were stored so far.
    """

    vectors: Tensor
    stored: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("vectors", normalize(torch.randn(size, dim), dim=1))
        self.register_buffer("stored", torch.zeros((), dtype=torch.int64))
        self._collected: list[tuple[Tensor, Tensor]] = []

    @property
    def is_full(self) -> Tensor:
        """[] bool, whether no vector is a random one any more."""
        return self.stored >= len(self.vectors)

    def collect(self, vectors: Tensor, members: Members) -> None:
        """Keep vectors of a forward pass for :meth:`store`; in evaluation nothing is kept.

        Args:
            vectors: [n, dim] of this rank.
            members: who they are.
        """
        if self.training:
            order = torch.stack([members.position, members.view], dim=1)
            self._collected.append((unit_rows(vectors.detach()).to(self.vectors.dtype), order))

    @torch.no_grad()
    def store(self) -> None:
        """Store what all ranks collected since the last call, sorted by position and view; a collective call."""
        if not self._collected:
            return
        vectors, order = (gather_columns(torch.cat(parts)) for parts in zip(*self._collected, strict=True))
        self._collected.clear()
        position, view = order.unbind(dim=1)
        newest = vectors[torch.argsort(position * (view.max() + 1) + view, stable=True)][-len(self.vectors) :]
        places = (self.stored + torch.arange(len(newest), device=newest.device)) % len(self.vectors)
        self.vectors[places] = newest
        self.stored += len(newest)
