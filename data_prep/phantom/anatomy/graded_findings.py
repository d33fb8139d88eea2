"""Findings of a body that are measured: heart, fluid, growth plates."""

from dataclasses import dataclass


@dataclass(frozen=True)
class GradedFindings:
    """Measured findings that all films of a patient share; the density of the bones is in the anatomy.

    Attributes:
        cardiothoracic_ratio: width of the heart relative to the inner width of the thorax, on the frontal chest.
        growth_plate: width of the open growth plates relative to :class:`Shaft`; 0 for closed ones.
        pleural_fluid: height of the fluid above the lung base, mm of an adult of average height.
        pleural_side: side of the fluid, -1 right or 1 left.
        joint_fluid: depth of the fluid above the patella, mm of an adult of average height.
    """

    cardiothoracic_ratio: float
    growth_plate: float
    pleural_fluid: float
    pleural_side: int
    joint_fluid: float
