"""A target network: a copy without gradient whose weights follow those of the trained one (Grill et al. 2020)."""

import math
from copy import deepcopy
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def target_of(trained: M) -> M:
    """Copy a module, with parameters that no optimiser trains; they belong to every checkpoint all the same.

    Args:
        trained: module that the copy is to follow.

    Returns:
        The copy, without stochastic depth: what is predicted should not depend on chance.
    """
    copied = deepcopy(trained).requires_grad_(False)
    for part in copied.modules():
        for name in ("drop_path", "drop_prob"):  # of a block of the ViT, and of timm's DropPath
            if isinstance(getattr(part, name, None), float):
                setattr(part, name, 0.0)
    return copied


def momentum_at(progress: float, first: float) -> float:
    """Share of its weights that a target keeps in a step (Grill et al. 2020, appendix J): from ``first`` to 1.

    Args:
        progress: share of the run that is done, in [0, 1].
        first: share at the start of the run.
    """
    return 1 - (1 - first) * (math.cos(math.pi * progress) + 1) / 2


@torch.no_grad()
def follow(target: nn.Module, trained: nn.Module, progress: float, first: float) -> None:
    """Move a target towards the trained module; before the first step it becomes equal to it.

    Running statistics of batch norm are the target's own, from its own forward passes.

    Args:
        target: of :func:`target_of`.
        trained: module that it follows.
        progress: share of the run that is done, in [0, 1]; 0 before the first step.
        first: momentum at the start of the run.
    """
    if progress == 0:  # the trained weights may come from another run
        target.load_state_dict(trained.state_dict())
        return
    weight = 1 - momentum_at(progress, first)
    for own, other in zip(target.parameters(), trained.parameters(), strict=True):
        own.lerp_(other, weight)
