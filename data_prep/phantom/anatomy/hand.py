"""Scenes of hand and wrist with one skeleton; the origin is in the wrist joint, the thumb is at -x."""

from collections.abc import Iterator

import numpy as np

from data_prep.phantom.anatomy.patient_body import FAT_MU, FLESH_MU, Anatomy, bone, long_bone, point
from data_prep.phantom.imaging.projection import Vector, about_y
from data_prep.phantom.imaging.scene import Bone, Scene, Tissue
from data_prep.phantom.imaging.solids import Ellipsoid, Shaft, Station, Tube, box_axes

_RAYS = (
    # base of the metacarpal x, y, z; head x, y, z; lengths of the phalanges; width relative to the middle finger
    ((-21.0, 25.0, -7.0), (-42.0, 62.0, -15.0), (31.0, 23.0), 1.08),
    ((-12.0, 33.0, 1.0), (-22.0, 98.0, 0.0), (39.0, 23.0, 17.0), 1.02),
    ((-1.0, 34.0, 2.0), (-3.0, 98.0, 2.0), (43.5, 28.0, 18.0), 1.0),
    ((8.5, 32.0, 1.0), (14.0, 88.5, 0.0), (40.0, 26.0, 18.0), 0.92),
    ((17.0, 29.0, -2.0), (30.0, 79.0, -5.0), (32.0, 18.0, 15.5), 0.86),
)
_METACARPAL = ((0.0, 6.6, 6.2, 0.7), (0.12, 5.4, 5.2, 0.9), (0.3, 4.0, 4.2, 1.7), (0.55, 3.7, 3.9, 1.8),
               (0.78, 4.6, 4.6, 1.0), (0.92, 6.6, 6.2, 0.6), (1.0, 6.2, 6.0, 0.6))  # fmt: skip
_PROXIMAL = ((0.0, 6.9, 5.4, 0.6), (0.12, 6.0, 4.6, 0.8), (0.35, 4.3, 3.4, 1.4), (0.65, 3.8, 3.1, 1.5),
             (0.85, 4.7, 3.6, 0.8), (0.94, 5.4, 4.0, 0.5), (1.0, 5.2, 3.8, 0.5))  # fmt: skip
_MIDDLE = ((0.0, 6.1, 4.6, 0.6), (0.14, 5.2, 3.9, 0.8), (0.45, 3.4, 2.7, 1.3), (0.75, 3.4, 2.7, 1.1),
           (0.92, 4.5, 3.2, 0.5), (1.0, 4.3, 3.0, 0.5))  # fmt: skip
_DISTAL = ((0.0, 5.0, 3.6, 0.5), (0.18, 3.9, 2.9, 0.7), (0.5, 2.1, 1.9, 0.9), (0.72, 2.2, 1.7, 0.7),
           (0.88, 3.5, 1.9, 0.4), (1.0, 3.3, 1.6, 0.4))  # fmt: skip
_CARPALS = (
    # centre x, y, z; half axes; tilt; squareness
    ((-11.5, 10.0, -2.0), (12.5, 6.6, 6.5), 0.95, 2.6),  # scaphoid
    ((1.0, 8.0, 1.0), (7.6, 6.8, 8.0), 0.0, 2.7),  # lunate
    ((12.5, 11.5, 2.0), (7.8, 5.8, 6.0), -0.75, 2.6),  # triquetrum
    ((13.5, 8.5, -9.0), (4.6, 5.2, 4.5), 0.0, 2.2),  # pisiform
    ((-18.5, 20.5, -6.0), (6.8, 7.2, 6.5), 0.5, 2.9),  # trapezium
    ((-9.8, 25.5, 1.0), (5.0, 6.4, 7.0), 0.2, 2.8),  # trapezoid
    ((0.0, 22.0, 2.0), (6.6, 11.2, 7.5), -0.06, 2.8),  # capitate
    ((9.8, 21.8, 0.0), (6.8, 9.0, 6.5), -0.35, 2.7),  # hamate
)
_RADIUS = ((0.0, 7.0, 6.0, 2.6), (0.4, 6.6, 5.8, 2.6), (0.66, 7.2, 6.3, 2.1), (0.8, 9.6, 7.8, 1.2),
           (0.91, 14.0, 10.0, 0.6), (1.0, 15.4, 10.6, 0.7))  # fmt: skip
_ULNA = ((0.0, 7.0, 6.8, 2.5), (0.4, 6.0, 6.0, 2.3), (0.75, 4.8, 5.0, 1.6), (0.88, 5.2, 5.2, 0.9),
         (0.95, 7.8, 7.2, 0.6), (1.0, 7.8, 7.0, 0.7))  # fmt: skip
