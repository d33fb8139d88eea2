"""Geometric bodies and the length (chord) of the X-ray beam inside them, exact for straight elliptic bodies.

Coordinates are those of :mod:`data_prep.phantom.imaging.projection`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Protocol

import cv2
import numpy as np

from data_prep.phantom.imaging.projection import Beam, Bounds, Map, Vector
from data_prep.phantom.imaging.tube_chords import Segments, largest_chord

_TABLE_ENTRIES = 512
_MIN_FORESHORTENING = 0.3
_KERNEL = np.hanning(_TABLE_ENTRIES // 12 * 2 + 1)
_KERNEL /= _KERNEL.sum()


class Body(Protocol):
    """A body in the beam."""

    def bounds(self, beam: Beam) -> Bounds:
        """Compute a rectangle of the film outside of which the chord is zero."""
        ...

    def chord(self, beam: Beam, x: Map, y: Map) -> Map:
        """Compute the chord [len(y), len(x)] in mm at film columns ``x`` and rows ``y`` (pixels)."""
        ...

    def shrunk(self, fraction: float = 1.0) -> "Body":
        """Make the cavity inside the wall, ``fraction`` times the thickness of the wall below the surface."""
        ...


@dataclass(frozen=True)
class Station:
    """Cross-section of a shaft.

    Attributes:
        at: position along the axis, 0 to 1.
        across: half axis across, mm.
        deep: half axis in depth, mm.
        wall: thickness of the wall, mm.
        shift_across: offset of the centre across, mm.
        shift_deep: offset of the centre in depth, mm.
    """

    at: float
    across: float
    deep: float
    wall: float = 0.0
    shift_across: float = 0.0
    shift_deep: float = 0.0


@dataclass(frozen=True)
class Shaft:
    """A straight or slightly bent body with elliptic cross-sections that vary along it.

    Attributes:
        start: [3] start of the axis, mm.
        end: [3] end of the axis, mm.
        stations: cross-sections at increasing ``at`` in [0, 1].
        side: direction of ``across``, made perpendicular to the axis.
        caps: mm over which each end rounds off.
        bend: sideways bow at the middle, mm.
        slant: slope (mm per mm across) of each end's surface.
        plates: positions along the axis of open growth plates (lucent lines).
        plate_width: width of the growth plates, 1 for 1.8 mm at half depth.
        margin: distance by which both ends are shortened, mm.
    """

    start: Vector
    end: Vector
    stations: tuple[Station, ...]
    side: tuple[float, float, float] = (1.0, 0.0, 0.0)
    caps: tuple[float, float] = (2.0, 2.0)
    bend: float = 0.0
    slant: tuple[float, float] = (0.0, 0.0)
    plates: tuple[float, ...] = ()
    plate_width: float = 1.0
    margin: float = 0.0

    def length(self) -> float:
        """Compute the length of the axis, mm."""
        return float(np.linalg.norm(self.end - self.start))

    def bounds(self, beam: Beam) -> Bounds:
        """See :class:`Body`."""
        widest = max(max(s.across, s.deep) + max(abs(s.shift_across), abs(s.shift_deep)) for s in self.stations)
        reach = (widest * (1 + max(map(abs, self.slant))) + abs(self.bend)) * beam.scale + 2
        ends = beam.project(np.stack((self.start, self.end)))
        low, high = ends.min(axis=0) - reach, ends.max(axis=0) + reach
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    def frame(self, beam: Beam, x: Map, y: Map) -> tuple[Map, Map]:
        """Compute the position along the axis (0 to 1) and across it (mm), each [len(y), len(x)]."""
        ends = beam.project(np.stack((self.start, self.end)))
        axis = ends[1] - ends[0]
        reach = float(np.hypot(*axis)) or 1.0
        ux, uy = axis / reach
        dx, dy = (x - np.float32(ends[0, 0]))[None, :], (y - np.float32(ends[0, 1]))[:, None]
        along = (dx * np.float32(ux) + dy * np.float32(uy)) / np.float32(reach)
        across = (dy * np.float32(ux) - dx * np.float32(uy)) / np.float32(beam.scale)
        if self.bend:
            across = across - np.float32(4 * self.bend) * along * (1 - along)
        return np.asarray(along, dtype=np.float32), np.asarray(across, dtype=np.float32)

    def sections(self, beam: Beam) -> tuple[Map, Map, Map]:
        """Tabulate half-width on the film, chord through the middle and sideways offset along the axis, mm."""
        across, deep, shift_across, shift_deep, wall = _tabulate(self.stations)
        if self.margin:
            across, deep = across - wall, deep - wall
        across, deep = np.maximum(across, 0.0), np.maximum(deep, 0.0)
        axis = (self.end - self.start) / max(self.length(), 1e-6)
        side = np.asarray(self.side) - axis * float(np.dot(self.side, axis))
        side = side / max(float(np.linalg.norm(side)), 1e-6)
        seen = beam.direction(axis)
        flat = max(float(np.hypot(seen[0], seen[1])), _MIN_FORESHORTENING)
        normal = np.array([-seen[1], seen[0], 0.0]) / max(float(np.hypot(seen[0], seen[1])), 1e-6)
        c1 = float(beam.direction(side) @ normal)
        c2 = float(beam.direction(_cross(axis, side)) @ normal)
        half = np.sqrt((across * c1) ** 2 + (deep * c2) ** 2)
        chord = 2 * across * deep / np.maximum(half, 1e-3) / flat
        offset = shift_across * c1 + shift_deep * c2
        return half.astype(np.float32), chord.astype(np.float32), offset.astype(np.float32)

    def chord(self, beam: Beam, x: Map, y: Map) -> Map:
        """See :class:`Body`."""
        half, chord, offset = self.sections(beam)
        along, across = self.frame(beam, x, y)
        length = max(self.length(), 1e-3)
        entry = np.clip(along * _TABLE_ENTRIES, 0, _TABLE_ENTRIES - 1).astype(np.int32)
        lateral = (across - offset[entry]) / np.maximum(half[entry], np.float32(1e-3))
        from_start = along * np.float32(length) - np.float32(self.margin)
        to_end = np.float32(length - self.margin) - along * np.float32(length)
        if self.slant[0]:
            from_start = from_start + np.float32(self.slant[0]) * across
        if self.slant[1]:
            to_end = to_end + np.float32(self.slant[1]) * across
        rounded = _cap(from_start, self.caps[0]) * _cap(to_end, self.caps[1])
        inside = np.maximum(rounded - lateral * lateral, 0)
        thickness = chord[entry] * np.sqrt(inside)
        for plate in self.plates:
            distance = (along - np.float32(plate)) * np.float32(length / (1.1 * self.plate_width))
            thickness *= 1 - np.float32(0.8) * np.exp(-(distance * distance))
        return np.asarray(thickness, dtype=np.float32)

    def shrunk(self, fraction: float = 1.0) -> "Shaft":
        """See :class:`Body`."""
        ends = min(self.stations[0].wall, self.stations[-1].wall) * fraction
        return replace(
            self,
            stations=tuple(replace(s, wall=s.wall * fraction) for s in self.stations),
            margin=self.margin + max(ends, 1e-3),
        )


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid, or for ``squareness`` > 2 a superellipsoid with flatter sides.

    Attributes:
        centre: mm.
        axes: [3, 3], the half axes as rows, mm.
        wall: thickness of the wall, mm.
        squareness: exponent of the surface equation.
    """

    centre: Vector
    axes: Vector
    wall: float = 0.0
    squareness: float = 2.0

    def bounds(self, beam: Beam) -> Bounds:
        """See :class:`Body`."""
        x, y = beam.project(self.centre[None])[0]
        seen = beam.direction(self.axes)
        reach = np.sqrt((seen**2).sum(axis=0)) * beam.scale * 1.02 + 1
        return float(x - reach[0]), float(y - reach[1]), float(x + reach[0]), float(y + reach[1])

    def chord(self, beam: Beam, x: Map, y: Map) -> Map:
        """See :class:`Body`."""
        seen = beam.direction(self.axes)
        shape = seen.T @ seen  # the ellipsoid is p' shape⁻¹ p ≤ 1
        flat = np.linalg.inv(shape[:2, :2])
        depth = 2 / np.sqrt(np.linalg.inv(shape)[2, 2])
        centre = beam.project(self.centre[None])[0]
        dx = ((x - np.float32(centre[0])) / np.float32(beam.scale))[None, :]
        dy = ((y - np.float32(centre[1])) / np.float32(beam.scale))[:, None]
        a, b, c = (np.float32(v) for v in (flat[0, 0], 2 * flat[0, 1], flat[1, 1]))
        squared = a * dx * dx + b * dx * dy + c * dy * dy
        if self.squareness != 2.0:
            squared = squared ** np.float32(self.squareness / 2)
        return np.asarray(np.float32(depth) * np.sqrt(np.maximum(1 - squared, 0)), dtype=np.float32)

    def shrunk(self, fraction: float = 1.0) -> "Ellipsoid":
        """See :class:`Body`."""
        lengths = np.linalg.norm(self.axes, axis=1, keepdims=True)
        return replace(self, axes=self.axes * np.maximum(1 - self.wall * fraction / lengths, 0.05))


