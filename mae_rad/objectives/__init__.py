"""Objectives by name.

To add one: a file with its settings and its class, a line in ``OBJECTIVES``, a member of ``ObjectiveSettings``.
"""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from mae_rad.encoders.vit import ViT
from mae_rad.objectives.interface import Objective, ObjectiveOutput
from mae_rad.objectives.mae import MAE, MAESettings
from mae_rad.objectives.simclr import SimCLR, SimCLRSettings

__all__ = [
    "OBJECTIVES",
    "MAESettings",
    "Objective",
    "ObjectiveOutput",
    "ObjectiveSettings",
    "SimCLRSettings",
    "build_objective",
]

ObjectiveSettings = Annotated[MAESettings | SimCLRSettings, Field(discriminator="name")]
"""The settings of any objective, told apart by ``name``."""

OBJECTIVES: dict[str, Callable[[ViT, Any], Objective]] = {"mae": MAE, "simclr": SimCLR}


def build_objective(settings: MAESettings | SimCLRSettings, encoder: ViT) -> Objective:
    """The objective that the settings describe, around ``encoder``."""
    return OBJECTIVES[settings.name](encoder, settings)