_FOREARM_MM = 150.0


def hand(anatomy: Anatomy, view: str, obliquity: float) -> Scene:
    """Make the scene of the hand.

    Args:
        anatomy: body parameters.
        view: PA, or OBLIQUE (rotated by about 45°).
        obliquity: additional rotation about the long axis, radians.
    """
    turn = obliquity if view == "PA" else 0.75 + obliquity
    size = anatomy.size
    return _scene(anatomy, turn, (-78 * size, -48 * size, 72 * size, 202 * size))


def wrist(anatomy: Anatomy, view: str, obliquity: float) -> Scene:
    """Make the scene of the wrist with half of the forearm.

    Args:
        anatomy: body parameters.
        view: AP or LAT.
        obliquity: rotation about the long axis, radians.
    """
    turn = np.pi / 2 + obliquity if view == "LAT" else obliquity
    size = anatomy.size
    return _scene(anatomy, turn, (-62 * size, -105 * size, 62 * size, 88 * size))


def _scene(anatomy: Anatomy, turn: float, field: tuple[float, float, float, float]) -> Scene:
    rays = _rays(anatomy)
    skin = Tissue((*_digits(anatomy, rays), *_palm(anatomy, rays), _forearm_flesh(anatomy, 1.0)), FAT_MU, blend=3.5)
    muscle = Tissue(
        (
            *(_thinned(ray[:2], anatomy, 7.5) for ray in rays),
            Ellipsoid(anatomy.size * point(-27, 42, -15), anatomy.size * box_axes(9, 25, 10, tilt=0.5)),
            _forearm_flesh(anatomy, 0.86),
        ),
        FLESH_MU - FAT_MU,
        blend=3.5,
    )
    bones = (*_forearm(anatomy), *_carpals(anatomy), *_fingers(anatomy, rays))
    return Scene(about_y(turn), field, (skin,), (muscle,), bones, scatter=0.25, energy=54)


def _rays(anatomy: Anatomy) -> list[Vector]:
    """Joint positions of each ray, mm: base and head of the metacarpal, joints, tip of the distal phalanx."""
    draw = anatomy.proportions(1)
    spread = draw.normal(1.0, 0.35)
    lengths = draw.normal(1.0, 0.025, 5)
    rays = []
    for k, (base, head, phalanges, _) in enumerate(_RAYS):
        start = point(*base)
        tip = start + (point(*head) - start) * lengths[k]
        points = [start, tip]
        bearing = np.arctan2(tip[0] - start[0], tip[1] - start[1]) + spread * 0.07 * (k - 2.1 if k else -0.5)
        dip = -0.35 if k == 0 else draw.normal(0.0, 0.06)
        for length in phalanges:
            bearing += draw.normal(0.0, 0.02) + (0.12 if k == 0 else -0.004 * (k - 2))
            dip -= 0.0 if k == 0 else abs(draw.normal(0.0, 0.05))
            step = np.array([np.sin(bearing) * np.cos(dip), np.cos(bearing) * np.cos(dip), np.sin(dip)])
            points.append(points[-1] + step * length * lengths[k])
        rays.append(np.array(points) * anatomy.size)
    return rays


def _fingers(anatomy: Anatomy, rays: list[Vector]) -> Iterator[Bone]:
    side = {0: (0.75, 0.2, 0.65)}  # the thumb's nail faces sideways
    for k, ray in enumerate(rays):
        tables = (_METACARPAL, _PROXIMAL, _DISTAL) if k == 0 else (_METACARPAL, _PROXIMAL, _MIDDLE, _DISTAL)
        width = _RAYS[k][3]
        for j, table in enumerate(tables):
            step = ray[j + 1] - ray[j]
            length = float(np.linalg.norm(step))
            gap = min(1.1 * anatomy.size, 0.06 * length) / length
            scaled = tuple((at, a * width, b * width, wall) for at, a, b, wall in table)
            plate = 0.9 if j == 0 and k > 0 else 0.1
            caps = (1.8, 6.5 if j == 0 else 4.8 if j < len(tables) - 1 else 2.6)
            yield bone(
                anatomy,
                long_bone(
                    anatomy, ray[j] + gap * step, ray[j + 1] - gap * step, scaled,
                    caps=caps, plates=(plate,), side=side.get(k, (1.0, 0.0, 0.0)),
                ),
                breakable=True,
            )  # fmt: skip


