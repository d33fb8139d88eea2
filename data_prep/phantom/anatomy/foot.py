"""Scenes of foot and ankle.

The origin of the foot is behind the base of the second metatarsal, toes at +y, the big toe at -x, the sole at -z. The
ankle has its origin in the joint, the leg at +y, the fibula at +x and the toes at +z.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from data_prep.phantom.anatomy.patient_body import FAT_MU, FLESH_MU, Anatomy, bone, long_bone, point
from data_prep.phantom.imaging.projection import about_y
from data_prep.phantom.imaging.scene import Bone, Scene, Tissue
from data_prep.phantom.imaging.solids import Ellipsoid, Shaft, Station, Tube, box_axes

_METATARSAL = ((0.0, 7.6, 8.0, 0.8), (0.15, 5.6, 6.2, 1.2), (0.5, 4.2, 4.8, 1.9), (0.82, 4.6, 5.2, 1.1),
               (0.95, 6.6, 6.6, 0.6), (1.0, 6.2, 6.2, 0.6))  # fmt: skip
_PHALANX = ((0.0, 5.8, 5.0, 0.6), (0.3, 3.6, 3.4, 1.2), (0.7, 3.4, 3.0, 1.1), (1.0, 4.6, 3.6, 0.5))
_RAYS = (
    # base of the metatarsal x, y, z; head x, y, z; lengths of the phalanges; width
    ((-17.0, 6.0, 2.0), (-26.0, 66.0, -10.0), (32.0, 25.0), 1.65),
    ((-3.0, 3.0, 4.0), (-5.0, 75.0, -8.0), (27.0, 12.0, 9.0), 0.95),
    ((8.0, 4.0, 2.0), (11.0, 71.0, -9.0), (25.0, 10.0, 9.0), 0.9),
    ((18.0, 1.0, -2.0), (26.0, 63.0, -10.0), (23.0, 8.0, 9.0), 0.9),
    ((28.0, -6.0, -8.0), (41.0, 53.0, -12.0), (21.0, 7.0, 8.0), 0.95),
)
_TARSALS = (
    # centre x, y, z; half axes; squareness
    ((-19.0, -6.0, 2.0), (10.0, 12.5, 10.0), 2.9),  # medial cuneiform
    ((-4.0, -5.0, 5.0), (7.5, 9.0, 8.0), 2.9),  # intermediate cuneiform
    ((7.0, -6.0, 3.0), (8.0, 11.0, 8.0), 2.9),  # lateral cuneiform
    ((-9.0, -26.0, 3.0), (17.0, 9.0, 10.0), 2.5),  # navicular
    ((20.0, -22.0, -5.0), (12.5, 16.0, 10.0), 2.8),  # cuboid
    ((-8.0, -54.0, 8.0), (17.0, 23.0, 13.0), 2.5),  # talus
)
_TIBIA = ((0.0, 12.5, 13.0, 4.5), (0.45, 12.5, 12.5, 4.0), (0.75, 17.0, 15.5, 1.8), (0.92, 24.0, 20.0, 0.8),
          (1.0, 24.0, 20.0, 0.8))  # fmt: skip
_FIBULA = ((0.0, 5.8, 5.8, 2.2), (0.6, 5.8, 5.8, 2.2), (0.8, 9.0, 9.5, 0.8), (0.93, 9.5, 10.0, 0.7),
           (1.0, 6.5, 7.0, 0.7))  # fmt: skip
_CALCANEUS = ((0.0, 13.0, 15.0, 1.0), (0.35, 15.0, 16.0, 1.0), (0.8, 15.0, 19.0, 1.1), (1.0, 14.0, 17.0, 1.3))
_SHANK_MM = 150.0


def foot(anatomy: Anatomy, view: str, obliquity: float) -> Scene:
    """Make the scene of the foot.

    Args:
        anatomy: body parameters.
        view: AP (from the back of the foot), or OBLIQUE (rotated by about 40°).
        obliquity: additional rotation about the long axis, radians.
    """
    size = anatomy.size
    turn = obliquity if view == "AP" else 0.7 + obliquity
    fat = size * (0.6 + 0.4 * anatomy.flesh)
    skin = Tissue(tuple(_foot_flesh(size, fat)), FAT_MU, blend=4.0)
    muscle = Tissue(tuple(_foot_flesh(size, 0.8 * fat)), FLESH_MU - FAT_MU, blend=4.0)
    bones = (*_rays(anatomy), *_tarsals(anatomy))
    field = (-62 * size, -118 * size, 66 * size, 142 * size)
    return Scene(about_y(turn), field, (skin,), (muscle,), bones, scatter=0.25, energy=54)


def ankle(anatomy: Anatomy, view: str, obliquity: float) -> Scene:
    """Make the scene of the ankle with a third of the lower leg.

    Args:
        anatomy: body parameters.
        view: AP or LAT.
        obliquity: rotation about the long axis, radians.
    """
    size = anatomy.size
    lateral = view == "LAT"
    fat = size * (0.55 + 0.45 * anatomy.flesh)
    skin = Tissue(tuple(_leg_flesh(size, fat)), FAT_MU, blend=5.0)
    muscle = Tissue(tuple(_leg_flesh(size, 0.82 * fat)), FLESH_MU - FAT_MU, blend=5.0)
    bones = (*_lower_leg(anatomy), *_hindfoot(anatomy))
    field = (-68, -66, 118, 116) if lateral else (-56, -66, 56, 116)
    turn = about_y(np.pi / 2 + obliquity if lateral else 0.15 + obliquity)
    left, bottom, right, top = (edge * size for edge in field)
    return Scene(turn, (left, bottom, right, top), (skin,), (muscle,), bones, scatter=0.35, energy=57)


def _rays(anatomy: Anatomy) -> Iterator[Bone]:
    size = anatomy.size
    draw = anatomy.proportions(21)
    for base, head, phalanges, width in _RAYS:
        start, tip = size * point(*base), size * point(*head)
        tip = start + (tip - start) * draw.normal(1.0, 0.03)
        points = [start, tip]
        step = (tip - start) / np.linalg.norm(tip - start)
        bearing = np.array([0.35 * step[0], 1.0, -0.05])
        for length in phalanges:
            bearing[0] += draw.normal(0.02, 0.04)
            points.append(points[-1] + bearing / np.linalg.norm(bearing) * length * size)
        for j, (first, last) in enumerate(pairwise(points)):
            table = _METATARSAL if j == 0 else _PHALANX
            scale = width if j else 0.55 + 0.45 * width
            scaled = tuple((at, a * scale, b * scale, wall) for at, a, b, wall in table)
            gap = 1.0 * size / float(np.linalg.norm(last - first))
            shaft = long_bone(
                anatomy, first + gap * (last - first), last - gap * (last - first), scaled, caps=(1.8, 4.0),
                plates=(0.9 if j == 0 else 0.12,),
            )  # fmt: skip
            yield bone(anatomy, shaft, breakable=True)


def _tarsals(anatomy: Anatomy) -> Iterator[Bone]:
    size = anatomy.size
    for centre, axes, squareness in _TARSALS:
        shape = size * box_axes(*axes)
        yield bone(anatomy, Ellipsoid(size * point(*centre), shape, wall=0.8 * size, squareness=squareness), marrow=1.2)
    calcaneus = long_bone(
        anatomy, size * point(15, -42, -10), size * point(4, -104, -14), _CALCANEUS, caps=(5.0, 9.0), plates=(0.88,)
    )
    yield bone(anatomy, calcaneus, marrow=1.1, breakable=True)


def _foot_flesh(size: float, fat: float) -> Iterator[Ellipsoid | Shaft | Tube]:
    stations = (Station(0, 33 * fat, 30 * fat), Station(0.35, 36 * fat, 27 * fat), Station(0.75, 50 * fat, 18 * fat),
                Station(1, 46 * fat, 13 * fat))  # fmt: skip
    yield Shaft(size * point(2, -122, -6), size * point(6, 82, -8), stations, caps=(18 * size, 16 * size))
    for base, head, phalanges, width in _RAYS:
        tip = head[1] + sum(phalanges) - 2
        path = np.array([base, head, (head[0] * 1.08, (head[1] + tip) / 2, -9), (head[0] * 1.12, tip, -9)]) * size
        yield Tube(path, np.array([10.0, 11.0, 9.5, 7.5]) * fat * (0.62 + 0.4 * width), depth=0.9)


def _lower_leg(anatomy: Anatomy) -> Iterator[Bone]:
    size = anatomy.size
    tibia = long_bone(
        anatomy, size * point(-4, _SHANK_MM, 0), size * point(-4, 4, 0), _TIBIA, caps=(1.0, 3.0), plates=(0.92,)
    )
    malleolus = Ellipsoid(size * point(-24, -3, 2), size * box_axes(5.5, 13, 10), wall=0.9 * size)
    yield bone(anatomy, tibia, malleolus, breakable=True)
    fibula = long_bone(
        anatomy, size * point(22, _SHANK_MM, -8), size * point(25, -20, -7), _FIBULA, caps=(1.0, 8.0), bend=1.5,
        plates=(0.86,),
    )  # fmt: skip
    yield bone(anatomy, fibula, breakable=True)


def _hindfoot(anatomy: Anatomy) -> Iterator[Bone]:
    size = anatomy.size
    dome = Ellipsoid(size * point(0, -10, 0), size * box_axes(19, 12, 21), wall=0.9 * size, squareness=2.5)
    neck = Ellipsoid(size * point(-5, -14, 24), size * box_axes(13, 10, 15), wall=0.8 * size)
    yield bone(anatomy, dome, neck, marrow=1.2)
    heel = Ellipsoid(size * point(4, -36, -16), size * box_axes(14.5, 17, 40), wall=1.1 * size, squareness=2.7)
    yield bone(anatomy, heel, marrow=1.1)
    for x, y, z, half in ((-8, -22, 47, 10), (14, -34, 48, 12), (-10, -27, 64, 10), (4, -28, 66, 9)):
        shape = size * box_axes(0.9 * half, 0.95 * half, half)
        yield bone(anatomy, Ellipsoid(size * point(x, y, z), shape, wall=0.7 * size, squareness=2.7), marrow=1.2)
    for x, fall in ((-12, 10), (-2, 10), (7, 12), (16, 13), (25, 12)):
        path = size * np.array(
            [(x, -30 - fall / 4, 76), (1.08 * x, -34 - 0.6 * fall, 108), (1.15 * x, -36 - fall, 140)]
        )
        yield bone(anatomy, Tube(path, size * np.array([6.0, 4.6, 6.0]), wall=1.4 * size))


def _leg_flesh(size: float, fat: float) -> tuple[Shaft, Ellipsoid, Ellipsoid]:
    """Leg, foot and the joint."""
    leg = (Station(0, 46 * fat, 46 * fat), Station(0.5, 38 * fat, 37 * fat), Station(0.85, 38 * fat, 40 * fat),
           Station(1, 36 * fat, 44 * fat))  # fmt: skip
    return (
        Shaft(size * point(2, _SHANK_MM + 40, -6), size * point(3, -38, -10), leg, caps=(1.0, 26 * size)),
        Ellipsoid(size * point(5, -36, 48), np.diag([40 * fat, 26 * fat, 118 * size]), squareness=3.0),
        Ellipsoid(size * point(0, -12, 12), fat * box_axes(38, 38, 42)),
    )
