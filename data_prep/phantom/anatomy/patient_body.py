"""Body parameters of one patient, and bones made from tables of cross-sections."""

from dataclasses import dataclass

import numpy as np

from data_prep.phantom.anatomy.graded_findings import GradedFindings
from data_prep.phantom.imaging.projection import Vector
from data_prep.phantom.imaging.scene import Bone
from data_prep.phantom.imaging.solids import Body, Shaft, Station

ADULT_YEARS = 17
"""Age at which the growth plates are closed."""

CORTEX_MU = 0.062
MARROW_MU = 0.017
FLESH_MU = 0.021
FAT_MU = 0.0175
"""Attenuation per mm near 55 kVp; bone in excess of soft tissue."""


@dataclass(frozen=True)
class Anatomy:
    """Body parameters that all films of a patient share.

    Attributes:
        age_years: age.
        sex: F or M.
        size: size of the skeleton, 1 for an adult of average height.
        density: density of the bones, 1 for a young adult.
        flesh: amount of soft tissue, 1 for average weight.
        seed: seed of the individual proportions.
        graded: measured findings; None in an archive without them.
    """

    age_years: int
    sex: str
    size: float
    density: float
    flesh: float
    seed: int
    graded: GradedFindings | None = None

    def growing(self) -> bool:
        """Whether the growth plates are open."""
        return self.graded.growth_plate > 0 if self.graded else self.age_years < ADULT_YEARS

    def wall(self) -> float:
        """Compute the thickness of the cortex, relative to that of a young adult."""
        share = 0.6 if self.graded else 0.4
        return 1 - share + share * self.density

    def mineral(self) -> float:
        """Compute the attenuation of the cortex, relative to that of a young adult."""
        share = 0.5 if self.graded else 0.25
        return 1 - share + share * self.density

    def proportions(self, stream: int) -> np.random.Generator:
        """Make the random generator number ``stream`` of individual deviations, equal for all films of the patient."""
        return np.random.default_rng((self.seed, stream))


def point(x: float, y: float, z: float = 0.0) -> Vector:
    """Make a [3] point.

    Args:
        x: mm across.
        y: mm up.
        z: mm towards the viewer.
    """
    return np.array([x, y, z], dtype=np.float64)


def bone(anatomy: Anatomy, *parts: Body, grain: float = 0.2, marrow: float = 1.0, breakable: bool = False) -> Bone:
    """Make a bone with the density of the patient.

    Args:
        anatomy: body parameters.
        parts: bodies of the bone.
        grain: strength of the trabecular texture, 0 to 1.
        marrow: factor of the attenuation of the inside.
        breakable: whether a fracture may be planted.
    """
    return Bone(
        parts=parts,
        cortex=CORTEX_MU * anatomy.mineral(),
        marrow=MARROW_MU * marrow * anatomy.density,
        grain=grain,
        breakable=breakable,
    )


def long_bone(
    anatomy: Anatomy,
    start: Vector,
    end: Vector,
    sections: tuple[tuple[float, float, float, float], ...],
    *,
    caps: tuple[float, float] = (2.0, 2.0),
    plates: tuple[float, ...] = (),
    bend: float = 0.0,
    slant: tuple[float, float] = (0.0, 0.0),
    side: tuple[float, float, float] = (1.0, 0.0, 0.0),
) -> Shaft:
    """Make a shaft from a table of cross-sections, scaled by the size of the patient.

    Args:
        anatomy: body parameters.
        start: [3] start of the axis, mm.
        end: [3] end of the axis, mm.
        sections: (position 0 to 1, half-width, half-depth, wall), mm of an adult of average height.
        caps: length over which each end is rounded, mm.
        plates: positions of growth plates, used for children.
        bend: sideways bend at the middle, mm.
        slant: slope of the surface of each end.
        side: [3] direction of the width.
    """
    stations = tuple(
        Station(at, across * anatomy.size, deep * anatomy.size, wall * anatomy.wall() * anatomy.size)
        for at, across, deep, wall in sections
    )
    return Shaft(
        start=start,
        end=end,
        stations=stations,
        side=side,
        caps=(caps[0] * anatomy.size, caps[1] * anatomy.size),
        bend=bend * anatomy.size,
        slant=slant,
        plates=plates if anatomy.growing() else (),
        plate_width=anatomy.graded.growth_plate if anatomy.graded else 1.0,
    )