@dataclass(frozen=True)
class Tube:
    """A bent tube.

    Attributes:
        points: [N, 3] points of the axis, mm.
        radii: [N] radii in the plane of the film, mm.
        wall: thickness of the wall, mm.
        depth: radius in depth, relative to that in the plane of the film.
    """

    points: Vector
    radii: Vector
    wall: float = 0.0
    depth: float = 1.0

    def bounds(self, beam: Beam) -> Bounds:
        """See :class:`Body`."""
        x, y = zip(*beam.project(self.points).tolist(), strict=True)  # faster than arrays for a few points
        reach = float(self.radii.max()) * beam.scale + 1
        return min(x) - reach, min(y) - reach, max(x) + reach, max(y) + reach

    def chord(self, beam: Beam, x: Map, y: Map) -> Map:
        """See :class:`Body`."""
        return largest_chord(tube_segments((self,), beam), x, y) / np.float32(beam.scale)

    def shrunk(self, fraction: float = 1.0) -> "Tube":
        """See :class:`Body`."""
        return replace(self, radii=np.maximum(self.radii - self.wall * fraction, 0.05))


def tube_segments(tubes: Sequence[Tube], beam: Beam) -> Segments:
    """Make the segments on the film of tubes with the same number of points.

    Args:
        tubes: the tubes.
        beam: projection onto the film.
    """
    points = np.stack([tube.points for tube in tubes])
    radii = np.stack([tube.radii for tube in tubes])
    depth = np.array([tube.depth for tube in tubes])
    return Segments.of_tubes(beam.project(points), points, radii, depth, beam.scale)


