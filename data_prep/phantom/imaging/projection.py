"""Projects body coordinates (mm) onto the film (pixels) with a parallel beam.

Body coordinates are millimetres: x across, y up (towards the head or the fingertips), z towards the viewer. The film
has x to the right and y down, in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float32]
Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Beam:
    """Orthographic projection of body coordinates onto the film.

    Attributes:
        pose: [3, 3] rotation of the body to its view (determinant -1 where the body is mirrored).
        spin: rotation in the plane of the film, radians.
        scale: pixels per mm.
        origin: film position (x, y) in pixels of the body's origin.
    """

    pose: Vector
    spin: float
    scale: float
    origin: tuple[float, float]

    @cached_property
    def turn(self) -> Vector:
        """[3, 3] rotation by pose, then by spin."""
        return np.asarray(about_z(self.spin) @ self.pose, dtype=np.float64)

    def project_flat(self, points: Vector) -> Vector:
        """Project points in the plane of the view, independent of the pose: [N, 2] mm → [N, 2] film pixels."""
        turned = np.asarray(points, dtype=np.float64) @ about_z(self.spin)[:2, :2].T
        return np.asarray(np.array(self.origin) + self.scale * turned * np.array([1.0, -1.0]), dtype=np.float64)

    def project(self, points: Vector) -> Vector:
        """Project points: [N, 3] mm → [N, 2] film pixels."""
        turned = np.asarray(points, dtype=np.float64) @ self.turn.T
        seen = np.empty((*turned.shape[:-1], 2))
        seen[..., 0] = self.origin[0] + self.scale * turned[..., 0]
        seen[..., 1] = self.origin[1] - self.scale * turned[..., 1]
        return seen

    def direction(self, vector: Vector) -> Vector:
        """Rotate vectors: [..., 3] body coordinates → [..., 3] film axes (right, down, towards the viewer)."""
        return np.asarray(vector @ self.turn.T * np.array([1.0, -1.0, 1.0]), dtype=np.float64)


Bounds = tuple[float, float, float, float]
"""x_min, y_min, x_max, y_max in film pixels."""


def about_y(angle: float) -> Vector:
    """[3, 3] rotation about the long axis by ``angle`` radians."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def about_z(angle: float) -> Vector:
    """[3, 3] rotation in the plane of the film by ``angle`` radians."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def about_x(angle: float) -> Vector:
    """[3, 3] rotation about the transverse axis by ``angle`` radians."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def enclosing_bounds(bounds: Sequence[Bounds]) -> Bounds:
    """Compute the rectangle around several rectangles."""
    rows = np.array(bounds)
    low, high = rows[:, :2].min(axis=0), rows[:, 2:].max(axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])
