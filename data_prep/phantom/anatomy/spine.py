"""Scenes of the cervical and the lumbar spine, with the origin in the middle of the spine, the front at +z."""

from collections.abc import Iterator

import numpy as np

from data_prep.phantom.anatomy.patient_body import FAT_MU, FLESH_MU, Anatomy, bone, point
from data_prep.phantom.imaging.projection import Vector, about_y
from data_prep.phantom.imaging.scene import Bone, Scene, Tissue
from data_prep.phantom.imaging.solids import Body, Ellipsoid, Shaft, Station, Tube, box_axes, spline

_GAS_MU = -0.9 * FAT_MU
_TRUNK_MU = 0.55
"""Attenuation of soft tissue at the higher tube voltage of the trunk, relative to that of limbs."""


def cervical_spine(anatomy: Anatomy, view: str, obliquity: float) -> Scene:
    """Make the scene of the cervical spine with the lower jaw and the tops of the shoulders.

    Args:
        anatomy: body parameters.
        view: AP or LAT.
        obliquity: rotation about the long axis, radians.
    """
    size, lateral = anatomy.size, view == "LAT"
    fat = size * (0.6 + 0.4 * anatomy.flesh)
    neck = Shaft(
        size * point(0, 95, 18), size * point(0, -130, -4),
        (Station(0, 58 * fat, 66 * fat), Station(0.55, 55 * fat, 56 * fat), Station(1, 74 * fat, 62 * fat)),
        caps=(1.0, 1.0),
    )  # fmt: skip
    head = Ellipsoid(size * point(0, 128, 22), size * box_axes(74, 78, 92))
    shoulders = Ellipsoid(size * point(0, -142, -8), size * box_axes(205, 62, 60))
    skin = Tissue((neck, head, shoulders), FAT_MU, blend=6.0)
    path = np.array([(0, 60, 34), (0, 0, 26), (0, -70, 20), (0, -150, 6)], dtype=np.float64) * size
    airway = Tissue((Tube(path, np.array([12.0, 9.0, 9.0, 9.0]) * size),), _GAS_MU)
    bones = (*_cervical_vertebrae(anatomy), *_jaw_and_base(anatomy), *_clavicles(anatomy))
    field = (-100, -104, 66, 116) if lateral else (-82, -112, 82, 108)
    turn = about_y(-np.pi / 2 + obliquity if lateral else obliquity)
    left, bottom, right, top = (edge * size for edge in field)
    return Scene(turn, (left, bottom, right, top), (skin,), (airway,), bones, scatter=0.5, energy=66)


def _cervical_vertebrae(anatomy: Anatomy) -> Iterator[Bone]:
    size = anatomy.size
    lordosis = anatomy.proportions(23).normal(7, 3)
    for k in range(9):  # the last two are thoracic
        y = 62.0 - 19.5 * k
        z = lordosis * float(np.sin(np.pi * k / 7)) - 0.9 * k
        half, deep = 10.5 + 0.9 * k, 8.0 + 0.35 * k
        yield _vertebra(anatomy, point(0, y, z), half, deep, 7.6, waist=0.88)
        for side in (-1, 1):
            mass = Ellipsoid(
                size * point(side * (half + 6.5), y - 2, z - 10), size * box_axes(5.5, 9.0, 6.5), wall=size
            )
            yield bone(anatomy, mass, grain=0.0)
        reach = (20, 26, 28, 28, 30, 34, 42, 44, 42)[k]
        spike = size * np.array([(0, y - 3, z - 16), (0, y - 8, z - 12 - 0.6 * reach), (0, y - 13, z - 10 - reach)])
        yield bone(anatomy, Tube(spike, size * np.array([3.6, 3.0, 4.2]), wall=0.9 * size), grain=0.0)
    dens = Ellipsoid(size * point(0, 78, lordosis * 0.1 + 1), size * box_axes(5.5, 13, 5.5), wall=size)
    atlas = Ellipsoid(size * point(0, 79, -4), size * box_axes(24, 5.5, 18), wall=1.2 * size, squareness=3.0)
    yield bone(anatomy, dens)
    yield bone(anatomy, atlas, grain=0.0)


def _jaw_and_base(anatomy: Anatomy) -> Iterator[Bone]:
    size = anatomy.size
    for side in (-1, 1):
        ramus = np.array(
            [(side * 46, 104, 22), (side * 45, 74, 30), (side * 36, 58, 52), (side * 12, 52, 88), (0, 52, 92)]
        )
        points = spline(ramus) * size
        yield bone(anatomy, Tube(points, np.full(len(points), 9.0 * size), wall=2.4 * size, depth=0.6), breakable=True)
    skull = Ellipsoid(size * point(0, 148, 4), size * box_axes(70, 58, 90), wall=5 * size)
    yield bone(anatomy, skull, grain=0.1)


def _clavicles(anatomy: Anatomy) -> Iterator[Bone]:
    for side in (-1, 1):
        path = np.array([(side * 16, -118, 44), (side * 60, -108, 46), (side * 120, -92, 18), (side * 160, -92, 0)])
        points = spline(path) * anatomy.size
        yield bone(anatomy, Tube(points, np.full(len(points), 6.5 * anatomy.size), wall=1.6 * anatomy.size))


