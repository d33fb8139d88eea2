"""The learning rate schedule."""

import math

from mae_rad.training.settings import OptimizerSettings


def learning_rate(step: int, settings: OptimizerSettings) -> float:
    """Compute the learning rate: in each segment linear warm-up, then cosine decay to ``min_learning_rate``.

    Args:
        step: optimiser step, counted from 0.
        settings: settings of the optimiser.
    """
    peak, floor = settings.peak_rate, settings.min_learning_rate
    start, end = settings.segment_of(step)
    step, steps = step - start, end - start
    warmup = round(steps * settings.warmup_fraction)
    if step < warmup:
        return peak * (step + 1) / warmup
    share = 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
    return floor + (peak - floor) * share
