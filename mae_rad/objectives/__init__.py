"""Pretraining objectives by name.

To add one: a file with its settings and its model, as defined in ``interface.py``, and a line in ``OBJECTIVES``.
"""

from typing import Annotated

from data_prep.settings import ChosenByName
from mae_rad.objectives.barlow_twins import BarlowTwinsSettings
from mae_rad.objectives.byol import BYOLSettings
from mae_rad.objectives.dino import DINOSettings
from mae_rad.objectives.interface import FILM, Objective, ObjectiveOutput, ObjectiveSettings
from mae_rad.objectives.mae import MAESettings
from mae_rad.objectives.mae_contrast import MAEContrastSettings
from mae_rad.objectives.nnclr import NNCLRSettings
from mae_rad.objectives.rank_n_contrast import RankNContrastSettings
from mae_rad.objectives.simclr import SimCLRSettings
from mae_rad.objectives.simsiam import SimSiamSettings
from mae_rad.objectives.swav import SwAVSettings
from mae_rad.objectives.vicreg import VICRegSettings

__all__ = [
    "FILM",
    "OBJECTIVES",
    "AnyObjective",
    "MAESettings",
    "Objective",
    "ObjectiveOutput",
    "ObjectiveSettings",
    "SimCLRSettings",
    "objective_settings",
]

OBJECTIVES: dict[str, type[ObjectiveSettings]] = {
    "mae": MAESettings,
    "simclr": SimCLRSettings,
    "simsiam": SimSiamSettings,
    "barlow_twins": BarlowTwinsSettings,
    "vicreg": VICRegSettings,
    "byol": BYOLSettings,
    "nnclr": NNCLRSettings,
    "swav": SwAVSettings,
    "dino": DINOSettings,
    "rank_n_contrast": RankNContrastSettings,
    "mae_contrast": MAEContrastSettings,
}

_CHOSEN = ChosenByName(OBJECTIVES)

AnyObjective = Annotated[ObjectiveSettings, _CHOSEN]
"""Type of a settings field for any objective in ``OBJECTIVES``."""


def objective_settings(values: object) -> ObjectiveSettings:
    """Validate the settings of an objective.

    Args:
        values: mapping of settings, with ``name``.

    Returns:
        Settings of the class that ``name`` selects.

    Raises:
        ValueError: no objective of that name, an unknown setting, or a value out of range.
    """
    return _CHOSEN.read(values)
