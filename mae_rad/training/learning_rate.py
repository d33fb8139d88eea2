"""The learning rate schedule."""

import math

from mae_rad.objectives.learning_rates import rate_factor
from mae_rad.training.settings import OptimizerSettings


def peak_rate(settings: OptimizerSettings) -> float:
    """Compute the highest learning rate of the schedule.

    Args:
        settings: settings of the optimiser.
    """
    return settings.base_learning_rate * rate_factor(settings.batch, settings.rate_rule)


def learning_rate(step: int, settings: OptimizerSettings) -> float:
    """Compute the learning rate: in each segment linear warm-up, then cosine decay to zero.

    Args:
        step: optimiser step, counted from 0.
        settings: settings of the optimiser.
    """
    peak = peak_rate(settings)
    start, end = settings.segment_of(step)
    step, steps = step - start, end - start
    warmup = round(steps * settings.warmup_fraction)
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
