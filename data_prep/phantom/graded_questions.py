"""Graded questions: findings of the body that films show in different degrees, with their measurements.

Label          present                                          measurement           films
cardiomegaly   cardiothoracic ratio above 0.55                  cardiothoracic_ratio  chest PA
effusion       fluid above a lung base, or above the patella    effusion_mm           chest, lateral knee
osteopenia     density below 0.75 of that of a young adult      bone_density          hand, wrist, knee
growth_plates  open                                             growth_plate_mm       hand, wrist, knee
"""

from dataclasses import replace

import numpy as np

from data_prep.phantom.anatomy.graded_findings import GradedFindings
from data_prep.phantom.anatomy.patient_body import Anatomy
from data_prep.phantom.difficulty import GradedRanges, Range

LARGEST_NORMAL_RATIO, OSTEOPENIA_DENSITY = 0.55, 0.75
"""Cardiothoracic ratio above which a heart is enlarged, and density of bone below which it is osteopenic."""
LABELS = ("cardiomegaly", "effusion", "osteopenia", "growth_plates")
PREVALENCE = 0.4
"""Probability of each graded finding per patient."""
_MEASURED = frozenset(("CHEST", "HAND", "WRIST", "KNEE"))
_PLATE_MM = 1.83
"""Full width at half depth of a growth plate of relative width 1."""


def draw_graded(anatomy: Anatomy, ranges: GradedRanges, draw: np.random.Generator) -> Anatomy:
    """Draw the graded findings of a patient, each by itself; growth plates follow the age.

    Args:
        anatomy: body parameters.
        ranges: ranges of the measurements.
        draw: random generator.
    """
    is_enlarged, is_osteopenic, has_pleural_fluid, has_joint_fluid = draw.random(4) < PREVALENCE
    findings = GradedFindings(
        cardiothoracic_ratio=_uniform(draw, ranges.enlarged_ratio if is_enlarged else ranges.normal_ratio),
        growth_plate=_uniform(draw, ranges.growth_plate) * anatomy.growing(),
        pleural_fluid=_uniform(draw, ranges.pleural_fluid) * bool(has_pleural_fluid),
        pleural_side=1 if draw.random() < 0.5 else -1,
        joint_fluid=_uniform(draw, ranges.joint_fluid) * bool(has_joint_fluid),
    )
    density = _uniform(draw, ranges.low_density if is_osteopenic else ranges.normal_density)
    return replace(anatomy, density=density, graded=findings)


def measure_film(anatomy: Anatomy, body_part: str, view: str) -> dict[str, float]:
    """Measurements that a film shows: name → number; empty without graded questions.

    Args:
        anatomy: body parameters.
        body_part: body part of the film.
        view: view of the film.
    """
    graded = anatomy.graded
    if graded is None or body_part not in _MEASURED:
        return {}
    if body_part == "CHEST":
        ratio = {"cardiothoracic_ratio": graded.cardiothoracic_ratio} if view == "PA" else {}
        return ratio | {"effusion_mm": graded.pleural_fluid * anatomy.size}
    fluid = {"effusion_mm": graded.joint_fluid * anatomy.size} if (body_part, view) == ("KNEE", "LAT") else {}
    return fluid | {"bone_density": anatomy.density, "growth_plate_mm": graded.growth_plate * _PLATE_MM}


def graded_labels(measurements: dict[str, float]) -> dict[str, bool]:
    """Labels of measurements: label → whether it is present."""
    labels = {}
    for name, value in measurements.items():
        match name:
            case "cardiothoracic_ratio":
                labels["cardiomegaly"] = value > LARGEST_NORMAL_RATIO
            case "bone_density":
                labels["osteopenia"] = value < OSTEOPENIA_DENSITY
            case "growth_plate_mm":
                labels["growth_plates"] = value > 0
            case "effusion_mm":
                labels["effusion"] = value > 0
    return labels


def _uniform(draw: np.random.Generator, limits: Range) -> float:
    return float(draw.uniform(*limits))
