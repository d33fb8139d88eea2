"""The learning rate schedule."""

import math

from mae_rad.training.settings import OptimizerSettings


def learning_rate(step: int, settings: OptimizerSettings) -> float:
    """Compute the learning rate: linear warm-up, then cosine decay to zero.

    Args:
        step: optimiser step, counted from 0.
        settings: settings of the optimiser.
    """
    peak = settings.base_learning_rate * settings.batch / 256
    warmup = round(settings.steps * settings.warmup_fraction)
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, settings.steps - warmup)))