def _carpals(anatomy: Anatomy) -> Iterator[Bone]:
    draw = anatomy.proportions(2)
    grown = min(1.0, 0.55 + 0.45 * (anatomy.age_years - 4) / 11)
    for centre, axes, tilt, squareness in _CARPALS:
        x, y, z = (a * anatomy.size * grown for a in axes)
        shape = box_axes(x, y, z, tilt=tilt + draw.normal(0, 0.06))
        place = anatomy.size * (point(*centre) + draw.normal(0, 0.35, 3))
        yield bone(anatomy, Ellipsoid(place, shape, wall=0.75 * anatomy.size, squareness=squareness), marrow=1.25)


def _forearm(anatomy: Anatomy) -> Iterator[Bone]:
    size = anatomy.size
    radius = long_bone(
        anatomy, size * point(-7, -_FOREARM_MM, 0), size * point(-8.5, 1.5, 0), _RADIUS,
        caps=(1.0, 2.2), bend=2.0, slant=(0.0, -0.34), plates=(0.94,),
    )  # fmt: skip
    styloid = Ellipsoid(size * point(-20.0, 2.5, 0), size * box_axes(4.0, 9.5, 5.5, tilt=-0.15), wall=0.8 * size)
    yield bone(anatomy, radius, styloid, marrow=1.1, breakable=True)
    ulna = long_bone(
        anatomy, size * point(19, -_FOREARM_MM, -3), size * point(15.5, -3.0, 4), _ULNA,
        caps=(1.0, 2.6), bend=-1.5, plates=(0.955,),
    )  # fmt: skip
    process = Ellipsoid(size * point(20.5, -1.5, 5), size * box_axes(2.0, 5.0, 2.2, tilt=-0.2), wall=0.5 * size)
    yield bone(anatomy, ulna, process, breakable=True)


def _digits(anatomy: Anatomy, rays: list[Vector]) -> Iterator[Tube]:
    flesh = anatomy.size * (0.55 + 0.45 * anatomy.flesh)
    for k, ray in enumerate(rays):
        width = _RAYS[k][3]
        radii = np.array([12.5, 12.0, 9.2, 7.4] if k == 0 else [12.0, 10.6, 9.3, 8.0, 6.4]) * width * flesh
        end = ray[-1] - ray[-2]
        points = np.concatenate((ray[:-1], [ray[-1] + end * 0.02]))
        yield Tube(_palmar(points, 1.5 * flesh), radii, depth=0.95)


def _palm(anatomy: Anatomy, rays: list[Vector]) -> Iterator[Ellipsoid | Shaft]:
    flesh = anatomy.size * (0.6 + 0.4 * anatomy.flesh)
    size = anatomy.size
    for low, high, across in ((1, 2, 12.5), (2, 3, 12.0), (3, 4, 11.5)):
        start = (rays[low][0] + rays[high][0]) / 2
        web = (rays[low][1] + rays[high][1]) / 2
        end = web + (web - start) * 0.16
        stations = (Station(0, across * flesh, 15 * flesh), Station(0.6, across * 1.05 * flesh, 14 * flesh),
                    Station(1, across * 0.9 * flesh, 8 * flesh))  # fmt: skip
        yield Shaft(start - 0.3 * (end - start), end, stations, caps=(10 * size, 9 * size))
    yield Ellipsoid(size * point(-27, 41, -13), box_axes(15 * flesh, 33 * flesh, 15 * flesh, tilt=0.48))
    yield Ellipsoid(size * point(19, 44, -7), box_axes(13.5 * flesh, 38 * flesh, 14 * flesh, tilt=-0.12))
    yield Ellipsoid(size * point(-31, 70, -6), box_axes(9 * flesh, 14 * flesh, 5 * flesh, tilt=-0.7))


def _forearm_flesh(anatomy: Anatomy, inside: float) -> Shaft:
    flesh = anatomy.size * (0.45 + 0.55 * anatomy.flesh) * inside
    size = anatomy.size
    stations = (
        Station(0, 41 * flesh, 36 * flesh), Station(0.4, 35 * flesh, 29 * flesh), Station(0.66, 30 * flesh, 22 * flesh),
        Station(0.8, 29.5 * flesh, 20 * flesh), Station(1, 33 * flesh, 16 * flesh),
    )  # fmt: skip
    return Shaft(size * point(3, -_FOREARM_MM - 20, -2), size * point(-1, 62, -3), stations, caps=(1.0, 40 * size))


def _thinned(points: Vector, anatomy: Anatomy, radius: float) -> Tube:
    return Tube(_palmar(points, 4 * anatomy.size), np.full(len(points), radius * anatomy.size))


def _palmar(points: Vector, depth: float) -> Vector:
    return np.asarray(points - np.array([0.0, 0.0, depth]))
