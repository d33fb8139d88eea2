"""Scene of the knee, with the origin in the joint space, the fibula at +x and the patella at +z."""

from collections.abc import Iterator

import numpy as np

from data_prep.phantom.anatomy.patient_body import FAT_MU, FLESH_MU, Anatomy, bone, long_bone, point
from data_prep.phantom.imaging.projection import Vector, about_x, about_y
from data_prep.phantom.imaging.scene import Bone, Scene, Tissue
from data_prep.phantom.imaging.solids import Ellipsoid, Shaft, Station, Tube, box_axes

_FEMUR = ((0.0, 15.5, 15.5, 5.4), (0.35, 15.0, 15.5, 5.2), (0.58, 17.0, 16.5, 3.4), (0.76, 23.5, 19.0, 1.6),
          (0.87, 35.5, 24.5, 0.9), (0.94, 40.0, 25.0, 0.8), (1.0, 38.0, 24.0, 0.8))  # fmt: skip
_TIBIA = ((0.0, 37.5, 24.0, 1.2), (0.05, 38.0, 25.0, 0.9), (0.14, 34.0, 22.5, 1.0), (0.32, 22.0, 19.5, 2.0),
          (0.55, 15.5, 16.5, 4.0), (1.0, 13.0, 15.0, 5.0))  # fmt: skip
_FIBULA = (
    (0.0, 7.0, 6.5, 0.7),
    (0.07, 9.0, 8.5, 0.7),
    (0.16, 7.6, 7.2, 1.0),
    (0.3, 5.4, 5.4, 2.0),
    (1.0, 5.8, 5.8, 2.5),
)
_THIGH_MM, _SHANK_MM = 165.0, 165.0
_FLUID_MU = 1.2 * (FLESH_MU - FAT_MU)
"""Attenuation per mm of fluid in excess of fat; it also replaces the fat between the muscles."""


def knee(anatomy: Anatomy, view: str, obliquity: float) -> Scene:
    """Make the scene of the knee.

    Args:
        anatomy: body parameters.
        view: AP, or LAT with the knee flexed by about 25°.
        obliquity: rotation about the long axis, radians.
    """
    size = anatomy.size
    lateral = view == "LAT"
    bent = about_x(-0.45 if lateral else -0.03)
    turn = about_y(np.pi / 2 + obliquity if lateral else obliquity)
    thigh, shank = _flesh(anatomy, bent)
    joint = Ellipsoid(
        point(0, 2, -2), box_axes(*(anatomy.size * (0.6 + 0.4 * anatomy.flesh) * a for a in (58, 66, 59)))
    )
    swelling, fluid = _joint_fluid(anatomy, bent)
    skin = Tissue((thigh, shank, joint, *swelling), FAT_MU, blend=6.0, step=4)
    muscle = Tissue(tuple(_muscles(anatomy, bent)), FLESH_MU - FAT_MU, blend=3.0, step=4)
    bones = (*_femur(anatomy, bent), *_patella(anatomy, bent), *_lower_leg(anatomy))
    width = 78.0 if not lateral else 92.0
    field = (-width * size, -138 * size, width * size, 138 * size)
    return Scene(turn, field, (skin,), (muscle, *fluid), bones, scatter=0.6, energy=63)


def _joint_fluid(anatomy: Anatomy, bent: Vector) -> tuple[tuple[Ellipsoid, ...], tuple[Tissue, ...]]:
    """Swelling of the surface above the patella, and the fluid between the femur and the tendon."""
    deep = anatomy.graded.joint_fluid if anatomy.graded else 0.0
    if not deep:
        return (), ()
    place = anatomy.size * bent.T
    fat = 0.55 + 0.45 * anatomy.flesh
    swelling = Ellipsoid(point(0, 56, 10) @ place, box_axes(46 * fat, 64, 47 * fat + 0.45 * deep) @ place)
    fluid = Ellipsoid(point(0, 60, 25 + deep / 2) @ place, box_axes(30, 32, deep / 2) @ place, squareness=2.6)
    return (swelling,), (Tissue((fluid,), _FLUID_MU, step=2),)


