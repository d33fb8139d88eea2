"""The chest. Origin between the shoulder blades at the middle of the spine's height; the patient's left is at +x, the front at +z.

Soft organs are silhouettes of each view, bones are bent tubes in space, so that both views show the same rib cage.
"""

from collections.abc import Iterator

import numpy as np

from data_prep.phantom.anatomy import Anatomy
from data_prep.phantom.bodies import Ellipsoid, Outline, Shaft, Station, Tube, Vector, about_y, box_axes, spline
from data_prep.phantom.scene import Bone, Scene, Tissue

_WATER_MU = 0.0165
"""Soft tissue per mm near 120 kVp, where bone stands out less."""
_RIB_CORTEX, _RIB_MARROW = 0.040, 0.009
_RIBS = 11
_STEP = 2


def chest(anatomy: Anatomy, view: str, obliquity: float) -> Scene:
    """The chest, ``view`` PA or LAT (left side at the detector: the front faces left)."""
    lateral = view == "LAT"
    size = anatomy.size
    pose = about_y(-np.pi / 2 + obliquity * 0.4) if lateral else about_y(obliquity * 0.4)
    skin, inner = _lateral(anatomy) if lateral else _frontal(anatomy)
    bones = (*_ribs(anatomy), *_spine(anatomy), *(_sternum(anatomy) if lateral else _shoulders(anatomy)))
    wide = 148.0 if lateral else 182.0
    return Scene(pose, (-wide * size, -205 * size, wide * size, 215 * size), skin, inner, bones, 0.9, 120)


def _frontal(anatomy: Anatomy) -> tuple[tuple[Tissue, ...], tuple[Tissue, ...]]:
    draw = anatomy.proportions(5)
    size = anatomy.size
    fat = 0.6 + 0.4 * anatomy.flesh
    dome = draw.normal(0, 6, 2)
    breath = draw.normal(0, 7)
    heart_size = draw.normal(1.0, 0.09) * (1 + 0.0025 * max(anatomy.age_years - 40, 0))
    waist = 158 * fat
    trunk = [(-48, 205), (-62, 168), (-110, 152), (-178, 140), (-205, 105), (-200, 20), (-168 * fat, 10), (-160 * fat, -60),
             (-waist, -150), (-waist, -260), (waist, -260), (waist, -150), (160 * fat, -60), (168 * fat, 10), (200, 20),
             (205, 105), (178, 140), (110, 152), (62, 168), (48, 205), (46, 300), (-46, 300)]  # fmt: skip
    arms = [Tube(size * np.array([(s * 172, 120, 0), (s * 196, 40, 0), (s * 206, -120, 0)], dtype=np.float64),
                 size * fat * np.array([38.0, 36.0, 34.0]), depth=1.1) for s in (-1, 1)]  # fmt: skip
    skin = (Tissue((Outline(size * np.array(trunk), 95 * size, 205 * size * fat), *arms), _WATER_MU, 8.0, 2),)
    right = [(-22, 142), (-45, 150), (-72, 128), (-98, 78), (-116, 10), (-126, -70), (-130, -112 + breath), (-112, -98 + breath + dome[0]),
             (-78, -82 + breath + dome[0]), (-40, -84 + breath + dome[0]), (-14, -92 + breath), (-10, -20), (-14, 60)]  # fmt: skip
    left = [(22, 142), (45, 150), (72, 128), (98, 78), (115, 10), (125, -70), (129, -120 + breath), (110, -108 + breath + dome[1]),
            (80, -94 + breath + dome[1]), (45, -94 + breath + dome[1]), (12, -100 + breath), (8, -20), (12, 60)]  # fmt: skip
    h = heart_size
    heart = (
        Outline(size * np.array([(-12, 40), (-30, 12), (-38 * h, -30), (-34 * h, -70), (-10, -100), (40, -104), (76 * h, -92),
                                 (84 * h, -72), (70 * h, -36), (44, 2), (30, 36)], dtype=np.float64), 34 * size, 112 * size),
        Outline(size * np.array([(-22, 130), (-26, 80), (-28, 30), (0, 10), (34, 30), (37, 62), (40, 80), (34, 96), (22, 104),
                                 (20, 130)], dtype=np.float64), 20 * size, 84 * size),
    )  # fmt: skip
    lungs = Tissue(
        tuple(Outline(size * np.array(p), 46 * size, 158 * size) for p in (right, left)), -_WATER_MU * 0.74, step=_STEP, without=heart
    )
    airway = Tissue(tuple(_airway(size)), -_WATER_MU * 0.95, step=_STEP)
    bubble = Ellipsoid(
        size * np.array([66 + draw.normal(0, 8), -128 + breath, 20]), size * box_axes(24 + draw.normal(0, 5), 11, 30)
    )
    gas = Tissue((bubble,), -_WATER_MU * 0.8, step=_STEP)
    layers = [lungs, airway, gas, *_vessels(anatomy, False)]
    if anatomy.sex == "F" and anatomy.age_years > 14:
        layers.append(_breasts(anatomy))
    return skin, tuple(layers)


