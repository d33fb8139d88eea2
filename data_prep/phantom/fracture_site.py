"""Chooses the bone and the position of a fracture by the geometry of the film alone.

Every film is planned on one raster, whatever its detector, so the choice is the same at every ``--scale``.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from data_prep.phantom.difficulty import Difficulty
from data_prep.phantom.imaging.projection import Beam, Map
from data_prep.phantom.imaging.scene import Scene, bone_density, find_site
from data_prep.phantom.random_draws import FindingDraw

PLAN_SIDE = 160
"""Longer side of the raster on which films are planned, pixels."""
_MAX_SITE_DRAWS, _FITTING_SITES = 200, 6
_MAX_OBLIQUENESS = 1 / math.cos(math.radians(65))
"""Longest line across a bone relative to its width (``draw_fracture_line``)."""
_MARGIN = 2.0
"""Distance of the box from the edge of the field, pixels of the plan."""


@dataclass(frozen=True)
class FractureSite:
    """Where a fracture is, and its length.

    Attributes:
        bone: number of the bone in the scene.
        along: position along the axis of the bone, 0 to 1.
        size_mm: drawn size, mm on the film.
        pixels_per_mm: pixels at T = 1024 per mm on the film.
    """

    bone: int
    along: float
    size_mm: float
    pixels_per_mm: float


def choose_site(
    scene: Scene, beam: Beam, field: Map, scale: float, finding: FindingDraw, level: Difficulty
) -> FractureSite:
    """Choose the densest of the first drawn sites whose boxes lie in the field.

    If there is none, the site with most room is taken, and the line is as long as fits there.

    Args:
        scene: the scene.
        beam: projection onto the raster of the plan.
        field: [rows, columns] collimated field on that raster, 0 to 1.
        scale: pixels at T = 1024 per pixel of that raster.
        finding: draw of the fracture.
        level: difficulty of the archive.

    Raises:
        ValueError: no breakable bone of the scene lies in the field.
    """
    draw = np.random.default_rng(finding.seed)
    breakable = [k for k, bone in enumerate(scene.bones) if bone.breakable]
    room_map = _distance_from_edge(field)
    smallest, size = level.fracture_size[0] / 2 / scale, finding.size / scale
    fitting: list[tuple[float, int, float]] = []
    widest: tuple[float, int, float] = (0.0, -1, 0.0)
    for _ in range(_MAX_SITE_DRAWS if breakable else 0):
        index, along = breakable[int(draw.integers(len(breakable)))], float(draw.uniform(0.12, 0.88))
        site = find_site(scene.bones[index], beam, along)
        row, column = math.floor(site.y), math.floor(site.x)
        if not (0 <= row < field.shape[0] and 0 <= column < field.shape[1]):
            continue
        room = float(room_map[row, column]) - _MARGIN
        half_line = max(min(size / 2, _MAX_OBLIQUENESS * site.half_width), site.half_width, smallest)
        widest = max(widest, (room, index, along))
        if room >= half_line:
            fitting.append((bone_density(scene.bones[index], beam, site), index, along))
        if len(fitting) == _FITTING_SITES:
            break
    if widest[0] <= 0:
        raise ValueError("no breakable bone of the scene lies in the field")
    if not fitting:
        size = min(size, 2 * widest[0])
    _, index, along = max(fitting or [widest])
    return FractureSite(index, along, size / beam.scale, scale * beam.scale)


def _distance_from_edge(field: Map) -> Map:
    """[rows, columns] distance of each pixel from the edge of the field, pixels."""
    inside = np.pad((field > 0.9).astype(np.uint8), 1)
    return np.asarray(cv2.distanceTransform(inside, cv2.DIST_L2, 5)[1:-1, 1:-1], dtype=np.float32)
