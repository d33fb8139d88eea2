"""Soft organs of the chest as silhouettes in the plane of each view, in mm from the origin of the chest."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from data_prep.phantom.anatomy.patient_body import Anatomy
from data_prep.phantom.imaging.projection import Vector, about_y
from data_prep.phantom.imaging.scene import Tissue
from data_prep.phantom.imaging.solids import Ellipsoid, Outline, Tube, box_axes, spline

STEP = 2
"""Film pixels per raster cell; no structure of the chest is sharper."""

_WATER_MU = 0.0165
_LUNG_MU = -0.74 * _WATER_MU
"""Attenuation per mm near 120 kVp of soft tissue, and of aerated lung relative to it."""

_Points = Sequence[tuple[float, float]]
Organs = tuple[tuple[Tissue, ...], tuple[Tissue, ...]]
"""Tissues of the surface, and tissues inside."""


@dataclass(frozen=True)
class _Breath:
    """Individual variation: heights of the diaphragm (mm), relative width of the heart and thickness of the wall."""

    right: float
    left: float
    depth: float
    heart: float
    wall: float


def _breath(anatomy: Anatomy) -> _Breath:
    draw = anatomy.proportions(5)
    right, left, depth, heart = draw.normal((0, 0, 0, 1), (6, 6, 7, 0.09))
    heart *= 1 + 0.0025 * max(anatomy.age_years - 40, 0)
    breath = _Breath(right, left, depth, heart, 0.6 + 0.4 * anatomy.flesh)
    if anatomy.graded is None:
        return breath
    for _ in range(6):  # the ratio is nearly proportional to the relative width
        wide = breath.heart * anatomy.graded.cardiothoracic_ratio / _cardiothoracic_ratio(breath)
        breath = replace(breath, heart=wide)
    return breath


def _cardiothoracic_ratio(breath: _Breath) -> float:
    heart = spline(np.array(_heart_outline(breath.heart)), closed=True)
    lungs = np.concatenate([spline(np.array(points), closed=True) for points in _frontal_lungs(breath)])
    return float(np.ptp(heart[:, 0]) / np.ptp(lungs[:, 0]))


def frontal_organs(anatomy: Anatomy) -> Organs:
    """Make the organs for the frontal view."""
    size, breath = anatomy.size, _breath(anatomy)
    arms = (((172, 120, 0), (196, 40, 0), (206, -120, 0)), (38.0, 36.0, 34.0))
    limbs = [
        Tube(size * np.array(arms[0]) * (side, 1, 1), size * breath.wall * np.array(arms[1]), depth=1.1)
        for side in (-1, 1)
    ]
    trunk = _cushion(size, _frontal_trunk(breath.wall), 95, 205 * breath.wall)
    heart = _frontal_heart(size, breath.heart)
    lungs = tuple(_cushion(size, points, 46, 158) for points in _frontal_lungs(breath))
    layers = [
        Tissue(lungs, _LUNG_MU, step=STEP, without=(*heart, *_frontal_fluid(anatomy, breath))),
        Tissue(tuple(_airway(size)), -0.95 * _WATER_MU, step=STEP),
        Tissue((_stomach_gas(anatomy, breath),), -0.8 * _WATER_MU, step=STEP),
        _vessels(anatomy, 1),
    ]
    if anatomy.sex == "F" and anatomy.age_years > 14:
        layers.append(_breasts(anatomy))
    return (Tissue((trunk, *limbs), _WATER_MU, blend=8.0),), tuple(layers)


def lateral_organs(anatomy: Anatomy) -> Organs:
    """Make the organs for the lateral view, with the front at -x."""
    size, breath = anatomy.size, _breath(anatomy)
    raised = np.array([(8, 105, 0), (-30, 175, 0), (-70, 260, 0)]) @ about_y(-np.pi / 2)
    arms = Tube(size * raised, size * breath.wall * np.array([50.0, 44.0, 40.0]), depth=1.5)
    trunk = _cushion(size, _lateral_trunk(breath.wall), 75, 290 * breath.wall)
    heart = _lateral_heart(size)
    fluid = tuple(_lateral_fluid(anatomy, breath))
    fluid_side = anatomy.graded.pleural_side if anatomy.graded else 0
    lungs = (
        Tissue(
            (_cushion(size, _lateral_lung(breath, dome), 48, 110),), _LUNG_MU, step=STEP,
            without=(*heart, *fluid) if side == fluid_side else heart,
        )
        for side, dome in ((-1, breath.right), (1, breath.left - 7))
    )  # fmt: skip
    airway = Tissue(tuple(_airway(size)), -0.95 * _WATER_MU, step=STEP)
    return (Tissue((trunk, arms), _WATER_MU, blend=6.0),), (*lungs, airway, _vessels(anatomy, 2))


def _frontal_trunk(wall: float) -> _Points:
    half = [(48, 205), (62, 168), (110, 152), (178, 140), (205, 105), (200, 20), (168 * wall, 10), (160 * wall, -60),
            (158 * wall, -150), (158 * wall, -260)]  # fmt: skip
    return [*((-x, y) for x, y in half), *half[::-1], (46, 300), (-46, 300)]


def _frontal_lungs(breath: _Breath) -> tuple[_Points, _Points]:
    """Outlines of the right and left lung: apex, chest wall, diaphragm, mediastinum."""
    deep, right, left = breath.depth, breath.depth + breath.right, breath.depth + breath.left
    apex = [(22, 142), (45, 150), (72, 128), (98, 78)]
    return (
        [*((-x, y) for x, y in apex), (-116, 10), (-126, -70), (-130, -112 + deep), (-112, -98 + right),
         (-78, -82 + right), (-40, -84 + right), (-14, -92 + deep), (-10, -20), (-14, 60)],
        [*apex, (115, 10), (125, -70), (129, -120 + deep), (110, -108 + left),
         (80, -94 + left), (45, -94 + left), (12, -100 + deep), (8, -20), (12, 60)],
    )  # fmt: skip


def _frontal_heart(size: float, wide: float) -> tuple[Outline, Outline]:
    """Heart, and great vessels with the aortic knob."""
    vessels = [(-22, 130), (-26, 80), (-28, 30), (0, 10), (34, 30), (37, 62), (40, 80), (34, 96), (22, 104), (20, 130)]
    return _cushion(size, _heart_outline(wide), 34, 112), _cushion(size, vessels, 20, 84)


def _heart_outline(wide: float) -> _Points:
    return [(-12, 40), (-30, 12), (-38 * wide, -30), (-34 * wide, -70), (-10, -100), (40, -104), (76 * wide, -92),
            (84 * wide, -72), (70 * wide, -36), (44, 2), (30, 36)]  # fmt: skip


def _frontal_fluid(anatomy: Anatomy, breath: _Breath) -> Iterator[Outline]:
    """Fluid above one lung base, with an upper border that rises towards the chest wall."""
    if anatomy.graded and anatomy.graded.pleural_fluid:
        side, high = anatomy.graded.pleural_side, anatomy.graded.pleural_fluid
        level = -116 + breath.depth + high
        points = [(6, -170), (160, -170), (160, level + 0.5 * high), (128, level + 0.35 * high), (104, level),
                  (70, level - 0.1 * high), (6, level - 0.15 * high)]  # fmt: skip
        yield _cushion(anatomy.size, [(side * x, y) for x, y in points], 14, 190)


def _lateral_fluid(anatomy: Anatomy, breath: _Breath) -> Iterator[Outline]:
    """Fluid above one lung base, deepest at the back."""
    if anatomy.graded and anatomy.graded.pleural_fluid:
        high = anatomy.graded.pleural_fluid
        level = -146 + breath.depth + high
        points = [(-130, -220), (130, -220), (130, level + 0.5 * high), (84, level + 0.3 * high), (50, level),
                  (-60, level - 0.1 * high), (-130, level + 0.2 * high)]  # fmt: skip
        yield _cushion(anatomy.size, points, 14, 140)


def _lateral_trunk(wall: float) -> _Points:
    return [(-38, 210), (-50, 160), (-92, 128), (-108 * wall, 60), (-116 * wall, -20), (-118 * wall, -120),
            (-118 * wall, -260), (112 * wall, -260), (106 * wall, -150), (114 * wall, -40), (116 * wall, 60), (98, 130),
            (62, 175), (50, 300), (-30, 300)]  # fmt: skip


def _lateral_lung(breath: _Breath, dome: float) -> _Points:
    deep = breath.depth
    return [(-8, 146), (-46, 118), (-80, 78), (-90, 20), (-90, -40), (-84, -80 + deep), (-62, -72 + deep + dome),
            (-25, -66 + deep + dome), (20, -82 + deep + dome), (58, -112 + deep), (80, -146 + deep), (86, -110),
            (84, -20), (80, 60), (58, 122), (24, 150)]  # fmt: skip


def _lateral_heart(size: float) -> tuple[Outline, Outline]:
    heart = [(-66, -80), (-82, -50), (-72, -10), (-42, 20), (-8, 26), (20, 6), (34, -38), (26, -78), (-10, -88)]
    vessels = [(-42, 10), (-44, 50), (-28, 78), (4, 88), (26, 72), (30, 40), (10, 20)]
    return _cushion(size, heart, 40, 44), _cushion(size, vessels, 26, 22)


def _cushion(size: float, points: _Points, rim: float, depth: float) -> Outline:
    return Outline(size * np.array(points, dtype=np.float64), rim * size, depth * size)


def _airway(size: float) -> Iterator[Tube]:
    """Trachea and main bronchi."""
    for path, radii in (
        (((0, 230, 8), (0, 120, 2), (2, 62, -12)), (9.0, 9.5, 9.5)),
        (((2, 62, -12), (-18, 42, -14), (-38, 22, -14)), (8.5, 7.5, 5.5)),
        (((2, 62, -12), (24, 46, -14), (44, 30, -16)), (8.0, 7.0, 5.0)),
    ):
        yield Tube(size * np.array(path, dtype=np.float64), size * np.array(radii))


def _stomach_gas(anatomy: Anatomy, breath: _Breath) -> Ellipsoid:
    x, wide = anatomy.proportions(10).normal((66, 24), (8, 5))
    return Ellipsoid(anatomy.size * np.array([x, -128 + breath.depth, 20]), anatomy.size * box_axes(wide, 11, 30))


def _breasts(anatomy: Anatomy) -> Tissue:
    big = (0.5 + 0.5 * anatomy.flesh) * anatomy.size
    bodies = tuple(
        Ellipsoid(anatomy.size * np.array([side * 78, -62, 90]), big * box_axes(60, 56, 13)) for side in (-1, 1)
    )
    return Tissue(bodies, 0.9 * _WATER_MU, step=4)


def _vessels(anatomy: Anatomy, every: int) -> Tissue:
    """Vessel trees from the hila into the lungs; only each ``every``-th branch is used."""
    size = anatomy.size
    shown = tuple(Tube(branch.points * size, branch.radii * size) for branch in _branches(anatomy)[::every])
    return Tissue(shown, 0.9 * _WATER_MU, blend=3.0, step=STEP)


@lru_cache(maxsize=2)
def _branches(anatomy: Anatomy) -> list[Tube]:
    draw = anatomy.proportions(6)
    branches: list[Tube] = []
    for side, low in ((-1.0, 16.0), (1.0, 24.0)):
        for bearing in (-2.75, -2.35, -1.95, -1.5, -1.0, -0.45, 0.1, 0.55):
            start = np.array([side * 30.0, low + 8 * np.sin(bearing), -8.0])
            slope = (side * np.cos(bearing * 0.8 + 0.55), np.sin(bearing * 0.95 + 0.75), draw.normal(0, 0.5))
            _branch(branches, draw, start, np.array(slope) / np.linalg.norm(slope), 4.6, 4)
    return branches


def _branch(
    out: list[Tube], draw: np.random.Generator, start: Vector, way: Vector, radius: float, generations: int
) -> None:
    """Append a branch and its subtree to ``out``, as far as it is inside the lung."""
    length = draw.uniform(16, 30) * (0.72 + 0.07 * generations)
    middle = start + way * length / 2 + draw.normal(0, 1.5, 3)
    end = start + way * length + draw.normal(0, 2.0, 3)
    if not (14 < abs(end[0]) < 112 and -92 < end[1] < 132 and abs(end[2]) < 85):
        return
    out.append(Tube(np.array([start, middle, end]), radius * np.array([1.0, 0.88, 0.76])))
    if generations == 0:
        return
    for turn in (draw.uniform(0.15, 0.55), -draw.uniform(0.15, 0.55)):
        c, s = np.cos(turn), np.sin(turn)
        side = np.array([way[0] * c - way[1] * s, way[0] * s + way[1] * c, way[2] + draw.normal(0, 0.25)])
        _branch(out, draw, end, side / np.linalg.norm(side), radius * 0.72, generations - 1)
