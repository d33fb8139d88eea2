"""Floating-point operations of one film, counted from shapes: matrix products only, a multiply-add is two.

These are model FLOPs (Chowdhery et al. 2022, appendix B): backward is twice forward, and what is computed again to save
memory does not count. Norms, softmax and GELU are left out: under 1 % of the operations.

Legend: N tokens of self-attention, Q queries, M tokens of a context, D channels.
"""

from mae_rad.encoders.transformer_cost import Flops
from mae_rad.objectives import MAESettings
from mae_rad.objectives.mae import mae_flops
from mae_rad.objectives.simclr import simclr_flops
from mae_rad.pretraining.settings import PretrainSettings


def flops_per_film(settings: PretrainSettings) -> Flops:
    """What one film costs in a step of training with ``settings``."""
    objective = settings.objective
    if isinstance(objective, MAESettings):
        return mae_flops(settings.encoder, objective)
    return simclr_flops(settings.encoder, objective, settings.optimizer.batch // settings.optimizer.accumulation)


def training_flops(settings: PretrainSettings, steps: int | None = None) -> float:
    """What a run costs over all its stages, or its first ``steps``; a film counts as often as it is seen."""
    left = settings.optimizer.steps if steps is None else steps
    total = 0.0
    for stage in settings.stages():
        taken = min(stage.optimizer.steps, left)
        total += flops_per_film(stage).training * taken * stage.optimizer.batch
        left -= taken
    return total