def _lateral(anatomy: Anatomy) -> tuple[tuple[Tissue, ...], tuple[Tissue, ...]]:
    draw = anatomy.proportions(5)
    size = anatomy.size
    fat = 0.6 + 0.4 * anatomy.flesh
    dome = draw.normal(0, 6, 2)
    breath = draw.normal(0, 7)
    # the front is at -x on this film
    trunk = [(-38, 210), (-50, 160), (-92, 128), (-108 * fat, 60), (-116 * fat, -20), (-118 * fat, -120), (-118 * fat, -260),
             (112 * fat, -260), (106 * fat, -150), (114 * fat, -40), (116 * fat, 60), (98, 130), (62, 175), (50, 300),
             (-30, 300)]  # fmt: skip
    arms = Tube(size * np.array([(8, 105, 0), (-30, 175, 0), (-70, 260, 0)], dtype=np.float64) @ about_y(-np.pi / 2),
                size * fat * np.array([50.0, 44.0, 40.0]), depth=1.5)  # fmt: skip
    skin = (Tissue((Outline(size * np.array(trunk), 75 * size, 290 * size * fat), arms), _WATER_MU, 6.0, 2),)
    lung = [(-8, 146), (-46, 118), (-80, 78), (-90, 20), (-90, -40), (-84, -80 + breath), (-62, -72 + breath + dome[0]),
            (-25, -66 + breath + dome[0]), (20, -82 + breath + dome[0]), (58, -112 + breath), (80, -146 + breath), (86, -110),
            (84, -20), (80, 60), (58, 122), (24, 150)]  # fmt: skip
    second = [(p[0] * 0.98, p[1] + (dome[1] - dome[0] - 7 if p[1] < -60 else 0)) for p in lung]
    heart = (
        Outline(size * np.array([(-66, -80), (-82, -50), (-72, -10), (-42, 20), (-8, 26), (20, 6), (34, -38), (26, -78), (-10, -88)],
                                dtype=np.float64), 40 * size, 44 * size),
        Outline(size * np.array([(-42, 10), (-44, 50), (-28, 78), (4, 88), (26, 72), (30, 40), (10, 20)], dtype=np.float64),
                26 * size, 22 * size),
    )  # fmt: skip
    lungs, other = (
        Tissue((Outline(size * np.array(p), 48 * size, 110 * size),), -_WATER_MU * 0.74, step=_STEP, without=heart)
        for p in (lung, second)
    )
    airway = Tissue(tuple(_airway(size)), -_WATER_MU * 0.95, step=_STEP)
    return skin, (lungs, other, airway, *_vessels(anatomy, True))


def _airway(size: float) -> Iterator[Tube]:
    """Trachea and main bronchi, in space."""
    yield Tube(size * np.array([(0, 230, 8), (0, 120, 2), (2, 62, -12)], dtype=np.float64), size * np.array([9.0, 9.5, 9.5]))
    yield Tube(size * np.array([(2, 62, -12), (-18, 42, -14), (-38, 22, -14)], dtype=np.float64), size * np.array([8.5, 7.5, 5.5]))
    yield Tube(size * np.array([(2, 62, -12), (24, 46, -14), (44, 30, -16)], dtype=np.float64), size * np.array([8.0, 7.0, 5.0]))


