"""Objectives by name.

To add one: a file with its settings and its model (``interface.py`` says what they have), and a line in ``OBJECTIVES``.
"""

from typing import Annotated

from data_prep.settings import ChosenByName
from mae_rad.objectives.interface import FILM, Objective, ObjectiveOutput, ObjectiveSettings
from mae_rad.objectives.mae import MAESettings
from mae_rad.objectives.simclr import SimCLRSettings

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

OBJECTIVES: dict[str, type[ObjectiveSettings]] = {"mae": MAESettings, "simclr": SimCLRSettings}

_CHOSEN = ChosenByName(OBJECTIVES)

AnyObjective = Annotated[ObjectiveSettings, _CHOSEN]
"""The settings of any objective of the table, as a field of other settings."""


def objective_settings(values: object) -> ObjectiveSettings:
    """The settings that ``values`` (a mapping with ``name``) are.

    Raises:
        ValueError: no objective of that name, an unknown setting, or a value out of range.
    """
    return _CHOSEN.read(values)
