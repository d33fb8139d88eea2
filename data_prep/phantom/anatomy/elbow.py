"""Scene of the elbow, with the origin in the joint, the radial side at +x and the front at +z."""

from collections.abc import Iterator

import numpy as np

from data_prep.phantom.anatomy.patient_body import FAT_MU, FLESH_MU, Anatomy, bone, long_bone, point
from data_prep.phantom.imaging.projection import Vector, about_x, about_y
from data_prep.phantom.imaging.scene import Bone, Scene, Tissue
from data_prep.phantom.imaging.solids import Ellipsoid, Shaft, Station, box_axes

_HUMERUS = ((0.0, 10.5, 10.5, 3.6), (0.55, 10.0, 9.5, 3.4), (0.78, 15.0, 8.5, 2.2), (0.9, 25.0, 8.0, 1.2),
            (1.0, 24.0, 8.5, 0.9))  # fmt: skip
_ULNA = ((0.0, 10.0, 12.0, 1.0), (0.1, 11.0, 13.5, 1.2), (0.28, 8.5, 10.0, 2.2), (1.0, 6.5, 7.0, 2.6))
_RADIUS = ((0.0, 10.8, 10.8, 0.8), (0.1, 10.4, 10.4, 0.8), (0.16, 7.0, 7.0, 1.4), (0.32, 8.0, 7.5, 2.0),
           (1.0, 6.8, 6.5, 2.6))  # fmt: skip
_ARM_MM, _FOREARM_MM = 120.0, 118.0


def elbow(anatomy: Anatomy, view: str, obliquity: float) -> Scene:
    """Make the scene of the elbow.

    Args:
        anatomy: body parameters.
        view: AP, extended; or LAT, flexed by 90°.
        obliquity: rotation about the long axis, radians.
    """
    size = anatomy.size
    lateral = view == "LAT"
    bent = about_x(-np.pi / 2 if lateral else -0.05)
    place = size * bent.T
    fat = 0.55 + 0.45 * anatomy.flesh
    skin = Tissue(tuple(_flesh(size, place, fat)), FAT_MU, blend=6.0)
    muscle = Tissue(tuple(_flesh(size, place, 0.84 * fat)), FLESH_MU - FAT_MU, blend=6.0)
    bones = (*_humerus(anatomy), *_forearm(anatomy, place))
    field = (-118, -52, 60, 116) if lateral else (-56, -106, 56, 106)
    turn = about_y(np.pi / 2 + obliquity if lateral else obliquity)
    if lateral:
        turn = turn @ about_y(np.pi)
    left, bottom, right, top = (edge * size for edge in field)
    return Scene(turn, (left, bottom, right, top), (skin,), (muscle,), bones, scatter=0.35, energy=57)


def _humerus(anatomy: Anatomy) -> Iterator[Bone]:
    size = anatomy.size
    shaft = long_bone(
        anatomy, size * point(-2, _ARM_MM, -3), size * point(0, 8, 2), _HUMERUS, caps=(1.0, 5.0), plates=(0.9,),
    )  # fmt: skip
    trochlea = Ellipsoid(size * point(-9, 5, 4), size * box_axes(13, 9, 9), wall=0.9 * size)
    capitulum = Ellipsoid(size * point(14, 6, 6), size * box_axes(9.5, 9, 9.5), wall=0.9 * size)
    inner = Ellipsoid(size * point(-25, 20, -2), size * box_axes(7, 9, 6), wall=0.9 * size)
    yield bone(anatomy, shaft, trochlea, capitulum, inner, breakable=True)


def _forearm(anatomy: Anatomy, place: Vector) -> Iterator[Bone]:
    ulna = long_bone(
        anatomy, point(-9, 3, -9) @ place, point(-14, -_FOREARM_MM, -2) @ place, _ULNA, caps=(5.0, 1.0), bend=2.0
    )
    olecranon = Ellipsoid(point(-9, 10, -13) @ place, box_axes(10, 15, 7.5) @ place, wall=1.4 * anatomy.size)
    coronoid = Ellipsoid(point(-9, -9, 6) @ place, box_axes(8, 5, 8) @ place, wall=0.9 * anatomy.size)
    yield bone(anatomy, ulna, olecranon, coronoid, breakable=True)
    radius = long_bone(
        anatomy, point(14, -6, 4) @ place, point(11, -_FOREARM_MM, 2) @ place, _RADIUS, caps=(1.5, 1.0), bend=-3.0,
        plates=(0.07,),
    )  # fmt: skip
    yield bone(anatomy, radius, breakable=True)


def _flesh(size: float, place: Vector, fat: float) -> tuple[Shaft, Shaft, Ellipsoid]:
    """Upper arm, forearm, and the joint."""
    arm = (Station(0, 46 * fat * size, 48 * fat * size), Station(0.7, 41 * fat * size, 38 * fat * size),
           Station(1, 40 * fat * size, 32 * fat * size))  # fmt: skip
    forearm = (Station(0, 41 * fat * size, 33 * fat * size), Station(0.3, 46 * fat * size, 38 * fat * size),
               Station(1, 36 * fat * size, 31 * fat * size))  # fmt: skip
    return (
        Shaft(size * point(0, _ARM_MM + 40, 0), size * point(0, -18, 0), arm, caps=(1.0, 20 * size)),
        Shaft(point(0, 18, 0) @ place, point(0, -_FOREARM_MM - 40, 0) @ place, forearm, caps=(20 * size, 1.0)),
        Ellipsoid(size * point(0, 2, -3), size * fat * box_axes(41, 34, 31)),
    )
