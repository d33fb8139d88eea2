"""The rule of the learning rate across batches, and the peak rates at which an objective was tried.

The peak that a setting gives at another batch depends on a rule, and the literature has two: linear (Goyal et al. 2017,
section 2.1, for SGD) and square root (Krizhevsky 2014; Malladi et al. 2022, for Adam). Between the batches of trials,
every peak that one of the two rules carries over from the nearest trial counts as tried.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

RateRule = Literal["linear", "square_root", "none"]
"""``linear``: the peak is proportional to the batch; ``square_root``: to its root; ``none``: it is the base rate."""

REFERENCE_BATCH = 256
"""Batch at which the peak is the base learning rate under every rule."""


class TriedRates(NamedTuple):
    """Peak learning rates that were tried at one batch.

    Attributes:
        batch: films per optimiser step.
        lowest: lowest peak with which an encoder learned at the speed of the highest, or nearly.
        highest: highest peak with which it did.
        where: model, size and films of the trial, and its source.
        failed: lowest peak that is known to fail; None if none is known.
        failure: what happened there.
    """

    batch: int
    lowest: float
    highest: float
    where: str
    failed: float | None = None
    failure: str = ""


class RateRange(NamedTuple):
    """Peak learning rates that count as tried at a batch.

    Attributes:
        lowest: lowest peak.
        highest: highest peak.
        trial: the trial at the nearest batch, from which the range was carried over.
    """

    lowest: float
    highest: float
    trial: TriedRates


def rate_factor(batch: int, rule: RateRule) -> float:
    """Compute the ratio of peak and base learning rate.

    Args:
        batch: films per optimiser step.
        rule: rule across batches.
    """
    ratio = batch / REFERENCE_BATCH
    return {"linear": ratio, "square_root": math.sqrt(ratio), "none": 1.0}[rule]


def tried_range(tried: Sequence[TriedRates], batch: int) -> RateRange | None:
    """Carry the trial at the nearest batch over to another batch, by both rules.

    Args:
        tried: trials of the objective.
        batch: films per optimiser step.

    Returns:
        From the lower result of the two rules for the lowest peak to the higher one for the highest; None without
        trials.
    """
    if not tried:
        return None
    trial = min(tried, key=lambda one: abs(math.log(batch / one.batch)))
    ratio = batch / trial.batch
    factors = ratio, math.sqrt(ratio)
    return RateRange(trial.lowest * min(factors), trial.highest * max(factors), trial)