def lumbar_spine(anatomy: Anatomy, view: str, obliquity: float) -> Scene:
    """Make the scene of the lumbar spine with sacrum, wings of the pelvis and the lowest ribs.

    Args:
        anatomy: body parameters.
        view: AP or LAT.
        obliquity: rotation about the long axis, radians.
    """
    size, lateral = anatomy.size, view == "LAT"
    fat = size * (0.5 + 0.5 * anatomy.flesh)
    belly = (Station(0, 152 * fat, 100 * fat), Station(0.45, 140 * fat, 96 * fat), Station(1, 176 * fat, 108 * fat))
    trunk = Shaft(size * point(0, 240, 22), size * point(0, -260, 22), belly, caps=(1.0, 1.0))
    skin = Tissue((trunk,), _TRUNK_MU * FAT_MU)
    muscles = tuple(
        Tube(
            size * np.array([(side * 26, 150, -38), (side * 40, 0, -40), (side * 46, -150, -40)]),
            size * np.full(3, 27.0),
        )
        for side in (-1, 1)
    )
    psoas = tuple(
        Tube(
            size * np.array([(side * 22, 90, 8), (side * 44, -30, 14), (side * 72, -140, 40)]), size * np.full(3, 23.0)
        )
        for side in (-1, 1)
    )
    inner = (
        Tissue((*muscles, *psoas), 0.6 * (FLESH_MU - FAT_MU)),
        Tissue(tuple(_bowel_gas(anatomy)), 0.4 * _GAS_MU),
    )
    bones = (*_lumbar_vertebrae(anatomy), *_pelvis(anatomy), *_lowest_ribs(anatomy))
    field = (-112, -150, 92, 168) if lateral else (-112, -168, 112, 168)
    turn = about_y(-np.pi / 2 + obliquity if lateral else obliquity)
    left, bottom, right, top = (edge * size for edge in field)
    return Scene(turn, (left, bottom, right, top), (skin,), inner, bones, scatter=0.9, energy=77)


def _lumbar_vertebrae(anatomy: Anatomy) -> Iterator[Bone]:
    size = anatomy.size
    sway = anatomy.proportions(24).normal(0, 3)
    for k in range(-1, 6):  # from the eleventh thoracic one
        y = 118.0 - 36.0 * k
        x, z = sway * float(np.sin(k / 1.6)), 12 * float(np.sin(np.pi * (k + 1) / 7))
        half, deep = 20.5 + 1.3 * k, 15.5 + 0.7 * k
        yield _vertebra(anatomy, point(x, y, z), half, deep, 14.0, waist=0.84)
        for side in (-1, 1):
            pedicle = Ellipsoid(
                size * point(x + side * half * 0.62, y + 4, z - deep - 7), size * box_axes(4.2, 7.2, 8), wall=1.7 * size
            )
            yield bone(anatomy, pedicle, grain=0.0)
            path = np.array([(x + side * half * 0.7, y + 2, z - 24), (x + side * (half + 22), y + 5, z - 28)])
            yield bone(anatomy, Tube(size * path, size * np.array([4.4, 3.6]), wall=size), grain=0.0)
        spike = np.array([(x, y - 4, z - 36), (x, y - 12, z - 62)])
        yield bone(anatomy, Tube(size * spike, size * np.array([5.0, 6.5]), wall=1.2 * size, depth=0.6), grain=0.0)


def _pelvis(anatomy: Anatomy) -> Iterator[Bone]:
    size = anatomy.size
    sections = (Station(0, 48 * size, 22 * size, 1.4 * size), Station(0.5, 36 * size, 15 * size, 1.2 * size),
                Station(1, 12 * size, 6 * size, size))  # fmt: skip
    sacrum = Shaft(size * point(0, -86, -8), size * point(0, -190, -66), sections, caps=(4 * size, 6 * size))
    yield bone(anatomy, sacrum, breakable=True)
    for side in (-1, 1):
        wing = Ellipsoid(
            size * point(side * 92, -128, -4), size * box_axes(16, 66, 60, tilt=-side * 0.5), wall=2.6 * size,
            squareness=2.4,
        )  # fmt: skip
        yield bone(anatomy, wing, grain=0.1, marrow=0.5)


def _lowest_ribs(anatomy: Anatomy) -> Iterator[Bone]:
    for side in (-1, 1):
        for y, reach in ((150, 128), (116, 96)):
            path = np.array([(side * 22, y, -36), (side * 0.7 * reach, y - 20, -44), (side * reach, y - 62, -6)])
            points = spline(path) * anatomy.size
            tube = Tube(points, np.full(len(points), 5.2 * anatomy.size), wall=1.1 * anatomy.size, depth=0.7)
            yield bone(anatomy, tube, grain=0.1)


def _bowel_gas(anatomy: Anatomy) -> Iterator[Body]:
    draw = anatomy.proportions(25)
    for _ in range(7):
        x, y, z = draw.uniform((-90, -110, 50), (90, 110, 85))
        wide, high = draw.uniform(10, 26, 2)
        yield Ellipsoid(anatomy.size * point(x, y, z), anatomy.size * box_axes(wide, high, 14))


def _vertebra(anatomy: Anatomy, centre: Vector, half: float, deep: float, height: float, waist: float) -> Bone:
    """The body of a vertebra , which may break."""
    size = anatomy.size
    stations = tuple(
        Station(at, half * w * size, deep * w * size, 1.1 * size) for at, w in ((0, 1.0), (0.5, waist), (1.0, 1.0))
    )
    body = Shaft(
        size * (centre + point(0, height)), size * (centre - point(0, height)), stations, caps=(1.6 * size, 1.6 * size)
    )
    return bone(anatomy, body, breakable=True, marrow=1.1)