@dataclass(frozen=True)
class Outline:
    """A silhouette with a rounded rim.

    Attributes:
        points: [N, 2] outline (right, up) in the plane of the view, independent of the pose, mm.
        rim: distance from the outline over which the thickness increases, mm.
        depth: thickness inside the rim, mm.
        wall: thickness of the wall, mm.
    """

    points: Vector
    rim: float
    depth: float
    wall: float = 0.0

    @cached_property
    def _curve(self) -> Vector:
        return spline(self.points, closed=True)

    def bounds(self, beam: Beam) -> Bounds:
        """See :class:`Body`."""
        seen = beam.project_flat(self._curve)
        low, high = seen.min(axis=0) - 8, seen.max(axis=0) + 8  # margin for the edge of the distance transform
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    def chord(self, beam: Beam, x: Map, y: Map) -> Map:
        """See :class:`Body`."""
        step = float(x[1] - x[0]) if len(x) > 1 else 1.0
        seen = (beam.project_flat(self._curve) - (float(x[0]), float(y[0]))) / step
        mask = np.zeros((len(y) + 2, len(x) + 2), dtype=np.uint8)  # one cell of margin on each side
        cv2.fillPoly(mask, [np.round((seen + 1) * 16).astype(np.int32)], 255, shift=4)
        mask[0], mask[-1], mask[:, 0], mask[:, -1] = mask[1], mask[-2], mask[:, 1], mask[:, -2]
        inside = cv2.distanceTransform(mask, cv2.DIST_L2, 5)[1:-1, 1:-1]
        rise = np.minimum(inside * np.float32(step / beam.scale / self.rim), 1)
        thickness = np.float32(self.depth) * np.sqrt(1 - (1 - rise) ** 2)
        return np.asarray(
            cv2.GaussianBlur(thickness, (0, 0), 1.6)
        )  # smooths the steps of the distance to a drawn polygon

    def shrunk(self, fraction: float = 1.0) -> "Outline":
        """See :class:`Body`."""
        centre = self.points.mean(axis=0)
        reach = float(np.abs(self.points - centre).mean())
        shrink = max(1 - self.wall * fraction / reach, 0.1)
        return replace(self, points=centre + (self.points - centre) * shrink, depth=self.depth * shrink)


