"""Scene of the skull, with the origin in its middle, the crown at +y and the face at +z."""

from collections.abc import Iterator

import numpy as np

from data_prep.phantom.anatomy.patient_body import FAT_MU, Anatomy, bone, point
from data_prep.phantom.imaging.projection import about_x, about_y
from data_prep.phantom.imaging.scene import Bone, Scene, Tissue
from data_prep.phantom.imaging.solids import Ellipsoid, Shaft, Station, Tube, box_axes, spline

_SOFT_MU = 0.85 * FAT_MU
_AIR_MU = -0.9 * _SOFT_MU


def skull(anatomy: Anatomy, view: str, obliquity: float) -> Scene:
    """Make the scene of the skull with the lower jaw and the first vertebrae.

    Args:
        anatomy: body parameters.
        view: AP or LAT.
        obliquity: rotation about the long axis, radians.
    """
    size, lateral = anatomy.size**0.5, view == "LAT"  # the head grows less than the body
    brain = Ellipsoid(size * point(0, 22, -6), size * box_axes(78, 78, 98))
    face = Ellipsoid(size * point(0, -58, 40), size * box_axes(62, 74, 52), squareness=2.5)
    neck = Shaft(
        size * point(0, -30, -22), size * point(0, -190, -30),
        (Station(0, 52 * size, 52 * size), Station(1, 58 * size, 62 * size)), caps=(20 * size, 1.0),
    )  # fmt: skip
    skin = Tissue((brain, face, neck), _SOFT_MU, blend=6.0)
    air = Tissue(tuple(_air_cells(size)), _AIR_MU)
    bones = (*_vault(anatomy, size), *_face(anatomy, size), *_jaw(anatomy, size), *_neck(anatomy, size))
    field = (-112, -132, 112, 112) if lateral else (-92, -142, 92, 112)
    turn = about_y(-np.pi / 2 + obliquity if lateral else obliquity) @ about_x(0.0 if lateral else 0.12)
    left, bottom, right, top = (edge * size for edge in field)
    return Scene(turn, (left, bottom, right, top), (skin,), (air,), bones, scatter=0.6, energy=73)


def _vault(anatomy: Anatomy, size: float) -> Iterator[Bone]:
    vault = Ellipsoid(size * point(0, 24, -6), size * box_axes(72, 72, 91), wall=6.0 * size, squareness=2.15)
    yield bone(anatomy, vault, grain=0.1, marrow=0.0)
    for side in (-1, 1):
        petrous = Ellipsoid(
            size * point(side * 42, -26, -12), size * box_axes(27, 11, 13, tilt=side * 0.12), wall=4 * size
        )
        yield bone(anatomy, petrous, grain=0.1)
    base = Ellipsoid(size * point(0, -22, 12), size * box_axes(46, 6, 44), wall=2 * size, squareness=2.6)
    yield bone(anatomy, base, grain=0.0)


def _face(anatomy: Anatomy, size: float) -> Iterator[Bone]:
    around = np.linspace(0, 2 * np.pi, 13)
    for side in (-1, 1):
        ring = np.stack((side * 33 + 21 * np.cos(around), -6 + 18 * np.sin(around), np.full(13, 74.0)), axis=1) * size
        yield bone(anatomy, Tube(ring, np.full(13, 3.6 * size), wall=1.4 * size), grain=0.0, breakable=True)
        cheek = np.array([(side * 48, -30, 66), (side * 64, -30, 44), (side * 66, -26, 6)], dtype=np.float64)
        points = spline(cheek) * size
        yield bone(anatomy, Tube(points, np.full(len(points), 5.0 * size), wall=1.4 * size), breakable=True)
    septum = np.array([(0, -4, 82), (0, -30, 84), (0, -52, 76)], dtype=np.float64) * size
    yield bone(anatomy, Tube(septum, np.array([4.0, 2.4, 3.0]) * size, wall=size), grain=0.0)
    palate = Ellipsoid(size * point(0, -60, 58), size * box_axes(29, 6, 28), wall=2 * size, squareness=2.6)
    yield bone(anatomy, palate, grain=0.1)
    for row, y in ((0, -71.0), (1, -83.0)):
        for angle in np.linspace(-1.15, 1.15, 10):
            x, z = 27 * np.sin(angle), 56 + 28 * np.cos(angle)
            tooth = Ellipsoid(
                size * point(x, y - row, z), size * box_axes(3.5, 7.5, 3.8), wall=1.8 * size, squareness=2.6
            )
            yield bone(anatomy, tooth, grain=0.0, marrow=2.0)


def _jaw(anatomy: Anatomy, size: float) -> Iterator[Bone]:
    for side in (-1, 1):
        path = np.array(
            [(side * 50, -34, 12), (side * 49, -64, 18), (side * 43, -86, 36), (side * 22, -101, 74), (0, -104, 84)]
        )
        points = spline(path) * size
        radii = np.full(len(points), 9.5 * size)
        yield bone(anatomy, Tube(points, radii, wall=2.6 * size, depth=0.6), breakable=True)


def _neck(anatomy: Anatomy, size: float) -> Iterator[Bone]:
    for k in range(4):
        y, z = -64.0 - 20 * k, -18.0 - k
        body = Ellipsoid(size * point(0, y, z), size * box_axes(12, 8, 9), wall=1.1 * size, squareness=3.0)
        yield bone(anatomy, body)
        spike = np.array([(0, y - 4, z - 16), (0, y - 12, z - 40)]) * size
        yield bone(anatomy, Tube(spike, np.array([3.5, 4.0]) * size, wall=0.9 * size), grain=0.0)


def _air_cells(size: float) -> Iterator[Ellipsoid]:
    for side in (-1, 1):
        yield Ellipsoid(size * point(side * 28, -40, 62), size * box_axes(13, 15, 15))  # maxillary sinus
        yield Ellipsoid(size * point(side * 11, 20, 78), size * box_axes(10, 8, 6))  # frontal sinus
        yield Ellipsoid(size * point(side * 8, -34, 74), size * box_axes(6, 15, 16))  # nose
        yield Ellipsoid(size * point(side * 52, -36, -26), size * box_axes(8, 13, 10))  # mastoid
    yield Ellipsoid(size * point(0, -96, 14), size * box_axes(9, 40, 8))  # throat
