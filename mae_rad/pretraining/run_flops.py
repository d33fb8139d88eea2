"""Floating-point operations of one film, counted from shapes: matrix products only, a multiply-add is two.

These are model FLOPs (Chowdhery et al. 2022, appendix B): backward is twice forward, and what is computed again to save
memory does not count. Norms, softmax and GELU are left out: under 1 % of the operations. Each objective counts its own,
by the blocks of ``encoders/transformer_cost.py``.
"""

from mae_rad.encoders.transformer_cost import Flops
from mae_rad.pretraining.settings import PretrainSettings


def flops_per_film(settings: PretrainSettings) -> Flops:
    """What one film costs in a step of training with ``settings``."""
    return settings.objective.flops(settings.encoders, settings.films_per_pass)


def training_flops(settings: PretrainSettings, steps: int | None = None) -> float:
    """What a run costs over all its stages, or its first ``steps``; a film counts as often as it is seen."""
    left = settings.optimizer.steps if steps is None else steps
    total = 0.0
    for stage in settings.stages():
        taken = min(stage.optimizer.steps, left)
        total += flops_per_film(stage).training * taken * stage.optimizer.batch
        left -= taken
    return total
