"""Learning rate as a pure function of the step."""

import math

from mae_rad.training.settings import OptimizerSettings


def learning_rate(step: int, settings: OptimizerSettings) -> float:
    """Linear warm-up, then cosine to zero; ``step`` counts optimiser steps from 0."""
    peak = settings.base_learning_rate * settings.batch / 256
    warmup = round(settings.steps * settings.warmup_fraction)
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, settings.steps - warmup)))
