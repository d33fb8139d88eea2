"""Compute the floating-point operations of a pretraining from shapes; a multiply-add counts as two.

These are model FLOPs of matrix products (Chowdhery et al. 2022, appendix B): backward is twice forward, and
recomputation does not count. Norms, softmax and GELU, under 1 % of the operations, are left out. Each objective counts
its own operations with ``encoders/transformer_cost.py``.
"""

from mae_rad.encoders.transformer_cost import Flops
from mae_rad.pretraining.settings import PretrainSettings


def flops_per_film(settings: PretrainSettings) -> Flops:
    """Compute the FLOPs of one film in a step of training."""
    return settings.objective.flops(settings.encoders, settings.films_per_pass)


def training_flops(settings: PretrainSettings, steps: int | None = None) -> float:
    """Compute the FLOPs of a run.

    Args:
        settings: settings of the run.
        steps: number of first steps to count (default: all).
    """
    remaining = settings.optimizer.steps if steps is None else steps
    total = 0.0
    for stage in settings.stages():
        stage_steps = min(stage.optimizer.steps, remaining)
        total += flops_per_film(stage).training * stage_steps * stage.optimizer.batch
        remaining -= stage_steps
    return total
