"""What is particular to one patient's body, and the tables by which it becomes bones."""

from dataclasses import dataclass

import numpy as np

from data_prep.phantom.imaging.projection import Vector
from data_prep.phantom.imaging.scene import Bone
from data_prep.phantom.imaging.solids import Body, Shaft, Station

GROWN_UP = 17
"""Years at which the growth plates are closed."""

CORTEX_MU = 0.062
MARROW_MU = 0.017
FLESH_MU = 0.021
FAT_MU = 0.0175
"""Attenuation per mm near 55 kVp: cortical and trabecular bone in excess of soft tissue, muscle, fat."""


@dataclass(frozen=True)
class Anatomy:
    """Draws that all films of one patient share.

    Attributes:
        size: of the skeleton, 1 for an adult of middle height.
        density: of the bones, 1 for a young adult.
        flesh: soft tissue around the bones, 1 for middle weight.
        seed: of the small proportions.
    """

    age_years: int
    sex: str
    size: float
    density: float
    flesh: float
    seed: int

    def growing(self) -> bool:
        """True while growth plates are open."""
        return self.age_years < GROWN_UP

    def wall(self) -> float:
        """Thickness of the cortex against the usual one."""
        return 0.6 + 0.4 * self.density

    def proportions(self, stream: int) -> np.random.Generator:
        """The same stream of small deviations for every film of the patient."""
        return np.random.default_rng((self.seed, stream))


def point(x: float, y: float, z: float = 0.0) -> Vector:
    """Body coordinates in mm."""
    return np.array([x, y, z], dtype=np.float64)


def bone(anatomy: Anatomy, *parts: Body, grain: float = 0.2, marrow: float = 1.0, breakable: bool = False) -> Bone:
    """A bone with this patient's density."""
    return Bone(
        parts=parts,
        cortex=CORTEX_MU * (0.75 + 0.25 * anatomy.density),
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
    """A shaft from a table of (position, half-width, half-depth, wall); widths and walls follow the patient's size."""
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
    )
