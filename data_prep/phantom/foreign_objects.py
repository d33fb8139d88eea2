"""Draws shapes of foreign objects from strokes and discs, at any size and angle."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from data_prep.phantom.imaging.projection import Map, Vector
from data_prep.phantom.imaging.solids import spline

_CELLS_PER_PIXEL = 4
"""Raster cells per pixel for drawing; averaged afterwards."""


@dataclass(frozen=True)
class Stroke:
    """A line or a filled polygon; later strokes replace earlier ones.

    Attributes:
        points: [N, 2] vertices, in the units of the shape.
        width: width of the line; 0 for a filled polygon.
        value: relative attenuation, 0 (hole) to 1.
    """

    points: Vector
    width: float
    value: float = 1.0

    def turned(self, angle: float) -> "Stroke":
        """Rotate by ``angle`` radians about the origin."""
        c, s = math.cos(angle), math.sin(angle)
        return replace(self, points=np.asarray(self.points, dtype=np.float64) @ np.array([[c, s], [-s, c]]))

    def extent(self) -> Vector:
        """Compute the bounding box: [2, 2] lower and upper corner."""
        return np.stack((self.points.min(axis=0) - self.width / 2, self.points.max(axis=0) + self.width / 2))

    def draw(self, canvas: Map, low: Vector, cells: float) -> None:
        """Draw the stroke.

        Args:
            canvas: [rows, columns] raster, changed in place.
            low: [2] position of the upper left corner of the canvas.
            cells: raster cells per unit.
        """
        points = np.round((self.points - low) * cells * 16).astype(np.int32)
        if self.width:
            cv2.polylines(canvas, [points], False, self.value, max(1, round(self.width * cells)), cv2.LINE_8, 4)
        else:
            cv2.fillPoly(canvas, [points], self.value, cv2.LINE_8, 4)


def draw_object(kind: str, size: int, angle: float, draw: np.random.Generator) -> Map:
    """Draw an object.

    Args:
        kind: key of SHAPES.
        size: longer side of the result, pixels.
        angle: rotation, radians.
        draw: random generator.

    Returns:
        [rows, columns] relative attenuation, 0 to 1, cropped to the object.
    """
    strokes = [stroke.turned(angle) for stroke in SHAPES[kind](draw)]
    corners = np.concatenate([stroke.extent() for stroke in strokes])
    low, extent = corners.min(axis=0), np.ptp(corners, axis=0)
    cells = size * _CELLS_PER_PIXEL / float(extent.max())
    columns, rows = (max(1, math.ceil(side * cells / _CELLS_PER_PIXEL - 1e-6)) for side in extent)
    canvas = np.zeros((rows * _CELLS_PER_PIXEL, columns * _CELLS_PER_PIXEL), dtype=np.float32)
    for stroke in strokes:
        stroke.draw(canvas, low, cells)
    return np.asarray(cv2.resize(canvas, (columns, rows), interpolation=cv2.INTER_AREA))


def _disc(x: float, y: float, radius: float, value: float = 1.0) -> Stroke:
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    return Stroke(np.stack((x + radius * np.cos(angle), y + radius * np.sin(angle)), axis=1), 0.0, value)


def _line(*points: tuple[float, float], width: float, value: float = 1.0) -> Stroke:
    return Stroke(np.array(points, dtype=np.float64), width, value)


def _screw(draw: np.random.Generator) -> list[Stroke]:
    threads = int(draw.integers(6, 11))
    turns = [
        _line((x - 0.03, -0.11), (x + 0.03, 0.11), width=0.045, value=0.85) for x in np.linspace(0.2, 0.88, threads)
    ]
    head = _line((0.06, -0.15), (0.06, 0.15), width=0.12)
    return [_line((0.06, 0), (0.98, 0), width=0.12, value=0.9), *turns, head]


def _plate(draw: np.random.Generator) -> list[Stroke]:
    holes = int(draw.integers(4, 8))
    return [
        _line((0.06, 0), (0.94, 0), width=0.17, value=0.8),
        *(_disc(x, 0, 0.042, 0.1 if draw.random() < 0.6 else 1.0) for x in np.linspace(0.1, 0.9, holes)),
    ]


def _pin(draw: np.random.Generator) -> list[Stroke]:
    return [_line((0, 0), (1, 0), width=float(draw.uniform(0.05, 0.08)))]


def _ring(draw: np.random.Generator) -> list[Stroke]:
    flat = float(draw.uniform(0.35, 1.0))
    angle = np.linspace(0, 2 * np.pi, 49)
    return [Stroke(np.stack((np.cos(angle), flat * np.sin(angle)), axis=1), float(draw.uniform(0.22, 0.34)))]


def _coin(draw: np.random.Generator) -> list[Stroke]:
    return [
        _disc(0, 0, 1.0),
        _disc(0, 0, 0.86, 0.82),
        *(_disc(x, y, 0.16, 0.92) for x, y in draw.uniform(-0.4, 0.4, (3, 2))),
    ]


def _tube(draw: np.random.Generator) -> list[Stroke]:
    path = spline(np.stack((np.linspace(0, 1, 5), draw.normal(0, 0.09, 5)), axis=1))
    width = float(draw.uniform(0.1, 0.14))
    return [
        Stroke(path, width, 0.75),
        Stroke(path, width * 0.5, 0.35),
        Stroke(path + np.array([0.0, width * 0.3]), width * 0.22, 1.0),
    ]


def _wire(draw: np.random.Generator) -> list[Stroke]:
    path = np.cumsum(np.concatenate(([[0.0, 0.0]], draw.normal((0.2, 0.0), (0.06, 0.22), (5, 2)))), axis=0)
    return [Stroke(spline(path), 0.06)]


def _electrode(draw: np.random.Generator) -> list[Stroke]:
    bow = draw.normal(0, 0.25)
    lead = spline(np.array([(0.1, 0.0), (0.5, bow), (1.0, 0.2 * bow)]))
    return [Stroke(lead, 0.06, 0.8), _disc(0, 0, 0.26, 0.5), _disc(0, 0, 0.11, 1.0)]


def _clip(draw: np.random.Generator) -> list[Stroke]:
    gap = float(draw.uniform(0.16, 0.3))
    return [_line((1, gap), (0.12, gap), (0, 0), (0.12, -gap), (1, -gap), width=0.14)]


def _fragment(draw: np.random.Generator) -> list[Stroke]:
    angle = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    radius = draw.uniform(0.55, 1.0, 8)
    points = np.stack((radius * np.cos(angle), draw.uniform(0.45, 0.9) * radius * np.sin(angle)), axis=1)
    return [Stroke(points, 0.0)]


SHAPES: dict[str, Callable[[np.random.Generator], list[Stroke]]] = {
    "screw": _screw,
    "plate": _plate,
    "pin": _pin,
    "ring": _ring,
    "coin": _coin,
    "tube": _tube,
    "wire": _wire,
    "electrode": _electrode,
    "clip": _clip,
    "fragment": _fragment,
}
