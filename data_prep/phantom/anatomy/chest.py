"""Scene of the chest, with the origin between the scapulae at half the height of the lungs and the left side at +x.

Soft organs are silhouettes per view; bones are bodies in space, so that both views show the same rib cage.
"""

from collections.abc import Iterator

import numpy as np

from data_prep.phantom.anatomy.chest_organs import STEP, frontal_organs, lateral_organs
from data_prep.phantom.anatomy.patient_body import Anatomy
from data_prep.phantom.imaging.projection import about_y
from data_prep.phantom.imaging.scene import Bone, Scene
from data_prep.phantom.imaging.solids import Body, Ellipsoid, Outline, Shaft, Station, Tube, box_axes, spline

_CORTEX_MU, _MARROW_MU = 0.040, 0.009
"""Attenuation of bone per mm near 120 kVp, in excess of soft tissue."""
_HALF_WIDTHS = (58, 84, 102, 114, 121, 126, 129, 131, 130, 126, 116)
_DEPTHS = (48, 66, 76, 83, 88, 91, 93, 94, 93, 90, 84)
_ENDS = (2.35, 2.5, 2.55, 2.55, 2.5, 2.45, 2.4, 2.3, 2.15, 2.0, 1.6)
"""Per rib, from above: half-width (mm), depth (mm), and angle from the spine at which the bone ends (radians)."""
_VERTEBRAE = 17


def chest(anatomy: Anatomy, view: str, obliquity: float) -> Scene:
    """Make the scene of the chest.

    Args:
        anatomy: body parameters.
        view: PA, or LAT with the front at the left of the film.
        obliquity: rotation about the long axis, radians.
    """
    lateral = view == "LAT"
    size = anatomy.size
    pose = about_y((-np.pi / 2 if lateral else 0.0) + 0.4 * obliquity)
    skin, inner = lateral_organs(anatomy) if lateral else frontal_organs(anatomy)
    bones = (*ribs(anatomy), *spine(anatomy), *(_sternum(anatomy) if lateral else _shoulders(anatomy)))
    wide = 148.0 if lateral else 182.0
    return Scene(pose, (-wide * size, -205 * size, wide * size, 215 * size), skin, inner, bones, 0.9, 120)


def ribs(anatomy: Anatomy) -> Iterator[Bone]:
    """Make the ribs of both sides."""
    draw = anatomy.proportions(7)
    droop = draw.normal(1.0, 0.12)
    wall = 1.1 * anatomy.wall() * anatomy.size
    for k, (half, deep, end) in enumerate(zip(_HALF_WIDTHS, _DEPTHS, _ENDS, strict=True)):
        angle = np.linspace(0.12, end, 15)
        steep = 14 + 62 * (k / (len(_ENDS) - 1)) ** 0.7
        fall = droop * steep * (1 - np.cos(angle)) * 0.62 - 9 * np.sin(angle * 1.6) * (angle < 1.96)
        for side in (-1.0, 1.0):
            x = side * half * np.sin(angle) ** 0.8
            y = 148 - 24.5 * k - fall + draw.normal(0, 0.8)
            points = np.stack((x, y, -0.98 * deep * np.cos(angle) - 6), axis=1)
            radii = np.interp(angle, (0.1, 0.5, end - 0.4, end), (4.6, 5.6, 6.2, 4.0)) * (0.85 if k == 0 else 1.0)
            rib = Tube(points * anatomy.size, radii * anatomy.size, wall=wall, depth=0.62)
            yield _bone(anatomy, rib, grain=0.1, breakable=True)


def spine(anatomy: Anatomy) -> Iterator[Bone]:
    """Make vertebral bodies, pedicles and spinous processes."""
    size = anatomy.size
    sway = anatomy.proportions(8).normal(0, 2.5)
    for k in range(_VERTEBRAE):
        y, across, deep = 205.0 - 25.0 * k, 13.5 + 0.5 * k, 11 + 0.4 * k
        x = sway * np.sin(k / 5.0)
        z = float(np.interp(y, (-200, -80, 60, 150, 205), (-42, -58, -64, -38, -10)))
        waist = ((0.0, 1.0), (0.5, 0.9), (1.0, 1.0))
        body = Shaft(
            size * np.array([x, y + 10.6, z]),
            size * np.array([x, y - 10.6, z]),
            tuple(Station(at, across * w * size, deep * w * size, size) for at, w in waist),
            caps=(1.6 * size, 1.6 * size),
        )
        yield _bone(anatomy, body, marrow=1.2)
        for side in (-1, 1):
            pedicle = size * np.array([x + side * across * 0.66, y + 3.0, z - 17])
            yield _bone(anatomy, Ellipsoid(pedicle, size * box_axes(3.4, 5.2, 7.0), wall=1.3 * size), grain=0.0)
        spike = size * np.array([(x, y - 6, z - 22), (x, y - 14, z - 36)])
        yield _bone(anatomy, Tube(spike, size * np.array([3.2, 3.8]), wall=0.9 * size), grain=0.0)


