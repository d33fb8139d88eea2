"""The forward passes that a run would draw, without films: who every vector is and what is known of it."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from mae_rad.data.batch import Members
from mae_rad.data.film_order import Draw, Order
from mae_rad.data.shard_reader import ShardIndex, numbered
from mae_rad.pairing.relations import Shown
from mae_rad.pretraining.run_pairs import RunPairs
from mae_rad.pretraining.settings import PretrainSettings


class RunPasses:
    """Forward passes of a run of two views, spread evenly over its steps; the arithmetic is that of the training.

    Args:
        settings: settings of the run.
        index: training films.

    Attributes:
        study: [films] number of the study.
        patient: [films] number of the patient.
        order: order of the films.

    Raises:
        SettingsError: as of :class:`RunPairs`.
        ShardFormatError: a table of labels is damaged.
    """

    def __init__(self, settings: PretrainSettings, index: ShardIndex) -> None:
        self._settings, self._pairs = settings, RunPairs(settings, index)
        self.order: Order = self._pairs.order
        self.study, self.patient = (torch.from_numpy(numbered(index.table[name])) for name in ("study", "patient"))

    def drawn(self, passes: int) -> Iterator[Shown]:
        """Draw passes.

        Args:
            passes: number of optimiser steps, of which the first forward pass is taken.

        Yields:
            What the two vectors of each of the B films of a pass show: [2 B], the first views before the second.
        """
        for step in self.steps(passes):
            yield self._shown(self.order.step(int(step))[: self._settings.films_per_pass])

    def steps(self, passes: int) -> NDArray[np.int64]:
        """Steps of the run that are drawn: at most ``passes``, the first and the last among them."""
        last = self._settings.optimizer.scheduled_steps - 1
        return np.unique(np.linspace(0, last, min(passes, last + 1)).round().astype(np.int64))

    def _shown(self, draws: Sequence[Draw]) -> Shown:
        position = torch.tensor([draw.position for draw in draws])
        own = torch.tensor([draw.row for draw in draws])
        partner = torch.tensor([draw.row if draw.partner is None else draw.partner for draw in draws])
        film = torch.cat([own, partner])
        view = torch.arange(2).repeat_interleave(len(draws))
        members = Members(position.repeat(2), view, film, self.study[film], self.patient[film])
        return Shown(members, {name: values[film] for name, values in self._pairs.columns.items()})
