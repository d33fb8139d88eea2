"""The order of films in training: a function of seed and epoch, the same for any number of ranks and workers."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mae_rad.data.seeded_random import generator_for


class Draw(NamedTuple):
    """A film to draw.

    Attributes:
        step: optimiser step, counted from 0.
        epoch: pass over the films.
        position: position in the epoch; with the epoch it identifies the draw.
        row: row of the index.
    """

    step: int
    epoch: int
    position: int
    row: int


class StepRange(NamedTuple):
    """The part of a run that one rank draws films for.

    Attributes:
        first_step: first optimiser step, counted from 0 over the whole run.
        last_step: end of the run, exclusive.
        rank: rank of this process.
        world: number of ranks.
        micro: films per forward pass of a rank.
    """

    first_step: int
    last_step: int
    rank: int
    world: int
    micro: int


class Order:
    """An endless sequence of global batches.

    Args:
        films: number of rows.
        seed: seed of the run.
        global_batch: films per optimiser step over all ranks; films that do not fill a batch are left to later epochs.
        weights: [films] relative frequency of each row, or None for every film once per epoch.

    Raises:
        ValueError: fewer films than one global batch.
    """

    def __init__(self, films: int, seed: int, global_batch: int, weights: NDArray[np.float64] | None = None) -> None:
        if films < global_batch:
            raise ValueError(f"{films} films do not fill one global batch of {global_batch}")
        self.films, self.seed, self.global_batch = films, seed, global_batch
        self.steps_per_epoch = films // global_batch
        self._weights = None if weights is None else weights / weights.sum()
        self._cached: tuple[int, NDArray[np.int64]] | None = None

    def rows(self, epoch: int) -> NDArray[np.int64]:
        """[films] int64 rows in the order of ``epoch``; with weights some occur several times and some not at all."""
        if self._cached is None or self._cached[0] != epoch:
            generator = generator_for("order", self.seed, epoch)
            permuted = generator.permutation(self.films)
            if self._weights is not None:  # systematic resampling: counts are exact to within one film
                edges = np.cumsum(self._weights[permuted])
                points = (np.arange(self.films) + generator.random()) / self.films
                chosen = np.minimum(np.searchsorted(edges, points, side="right"), self.films - 1)
                permuted = generator.permutation(permuted[chosen])
            self._cached = (epoch, permuted)
        return self._cached[1]

    def step(self, step: int) -> list[Draw]:
        """Return the global batch of an optimiser step, counted from 0 over the whole run."""
        epoch, inside = divmod(step, self.steps_per_epoch)
        start = inside * self.global_batch
        rows = self.rows(epoch)[start : start + self.global_batch]
        return [Draw(step, epoch, start + i, int(row)) for i, row in enumerate(rows)]

    def micro_batches(self, steps: StepRange) -> Iterator[list[Draw]]:
        """Yield the draws of a rank, one list per forward pass."""
        for step in range(steps.first_step, steps.last_step):
            draws = self.step(step)
            for start in range(steps.rank * steps.micro, self.global_batch, steps.world * steps.micro):
                yield draws[start : start + steps.micro]