def _shoulders(anatomy: Anatomy) -> Iterator[Bone]:
    """Clavicles, scapulae and humeri, for the frontal view."""
    for side in (-1.0, 1.0):
        yield clavicle(anatomy, side)
        yield from scapula(anatomy, side)
        yield upper_arm(anatomy, side)


def _lift(anatomy: Anatomy) -> float:
    """Height of the shoulders, mm."""
    return float(anatomy.proportions(9).normal(0, 5))


def scapula(anatomy: Anatomy, side: float) -> tuple[Bone, Bone]:
    """Make the blade, a silhouette, and the acromion with its spine.

    Args:
        anatomy: body parameters.
        side: -1 right, 1 left.
    """
    lift = _lift(anatomy)
    border = ((104, 96), (112, 40), (122, -18), (134, 0), (148, 60), (152, 104), (140, 118), (120, 118))
    outline = np.array([(side * x, y) for x, y in border]) * anatomy.size
    blade = _bone(anatomy, Outline(outline, 7 * anatomy.size, 7 * anatomy.size, wall=2.0 * anatomy.size), grain=0.05)
    path = ((118, 112, -40), (146, 132 + lift, -40), (166, 134 + lift, -20))
    acromion = spline(np.array([(side * x, y, z) for x, y, z in path])) * anatomy.size
    radii = np.full(len(acromion), 6.0 * anatomy.size)
    return blade, _bone(anatomy, Tube(acromion, radii, wall=anatomy.size), grain=0.1)


def clavicle(anatomy: Anatomy, side: float) -> Bone:
    """Make the clavicle of the right (-1) or left (1) ``side``."""
    lift = _lift(anatomy)
    path = ((12, 118, 40), (45, 121, 48), (85, 134 + lift, 30), (125, 141 + lift, -4), (152, 136 + lift, -18))
    points = spline(np.array([(side * x, y, z) for x, y, z in path])) * anatomy.size
    radii = np.interp(np.linspace(0, 1, len(points)), (0, 0.15, 0.5, 1), (8.5, 6.6, 5.6, 7.0)) * anatomy.size
    wall = 1.6 * anatomy.wall() * anatomy.size
    return _bone(anatomy, Tube(points, radii, wall=wall), grain=0.15, breakable=True)


def upper_arm(anatomy: Anatomy, side: float) -> Bone:
    """Make the humerus of the right (-1) or left (1) ``side``."""
    size = anatomy.size
    sections = ((0.0, 21.0, 1.0), (0.3, 12.0, 3.4), (1.0, 11.0, 4.0))
    shaft = Shaft(
        size * np.array([side * 174, 100.0, 0]),
        size * np.array([side * 200, -120.0, 0]),
        tuple(Station(at, radius * size, radius * size, wall * size) for at, radius, wall in sections),
    )
    head = Ellipsoid(size * np.array([side * 170, 104, 0]), size * box_axes(23, 24, 23), wall=1.1 * size)
    return _bone(anatomy, shaft, head, breakable=True)


def _sternum(anatomy: Anatomy) -> Iterator[Bone]:
    """Sternum and borders of the scapulae, for the lateral view."""
    path = np.array([(0, 104, 76), (0, 84, 86), (0, 40, 93), (0, -20, 97), (0, -44, 95)], dtype=np.float64)
    points = spline(path) * anatomy.size
    radii = np.full(len(points), 6.2 * anatomy.size)
    yield _bone(anatomy, Tube(points, radii, wall=anatomy.size, depth=2.6), breakable=True)
    for side in (-1.0, 1.0):
        border = spline(np.array([(side * 95, 110, -78), (side * 88, 50, -100), (side * 92, 10, -96)])) * anatomy.size
        blade = Tube(border, np.full(len(border), 3.6 * anatomy.size), wall=1.2 * anatomy.size, depth=1.6)
        yield _bone(anatomy, blade, grain=0.0)


def _bone(anatomy: Anatomy, *parts: Body, grain: float = 0.2, marrow: float = 1.0, breakable: bool = False) -> Bone:
    """A bone with attenuation for a high tube voltage."""
    cortex = _CORTEX_MU * (0.7 + 0.3 * anatomy.density)
    return Bone(parts, cortex, _MARROW_MU * marrow * anatomy.density, grain, STEP, breakable)
