"""Chords of bent tubes, as conical segments with round ends; the small windows of many segments are computed together.

Both ways, a window at a time or all windows at once, apply the same operations to each raster cell in float32, so they
agree to the bit. The second saves most of the time on coarse films, whose windows have few cells.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_prep.phantom.imaging.projection import Map, Vector

_LARGE_WINDOW_CELLS = 3000
"""Cells of a window above which windows are computed one at a time."""
_Cells = NDArray[np.int64]


@dataclass(frozen=True)
class Segments:
    """Conical segments on the film, in the order of the tubes.

    Attributes:
        start: [K, 2] film position (x, y), pixels.
        span: [K, 2] from the start to the end, pixels.
        radii: [K, 2] radius at the start and at the end, pixels.
        depth: [K] radius in depth relative to that on the film.
    """

    start: Vector
    span: Vector
    radii: Vector
    depth: Vector

    @classmethod
    def of_tubes(cls, seen: Vector, points: Vector, radii: Vector, depth: Vector, scale: float) -> "Segments":
        """Make the segments of tubes with the same number of points.

        Args:
            seen: [B, N, 2] projected points, pixels.
            points: [B, N, 3] points, mm.
            radii: [B, N] radii, mm.
            depth: [B] radius in depth relative to that in the plane of the film.
            scale: pixels per mm.
        """
        span = np.diff(seen, axis=1)
        steps = np.linalg.norm(np.diff(points, axis=1), axis=2)
        tilt = np.minimum(steps * scale / np.maximum(np.hypot(span[..., 0], span[..., 1]), 1e-3), 2.5)
        pairs = np.stack((radii[:, :-1], radii[:, 1:]), axis=2) * scale
        flat = seen.shape[0] * (seen.shape[1] - 1)
        return cls(
            seen[:, :-1].reshape(flat, 2),
            span.reshape(flat, 2),
            pairs.reshape(flat, 2),
            (np.asarray(depth)[:, None] * tilt).reshape(flat),
        )

    def windows(self, x: Map, y: Map) -> tuple[_Cells, _Cells, _Cells, _Cells]:
        """First column, columns, first row and rows of the cells that each segment can reach, each [K]."""
        reach = self.radii.max(axis=1) + 1
        left, columns = _cells(x, self.start[:, 0], self.span[:, 0], reach)
        top, rows = _cells(y, self.start[:, 1], self.span[:, 1], reach)
        return left, columns, top, rows

    def chords(self, which: _Cells | slice | int, dx: Map, dy: Map) -> Map:
        """Chords in pixels at distances from the start of a segment.

        Args:
            which: number of the segment, or [M] one for each distance.
            dx: distances along x, pixels.
            dy: distances along y, pixels.
        """
        span_x, span_y = (self.span[:, k].astype(np.float32)[which] for k in (0, 1))
        squared = np.maximum((self.span[:, None] @ self.span[:, :, None])[:, 0, 0], 1e-6).astype(np.float32)[which]
        t = (dx * span_x + dy * span_y) / squared
        np.minimum(np.maximum(t, 0, out=t), 1, out=t)
        away = (dx - t * span_x) ** 2 + (dy - t * span_y) ** 2
        growth = (self.radii[:, 1] - self.radii[:, 0]).astype(np.float32)[which]
        radius = self.radii[:, 0].astype(np.float32)[which] + t * growth
        depth = (2 * self.depth).astype(np.float32)[which]
        return np.asarray(depth * np.sqrt(np.maximum(radius * radius - away, 0)), dtype=np.float32)


def largest_chord(segments: Segments, x: Map, y: Map) -> Map:
    """Compute the largest chord of the segments of one tube: [len(y), len(x)] pixels.

    Args:
        segments: the segments.
        x: film columns of the raster cells, pixels.
        y: film rows of the raster cells, pixels.
    """
    out = np.zeros((len(y), len(x)), dtype=np.float32)
    left, columns, top, rows = segments.windows(x, y)
    if rows @ columns > _LARGE_WINDOW_CELLS * len(rows):
        for k in np.flatnonzero(rows * columns):
            across, down = slice(left[k], left[k] + columns[k]), slice(top[k], top[k] + rows[k])
            start = segments.start[k].astype(np.float32)
            chord = segments.chords(int(k), (x[across] - start[0])[None, :], (y[down] - start[1])[:, None])
            np.maximum(out[down, across], chord, out=out[down, across])
        return out
    number, column, row = _cells_of_windows(left, columns, top, rows)
    start = segments.start.astype(np.float32)[number]
    chords = segments.chords(number, x[column] - start[:, 0], y[row] - start[:, 1])
    np.maximum.at(out.reshape(-1), row * len(x) + column, chords)
    return out


def add_powers_of_chords(
    total: Map, segments: Segments, per_tube: int, x: Map, y: Map, power: np.float32, scale: np.float32
) -> None:
    """Add a power of the chord of each tube, in the order of the tubes, in place.

    Args:
        total: [len(y), len(x)] sum.
        segments: segments of all tubes.
        per_tube: segments of each tube.
        x: film columns of the raster cells, pixels.
        y: film rows of the raster cells, pixels.
        power: exponent.
        scale: pixels per mm; chords are in mm.
    """
    left, columns, top, rows = segments.windows(x, y)
    right, bottom = (
        (first + count).reshape(-1, per_tube).max(axis=1) for first, count in ((left, columns), (top, rows))
    )
    left, top = (first.reshape(-1, per_tube).min(axis=1) for first in (left, top))
    tube, column, row = _cells_of_windows(left, np.maximum(right - left, 0), top, np.maximum(bottom - top, 0))
    across, down = x[column], y[row]
    chords = np.zeros(len(tube), dtype=np.float32)
    for k in range(per_tube):
        number = tube * per_tube + k
        start = segments.start.astype(np.float32)[number]
        np.maximum(chords, segments.chords(number, across - start[:, 0], down - start[:, 1]), out=chords)
    inside = np.flatnonzero(chords)
    powers = (chords[inside] / scale) ** power
    np.add.at(total.reshape(-1), row[inside] * len(x) + column[inside], powers)


def _cells(grid: Map, start: Vector, span: Vector, reach: Vector) -> tuple[_Cells, _Cells]:
    """First cell and number of cells of a regular grid within ``reach`` of the range from start to start + span."""
    first, step = float(grid[0]), float(grid[1] - grid[0]) if len(grid) > 1 else 1.0
    low, high = np.minimum(start, start + span), np.maximum(start, start + span)
    begin = np.clip(((low - reach - first) / step).astype(np.int64), 0, len(grid))
    end = np.minimum(np.maximum(((high + reach - first) / step).astype(np.int64) + 2, 0), len(grid))
    return begin, np.maximum(end - begin, 0)


def _cells_of_windows(left: _Cells, columns: _Cells, top: _Cells, rows: _Cells) -> tuple[_Cells, _Cells, _Cells]:
    """All cells of all windows, a window after the other: number of the window, column and row of the raster."""
    sizes = rows * columns
    number = np.repeat(np.arange(len(sizes)), sizes)
    within = np.arange(len(number)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    wide = columns[number]
    row = within // np.maximum(wide, 1)
    return number, within - row * wide + left[number], row + top[number]