def spline(points: Vector, *, closed: bool = False, steps: int = 8) -> Vector:
    """Interpolate points by a Catmull–Rom curve.

    Args:
        points: [N, D] points.
        closed: whether the curve returns to the first point.
        steps: points per span.

    Returns:
        [M, D] points of the curve.
    """
    points = np.asarray(points, dtype=np.float64)
    ends = (points[-1:], points[:2]) if closed else (2 * points[:1] - points[1:2], 2 * points[-1:] - points[-2:-1])
    knots = np.concatenate((ends[0], points, ends[1]))
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    spans = []
    for a, b, c, d in zip(knots[:-3], knots[1:-2], knots[2:-1], knots[3:], strict=True):
        spans.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    curve = np.concatenate(spans)
    return curve if closed else np.concatenate((curve, points[-1:]))


def box_axes(x: float, y: float, z: float, *, tilt: float = 0.0) -> Vector:
    """Make the half axes of an ellipsoid.

    Args:
        x: half axis, mm.
        y: half axis, mm.
        z: half axis, mm.
        tilt: rotation in the x, y plane, radians.

    Returns:
        [3, 3] half axes as rows, mm.
    """
    c, s = np.cos(tilt), np.sin(tilt)
    return np.array([[x * c, x * s, 0.0], [-y * s, y * c, 0.0], [0.0, 0.0, z]])


@lru_cache(maxsize=64)
def _tabulate(stations: tuple[Station, ...]) -> tuple[Vector, ...]:
    """Smoothed half axes and offsets, and the thickness of the wall, at the entries of the table."""
    at = np.linspace(0, 1, _TABLE_ENTRIES)
    columns = np.array([(s.at, s.across, s.deep, s.shift_across, s.shift_deep, s.wall) for s in stations]).T
    *tables, wall = (np.interp(at, columns[0], column) for column in columns[1:])
    return *map(_smooth, tables), wall


def _cross(a: Vector, b: Vector) -> Vector:
    """Cross product of two vectors [3]; numpy's takes ten times as long for them."""
    (a0, a1, a2), (b0, b1, b2) = a.tolist(), b.tolist()
    return np.array([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0])


def _smooth(table: Vector) -> Vector:
    if not table.any():
        return table
    half = len(_KERNEL) // 2
    padded = np.concatenate((np.full(half, table[0]), table, np.full(half, table[-1])))
    return np.convolve(padded, _KERNEL, mode="valid")


def _cap(distance: Map, reach: float) -> Map:
    """1 inside, decreasing to 0 along a circular profile over the last ``reach`` mm."""
    edge = np.clip(1 - distance / np.float32(max(reach, 0.05)), 0, 1)
    return np.asarray(1 - edge * edge, dtype=np.float32)
