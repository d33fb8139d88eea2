"""The pairs of a run: the columns that it reads, its partners, and the order of its films."""

import logging
from functools import cached_property

import torch
from torch import Tensor

from mae_rad.data.film_order import Order
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.errors import SettingsError
from mae_rad.pairing.columns import LABEL, checksums, is_label, read_columns
from mae_rad.pairing.composition import compositions
from mae_rad.pairing.partners import Partners
from mae_rad.pairing.settings import PairSettings
from mae_rad.pretraining.settings import PretrainSettings

_log = logging.getLogger(__name__)


class RunPairs:
    """Which films belong together in a run.

    Args:
        settings: settings of the run.
        index: training films.

    Attributes:
        order: order of the films, with their partners.
        columns: column → [films, …] values that the objective reads.
        checksums: name → SHA-256 of every column that the run reads.

    Raises:
        SettingsError: a column is missing or has not the type that a relation needs, no film has a partner, or strata
            leave too few films.
        ShardFormatError: a table of labels is damaged.
    """

    def __init__(self, settings: PretrainSettings, index: ShardIndex) -> None:
        self._settings, self._pairs = settings, settings.objective.strategy
        shards, batch = settings.data.shards, settings.optimizer.batch
        needed = read_columns(settings.objective.needs, index, shards, settings.labels)
        settings.objective.check_columns(needed)
        of_order = read_columns(self._pairs.columns_of_order, index, shards, settings.labels)
        self.columns: dict[str, Tensor] = {name: torch.from_numpy(values) for name, values in needed.items()}
        self.checksums = checksums(of_order | needed)
        self._labels = sorted(filter(is_label, of_order | needed))
        self._partners: Partners | None = None
        if not self._pairs.partner.is_itself:
            self._partners = Partners(self._pairs.partner, of_order, len(index), settings.seed)
        batches = self._pairs.batches
        composed = (
            compositions(batches, of_order, films=settings.films_per_pass, steps=settings.optimizer.scheduled_steps)
            if batches
            else ()
        )
        weights = index.weights(settings.data.weights)
        try:
            self.order = Order(
                len(index), settings.seed, batch, weights, partners=self._partners, compositions=composed
            )
        except ValueError as error:
            raise SettingsError(f"objective.pairs.batches: {error}. Lower optimizer.batch or groups.") from None
        alone, counted = self._alone
        if counted and alone == counted:
            raise SettingsError(
                f"objective.pairs.partner: none of {counted:,} films has a partner by this rule. Choose another rule."
            )

    def announce(self) -> None:
        """Log the strategy, and how many films have no partner."""
        if self._pairs == PairSettings():
            return
        _log.info("pairs: %s", self._pairs.name)
        alone, counted = self._alone
        if alone:
            _log.info("pairs: %s of %s films have no partner and are their own", f"{alone:,}", f"{counted:,}")

    @property
    def provenance(self) -> dict[str, str | int | float | None]:
        """What the provenance of the weights says: the strategy, and the labels that were read."""
        said: dict[str, str | int | float | None] = {}
        if self._pairs != PairSettings():
            said["pairs"] = self._pairs.name
        if self._labels:
            settings = self._settings.labels
            read = ", ".join(name.removeprefix(LABEL) for name in self._labels)
            said |= {"labels_read": read, "labels_from": settings.policy.merge, "labels_fraction": settings.fraction}
        return said

    @cached_property
    def _alone(self) -> tuple[int, int]:
        return self._partners.count_alone() if self._partners else (0, 0)