def _vessels(anatomy: Anatomy, lateral: bool) -> tuple[Tissue, ...]:
    """Two trees that branch from the hila into the lungs; the union is coarse because thousands overlap."""
    draw = anatomy.proportions(6)
    size = anatomy.size
    bodies: list[Tube] = []
    for side, low in ((-1.0, 16.0), (1.0, 24.0)):
        for bearing in (-2.75, -2.35, -1.95, -1.5, -1.0, -0.45, 0.1, 0.55):
            start = np.array([side * 30.0, low + 8 * np.sin(bearing), -8.0])
            slope = np.array([side * np.cos(bearing * 0.8 + 0.55), -np.sin(-bearing * 0.95 - 0.75), draw.normal(0, 0.5)])
            _branch(bodies, draw, start, slope / np.linalg.norm(slope), 4.6, 4)
    chosen = bodies if not lateral else bodies[::2]
    return (Tissue(tuple(Tube(b.points * size, b.radii * size) for b in chosen), _WATER_MU * 0.9, blend=3.0, step=_STEP),)


def _branch(bodies: list[Tube], draw: np.random.Generator, start: Vector, way: Vector, radius: float, depth: int) -> None:
    length = draw.uniform(16, 30) * (0.72 + 0.07 * depth)
    middle = start + way * length / 2 + draw.normal(0, 1.5, 3)
    end = start + way * length + draw.normal(0, 2.0, 3)
    if abs(end[0]) > 112 or abs(end[0]) < 14 or not -92 < end[1] < 132 or abs(end[2]) > 85:
        return
    bodies.append(Tube(np.array([start, middle, end]), np.array([radius, radius * 0.88, radius * 0.76])))
    if depth == 0:
        return
    for turn in (draw.uniform(0.15, 0.55), -draw.uniform(0.15, 0.55)):
        c, s = np.cos(turn), np.sin(turn)
        side = np.array([way[0] * c - way[1] * s, way[0] * s + way[1] * c, way[2] + draw.normal(0, 0.25)])
        _branch(bodies, draw, end, side / np.linalg.norm(side), radius * 0.72, depth - 1)


def _ribs(anatomy: Anatomy) -> Iterator[Bone]:
    draw = anatomy.proportions(7)
    size = anatomy.size
    droop = draw.normal(1.0, 0.12)
    for k in range(_RIBS):
        level = 148 - 24.5 * k
        rank = k / (_RIBS - 1)
        half = (58, 84, 102, 114, 121, 126, 129, 131, 130, 126, 116)[k]
        deep = (48, 66, 76, 83, 88, 91, 93, 94, 93, 90, 84)[k]
        stop = (2.35, 2.5, 2.55, 2.55, 2.5, 2.45, 2.4, 2.3, 2.15, 2.0, 1.6)[k]
        angle = np.linspace(0.12, stop, 15)
        fall = droop * (14 + 62 * rank**0.7) * (1 - np.cos(angle)) * 0.62 - 9 * np.sin(angle * 1.6) * (angle < 1.96)
        for side in (-1.0, 1.0):
            x = side * half * np.sin(np.minimum(angle, np.pi)) ** 0.8
            z = -deep * np.cos(angle) * 0.98 - 6
            points = np.stack((x, level - fall + draw.normal(0, 0.8), z), axis=1) * size
            radii = size * np.interp(angle, (0.1, 0.5, stop - 0.4, stop), (4.6, 5.6, 6.2, 4.0)) * (0.85 if k == 0 else 1.0)
            wall = 1.1 * anatomy.wall() * size
            yield _bone(anatomy, Tube(points, radii, wall=wall, depth=0.62), grain=0.1, breakable=True)


