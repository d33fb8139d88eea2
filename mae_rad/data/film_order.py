"""The order of films in training: a function of seed and epoch, the same for any number of ranks and workers."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

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
        partner: row of the film that the views of a partner show; None for the film itself.
        again: the film was drawn in this epoch before.
    """

    step: int
    epoch: int
    position: int
    row: int
    partner: int | None = None
    again: bool = False


class ChoosesPartners(Protocol):
    """Chooses the film that the other view of a draw shows."""

    def partner(self, epoch: int, position: int, row: int) -> int:
        """Row of the partner of the film in ``row``; ``row`` where it has none."""


class Composition(NamedTuple):
    """How batches are composed from an optimiser step on.

    Attributes:
        first_step: optimiser step, counted from 0.
        strata: [films] number of the stratum of each film; None draws from all films alike.
        together: films of one stratum that follow each other; what does not fill them is left to later epochs.
    """

    first_step: int
    strata: NDArray[np.int64] | None
    together: int


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
        partners: chooses partners, or None.
        compositions: by first step, the first of them 0; none draws from all films alike. A new one begins an epoch.

    Raises:
        ValueError: fewer films than one global batch.
    """

    def __init__(
        self,
        films: int,
        seed: int,
        global_batch: int,
        weights: NDArray[np.float64] | None = None,
        *,
        partners: ChoosesPartners | None = None,
        compositions: Sequence[Composition] = (),
    ) -> None:
        self.films, self.seed, self.global_batch = films, seed, global_batch
        self._weights = None if weights is None else weights / weights.sum()
        self._partners = partners
        self._stages = [_Stage(*made, 0, self._steps_per_epoch(made)) for made in compositions or [_SHUFFLED]]
        for number, (before, stage) in enumerate(pairwise(self._stages)):
            epochs = math.ceil((stage.first_step - before.first_step) / before.steps_per_epoch)
            self._stages[number + 1] = stage._replace(first_epoch=self._stages[number].first_epoch + epochs)
        self._cached: tuple[int, NDArray[np.int64], NDArray[np.bool_] | None] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of an epoch of the first composition."""
        return self._stages[0].steps_per_epoch

    def rows(self, epoch: int) -> NDArray[np.int64]:
        """Return the rows in the order of an epoch.

        Args:
            epoch: counted from 0 over all compositions.

        Returns:
            [films] int64, fewer where strata leave some out; with weights some occur several times and some not at all.
        """
        return self._rows(epoch)[0]

    def step(self, step: int) -> list[Draw]:
        """Return the global batch of an optimiser step, counted from 0 over the whole run."""
        stage = next(stage for stage in reversed(self._stages) if stage.first_step <= step)
        epoch, inside = divmod(step - stage.first_step, stage.steps_per_epoch)
        epoch, start = epoch + stage.first_epoch, inside * self.global_batch
        rows, again = self._rows(epoch)
        draws = []
        for position in range(start, start + self.global_batch):
            row = int(rows[position])
            partner = self._partners.partner(epoch, position, row) if self._partners else None
            draws.append(Draw(step, epoch, position, row, partner, again is not None and bool(again[position])))
        return draws

    def _rows(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None]:
        """Rows of an epoch, and whether each was drawn in it before (None: none was)."""
        if self._cached is None or self._cached[0] != epoch:
            generator = generator_for("order", self.seed, epoch)
            permuted, again = generator.permutation(self.films), None
            if self._weights is not None:  # systematic resampling: counts are exact to within one film
                edges = np.cumsum(self._weights[permuted])
                points = (np.arange(self.films) + generator.random()) / self.films
                chosen = np.minimum(np.searchsorted(edges, points, side="right"), self.films - 1)
                permuted = generator.permutation(permuted[chosen])
                again = np.ones(self.films, dtype=np.bool_)
                again[np.unique(permuted, return_index=True)[1]] = False
            stage = next(stage for stage in reversed(self._stages) if stage.first_epoch <= epoch)
            if stage.strata is not None:
                permuted = _in_strata(permuted, stage.strata, stage.together, generator)
            self._cached = (epoch, permuted, again)
        return self._cached[1:]

    def _steps_per_epoch(self, made: Composition) -> int:
        films = self.films
        if made.strata is not None:
            films = int((np.bincount(made.strata) // made.together).sum() * made.together)
        if films < self.global_batch:
            raise ValueError(f"{films} films do not fill one global batch of {self.global_batch}")
        return films // self.global_batch

    def micro_batches(self, steps: StepRange) -> Iterator[list[Draw]]:
        """Yield the draws of a rank, one list per forward pass."""
        for step in range(steps.first_step, steps.last_step):
            draws = self.step(step)
            for start in range(steps.rank * steps.micro, self.global_batch, steps.world * steps.micro):
                yield draws[start : start + steps.micro]


class _Stage(NamedTuple):
    """A composition with its first epoch and the optimiser steps of each."""

    first_step: int
    strata: NDArray[np.int64] | None
    together: int
    first_epoch: int
    steps_per_epoch: int


_SHUFFLED = Composition(0, None, 1)


def _in_strata(
    permuted: NDArray[np.int64], strata: NDArray[np.int64], together: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Reorder rows into parts of one stratum each, in random order; rows that fill no part are left out."""
    grouped = permuted[np.argsort(strata[permuted], kind="stable")]
    sizes = np.bincount(strata)
    place = np.arange(len(grouped)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    full = grouped[place < np.repeat(sizes // together * together, sizes)].reshape(-1, together)
    return full[generator.permutation(len(full))].reshape(-1)
