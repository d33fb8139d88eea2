"""Weighted shares of pairs, summed over forward passes, hidden where they are of few patients."""

import math

import torch
from torch import Tensor

from data_prep.shard_format.rare_values import MIN_PATIENTS


class WeightedShare:
    """The weighted share of pairs that have a property.

    Args:
        patients: number of patients of all films.
    """

    def __init__(self, patients: int) -> None:
        self._having = self._all = 0.0
        self._seen = torch.zeros(patients, dtype=torch.bool)

    def add(self, weights: Tensor, has: Tensor, patients: Tensor) -> None:
        """Add the pairs of a forward pass.

        Args:
            weights: [N, M] weight of each pair, 0 for those that do not count.
            has: [N, M] bool, the property.
            patients: [N] patients of the rows.
        """
        self._having += float((weights * has).sum(dtype=torch.float64))
        self._all += float(weights.sum(dtype=torch.float64))
        self._seen[patients[(weights > 0).any(dim=1)]] = True

    @property
    def value(self) -> float:
        """The share; NaN where the rows are of fewer than MIN_PATIENTS patients, which includes none."""
        few = int(self._seen.sum()) < MIN_PATIENTS or self._all == 0
        return math.nan if few else self._having / self._all


class TellsApart:
    """How well an equal value tells the pairs that pull from those that push.

    Args:
        patients: number of patients of all films.
    """

    def __init__(self, patients: int) -> None:
        self.pulling, self.pushing = WeightedShare(patients), WeightedShare(patients)

    def add(self, pull: Tensor, push: Tensor, is_equal: Tensor, counts: Tensor, patients: Tensor) -> None:
        """Add the pairs of a forward pass.

        Args:
            pull: [N, M] weights of the pairs that pull.
            push: [N, M] weights of the pairs that push.
            is_equal: [N, M] bool, both have the same value.
            counts: [N, M] bool, the pair counts.
            patients: [N] patients of the rows.
        """
        self.pulling.add(pull * counts, is_equal, patients)
        self.pushing.add(push * counts, is_equal, patients)

    @property
    def auroc(self) -> float:
        """AUROC of predicting from the equal value that a pair pulls: 0.5 is chance; NaN of fewer than MIN_PATIENTS."""
        return 0.5 + 0.5 * (self.pulling.value - self.pushing.value)