def _spine(anatomy: Anatomy) -> Iterator[Bone]:
    size = anatomy.size
    draw = anatomy.proportions(8)
    sway = draw.normal(0, 2.5)
    for k in range(17):
        y = 205.0 - 25.0 * k
        across = 13.5 + 0.5 * k
        x = sway * np.sin(k / 5.0)
        z = np.interp(y, (-200, -80, 60, 150, 205), (-42, -58, -64, -38, -10))
        deep = 11 + 0.4 * k
        stations = tuple(Station(at, across * w * size, deep * w * size, 1.0 * size) for at, w in ((0, 1.0), (0.5, 0.9), (1, 1.0)))
        body = Shaft(size * np.array([x, y + 10.6, z]), size * np.array([x, y - 10.6, z]), stations, caps=(1.6 * size, 1.6 * size))
        yield _bone(anatomy, body, marrow=1.2)
        for side in (-1, 1):
            centre = size * np.array([x + side * across * 0.66, y + 3.0, z - 17])
            yield _bone(anatomy, Ellipsoid(centre, size * box_axes(3.4, 5.2, 7.0), wall=1.3 * size), grain=0.0)
        spike = size * np.array([(x, y - 6, z - 22), (x, y - 14, z - 36)])
        yield _bone(anatomy, Tube(spike, size * np.array([3.2, 3.8]), wall=0.9 * size), grain=0.0)


def _shoulders(anatomy: Anatomy) -> Iterator[Bone]:
    size = anatomy.size
    lift = anatomy.proportions(9).normal(0, 5)
    for side in (-1.0, 1.0):
        clavicle = np.array([(12, 118, 40), (45, 121, 48), (85, 134 + lift, 30), (125, 141 + lift, -4), (152, 136 + lift, -18)])
        clavicle[:, 0] *= side
        radii = np.interp(np.linspace(0, 1, 33), (0, 0.15, 0.5, 1), (8.5, 6.6, 5.6, 7.0)) * size
        yield _bone(anatomy, Tube(spline(clavicle, steps=8) * size, radii, wall=1.6 * anatomy.wall() * size), grain=0.15, breakable=True)
        blade = np.array([(side * x, y) for x, y in ((104, 96), (112, 40), (122, -18), (134, 0), (148, 60), (152, 104), (140, 118), (120, 118))])
        yield _bone(anatomy, Outline(blade * size, 7 * size, 7 * size, wall=2.0 * size), grain=0.05)
        acromion = np.array([(118, 112, -40), (146, 132 + lift, -40), (166, 134 + lift, -20)])
        acromion[:, 0] *= side
        yield _bone(anatomy, Tube(spline(acromion) * size, np.full(17, 6.0) * size, wall=1.0 * size), grain=0.1)
        head = Ellipsoid(size * np.array([side * 170, 104, 0]), size * box_axes(23, 24, 23), wall=1.1 * size)
        stations = (Station(0, 21 * size, 20 * size, 1.0 * size), Station(0.3, 12 * size, 12 * size, 3.4 * size),
                    Station(1, 11 * size, 11 * size, 4.0 * size))  # fmt: skip
        shaft = Shaft(size * np.array([side * 174, 100.0, 0]), size * np.array([side * 200, -120.0, 0]), stations)
        yield _bone(anatomy, shaft, head, breakable=True)


def _sternum(anatomy: Anatomy) -> Iterator[Bone]:
    size = anatomy.size
    path = np.array([(0, 104, 76), (0, 84, 86), (0, 40, 93), (0, -20, 97), (0, -44, 95)], dtype=np.float64)
    yield _bone(anatomy, Tube(spline(path) * size, np.full(33, 6.2) * size, wall=1.0 * size, depth=2.6), breakable=True)
    for side in (-1.0, 1.0):
        border = np.array([(side * 95, 110, -78), (side * 88, 50, -100), (side * 92, 10, -96)])
        yield _bone(anatomy, Tube(spline(border) * size, np.full(17, 3.6) * size, wall=1.2 * size, depth=1.6), grain=0.0)


def _breasts(anatomy: Anatomy) -> Tissue:
    size = anatomy.size
    big = 0.5 + 0.5 * anatomy.flesh
    bodies = tuple(
        Ellipsoid(size * np.array([side * 78, -62, 90]), size * box_axes(60 * big, 56 * big, 13 * big)) for side in (-1, 1)
    )
    return Tissue(bodies, _WATER_MU * 0.9, step=4)


def _bone(anatomy: Anatomy, *parts: Tube | Ellipsoid | Outline | Shaft, grain: float = 0.2, marrow: float = 1.0, breakable: bool = False) -> Bone:
    """Bone at a high tube voltage."""
    return Bone(parts, _RIB_CORTEX * (0.7 + 0.3 * anatomy.density), _RIB_MARROW * marrow * anatomy.density, grain, _STEP, breakable)