def _femur(anatomy: Anatomy, bent: Vector) -> Iterator[Bone]:
    draw = anatomy.proportions(3)
    size = anatomy.size
    wide = draw.normal(1.0, 0.04)
    place = size * bent.T
    shaft = long_bone(
        anatomy, point(3, _THIGH_MM, 7) @ place, point(0, 15, -1) @ place, _FEMUR,
        caps=(1.0, 12.0), bend=2.0, plates=(0.82,), side=(1.0, 0.0, 0.0),
    )  # fmt: skip
    condyles = [
        Ellipsoid(
            point(x * wide, 21.5, -8) @ place,
            box_axes(17.0, 19.0, z, tilt=tilt) @ place,
            wall=1.1 * size,
            squareness=2.7,
        )
        for x, z, tilt in ((-20.5, 29.0, -0.12), (20.5, 27.0, 0.12))
    ]
    yield bone(anatomy, shaft, *condyles, breakable=True, marrow=0.9)


def _patella(anatomy: Anatomy, bent: Vector) -> Iterator[Bone]:
    size = anatomy.size
    place = size * bent.T
    tilted = box_axes(20.5, 21.5, 9.5) @ about_x(0.12).T
    yield bone(
        anatomy, Ellipsoid(point(-1, 24, 35) @ place, tilted @ place, wall=0.7 * size, squareness=2.6), marrow=0.7
    )


def _lower_leg(anatomy: Anatomy) -> Iterator[Bone]:
    size = anatomy.size
    slope = anatomy.proportions(4).normal(0.0, 0.02)
    tibia = long_bone(
        anatomy, size * point(0, -4.5, -3), size * point(-4, -_SHANK_MM, 0), _TIBIA,
        caps=(5.0, 1.0), plates=(0.085,), slant=(slope, 0.0),
    )  # fmt: skip
    spines = [
        Ellipsoid(size * point(x, -4.0, -4), size * box_axes(5.0, high, 7), wall=0.7 * size)
        for x, high in ((-5.5, 6.5), (6.0, 5.5))
    ]
    tubercle = Ellipsoid(size * point(1, -40, 15), size * box_axes(9, 17, 9) @ about_x(0.2).T, wall=1.4 * size)
    yield bone(anatomy, tibia, *spines, tubercle, breakable=True, marrow=0.9)
    fibula = long_bone(
        anatomy, size * point(34, -17, -19), size * point(30, -_SHANK_MM, -17), _FIBULA,
        caps=(6.0, 1.0), bend=-2.0, plates=(0.11,),
    )  # fmt: skip
    yield bone(anatomy, fibula, breakable=True)


def _flesh(anatomy: Anatomy, bent: Vector) -> tuple[Shaft, Shaft]:
    """Outer surface of thigh and lower leg."""
    fat = anatomy.size * (0.55 + 0.45 * anatomy.flesh)
    place = anatomy.size * bent.T
    thigh = (Station(0, 77 * fat, 80 * fat), Station(0.45, 67 * fat, 68 * fat), Station(0.8, 58 * fat, 56 * fat),
             Station(1, 55 * fat, 54 * fat))  # fmt: skip
    shank = (Station(0, 55 * fat, 54 * fat), Station(0.25, 53 * fat, 53 * fat), Station(0.5, 56 * fat, 58 * fat),
             Station(1, 54 * fat, 57 * fat))  # fmt: skip
    return (
        Shaft(point(0, _THIGH_MM + 40, 0) @ place, point(0, -25, 0) @ place, thigh, caps=(1.0, 30 * anatomy.size)),
        Shaft(
            anatomy.size * point(0, 28, -2), anatomy.size * point(0, -_SHANK_MM - 40, -16), shank,
            caps=(30 * anatomy.size, 1.0),
        ),
    )  # fmt: skip


def _muscles(anatomy: Anatomy, bent: Vector) -> Iterator[Shaft | Tube]:
    size = anatomy.size
    place = size * bent.T
    for x, z, radius in ((-26, 16, 33), (27, 18, 34), (0, 30, 32), (-20, -26, 34), (22, -28, 32)):
        path = np.array([(x * 1.1, _THIGH_MM + 40, z), (x, 90, z), (x * 0.95, 45, z * 0.9), (x * 1.05, 12, z * 0.8)])
        yield Tube(path @ place, np.array([radius * 1.1, radius, radius * 0.75, radius * 0.35]) * size)
    for x, z, radius in ((-24, -30, 31), (24, -32, 29), (20, 4, 24)):
        path = np.array([(x * 0.8, 2, z * 0.9), (x, -50, z), (x, -110, z * 1.05), (x, -_SHANK_MM - 40, z)])
        yield Tube(path * size, np.array([radius * 0.5, radius * 0.9, radius, radius * 0.9]) * size)
