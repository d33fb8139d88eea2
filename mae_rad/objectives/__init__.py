"""Objectives by name.

To add one: a file with its settings and its class, a line in ``OBJECTIVES``, a member of ``ObjectiveSettings``.
"""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from data_prep.settings import Settings
from mae_rad.encoders.vit import ViT
from mae_rad.objectives.base import Objective, ObjectiveOutput
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

OBJECTIVES: dict[str, tuple[type[Settings], Callable[[ViT, Any], Objective]]] = {
    "mae": (MAESettings, MAE),
    "simclr": (SimCLRSettings, SimCLR),
}


def build_objective(settings: MAESettings | SimCLRSettings, encoder: ViT) -> Objective:
    """The objective that the settings describe, around ``encoder``."""
    _, build = OBJECTIVES[settings.name]
    return build(encoder, settings)
