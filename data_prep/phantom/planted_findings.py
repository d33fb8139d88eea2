"""Planting foreign objects and fractures of a fixed difficulty (DESIGN.md section 5).

Size and contrast are those at training size T = 1024: the film is scaled so that its content box (the body inside the
field) covers 1024 patches of 16 pixels. There the contrast-to-noise ratio is

    mean over the finding of |ln-signal with it - ln-signal without it| / σ,

with σ the robust deviation (1.4826 × median absolute deviation) of the noisy film without the finding around it, after
taking out what is smooth (Gaussian, 2 pixels): quantum noise and texture at the finding's scale, no bone outlines.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data_prep.phantom.imaging.projection import Map
from data_prep.phantom.imaging.scene import Site

TOKENS, PATCH = 1024, 16
BREAK_PAD = 1.5
"""Pixels at T = 1024 around a fracture line that belong to its box."""
_LEAST = 6.0
_MIN_CONTENT_SHARE, _MAX_ENLARGEMENT = 0.25, 2.0

Box = tuple[float, float, float, float]
"""x_min, y_min, x_max, y_max in source raster pixels; the right and lower ends are exclusive."""


@dataclass(frozen=True)
class Planted:
    """A planted thing and its difficulty as it came out."""

    kind: str
    box: Box
    size: float
    contrast_to_noise: float
    amplitude: float


@dataclass(frozen=True)
class Window:
    """A rectangle of the film in whole pixels."""

    top: int
    left: int
    rows: int
    columns: int

    def cut(self) -> tuple[slice, slice]:
        """The slices of a film's array."""
        return slice(self.top, self.top + self.rows), slice(self.left, self.left + self.columns)


def training_scale(content: NDArray[np.bool_]) -> float:
    """Pixels at T = 1024 per source pixel; ``content`` is a [rows, columns] bool mask of the body in the field."""
    down, across = np.flatnonzero(content.any(axis=1)), np.flatnonzero(content.any(axis=0))
    area = float(content.size)
    if down.size:
        area = max(float((down[-1] - down[0] + 1) * (across[-1] - across[0] + 1)), _MIN_CONTENT_SHARE * area)
    return min(math.sqrt(TOKENS * PATCH * PATCH / area), _MAX_ENLARGEMENT)


def around(box: Box, scale: float, shape: tuple[int, int]) -> Window:
    """The finding's neighbourhood, in which its noise is measured and outside of which nothing changes."""
    margin = max(10 / scale, 0.5 * max(box[2] - box[0], box[3] - box[1]))
    top, left = max(int(box[1] - margin), 0), max(int(box[0] - margin), 0)
    low, right = min(int(box[3] + margin) + 1, shape[0]), min(int(box[2] + margin) + 1, shape[1])
    return Window(top, left, low - top, right - left)


def contrast_to_noise(without: Map, with_it: Map, noisy: Map, weight: Map, scale: float) -> float:
    """The ratio above, for log films of one window; ``weight`` is the finding's shape there."""
    shape = _at_training_size(weight, scale)
    difference = np.abs(_at_training_size(with_it - without, scale))
    inside = shape >= 0.5 * shape.max()
    return float(difference[inside].mean() / max(_noise(_at_training_size(noisy, scale)), 1e-6))


def solve_amplitude(ratio: Callable[[float], float], wanted: float, most: float) -> tuple[float, float]:
    """Amplitude in (0, most] at which the growing function ``ratio`` is ``wanted``, and the ratio reached."""
    low, high = 0.0, most
    reached = ratio(high)
    if reached <= wanted:
        return high, reached
    for _ in range(14):
        middle = (low + high) / 2
        if ratio(middle) < wanted:
            low = middle
        else:
            high = middle
    return high, ratio(high)


@dataclass(frozen=True)
class Break:
    """A fracture line across a bone, on the bone's own raster.

    Attributes:
        line: [rows, columns] 1 on the line, falling to 0 over the gap's width.
        flow: [rows, columns, 2] where each pixel of the displaced bone comes from (x, y), pixels.
        box: in the bone's raster.
    """

    line: Map
    flow: Map
    box: Box


def draw_break(
    shape: tuple[int, int], at: Site, length: float, scale: float, draw: np.random.Generator, gaping: float = 1.0
) -> Break:
    """A line of about ``length`` pixels that starts at the cortex, jagged, with a step where it ends.

    Where the line is longer than the bone is wide it runs across obliquely (at most 65° from straight across).
    """
    ax, ay = at.axis
    half = max(at.half_width, 1.0)
    tilt = draw.normal(0, 0.3)
    if length > 2 * half / math.cos(tilt):
        tilt = math.copysign(min(math.acos(min(2 * half / length, 1.0)), math.radians(65)), draw.normal())
    across = min(length * math.cos(tilt), 2 * half)
    from_side = 1.0 if draw.random() < 0.5 else -1.0
    dx = (np.arange(shape[1], dtype=np.float32) - np.float32(at.x))[None, :]
    dy = (np.arange(shape[0], dtype=np.float32) - np.float32(at.y))[:, None]
    along = dx * np.float32(ax) + dy * np.float32(ay)
    side = (dy * np.float32(ax) - dx * np.float32(ay)) * np.float32(from_side) + np.float32(half)
    knots = np.linspace(0, 2 * half, 7)
    offsets = np.clip(draw.normal(0, 0.04, 7), -0.05, 0.05) * min(length, 3 * half)
    jag = np.interp(np.arange(0, 2 * half + 1, 0.5), knots, offsets)
    path = np.float32(math.tan(tilt)) * (side - np.float32(half))
    path = path + jag.astype(np.float32)[np.clip(side * 2, 0, len(jag) - 1).astype(np.int32)]
    gap = np.float32(draw.uniform(0.55, 0.9) * gaping / scale)
    away = (along - path) * np.float32(math.cos(tilt))
    fade = np.clip((np.float32(across) - side) / np.float32(2 * gap), 0, 1) * np.clip(
        side / np.float32(2 * gap) + 1, 0, 1
    )
    line = np.exp(-0.5 * (away / gap) ** 2) * fade
    offset = np.float32(from_side * min(draw.uniform(0.5, 2.2) / scale, 0.12 * length))
    beyond = np.maximum(along - path, 0) / np.float32(0.25 * length)  # the displaced end leans back to its place
    inward = np.maximum(side - np.float32(across), 0) / np.float32(0.5 * half)
    moved = offset * (along > path) * np.exp(-beyond - inward)
    flow = np.stack((moved * np.float32(-ay), moved * np.float32(ax)), axis=-1).astype(np.float32)
    return Break(np.asarray(line, dtype=np.float32), flow, _box(line, BREAK_PAD / scale, _LEAST / scale))


def broken(bone: Map, crack: Break, amplitude: float) -> Map:
    """The bone with its end displaced and ``amplitude`` (0 … 1) of the line taken out; 0 is the whole bone."""
    rows, columns = np.indices(bone.shape, dtype=np.float32)
    x, y = (grid - crack.flow[..., k] * np.float32(math.sqrt(amplitude)) for k, grid in enumerate((columns, rows)))
    moved = cv2.remap(bone, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved * (1 - np.float32(amplitude) * crack.line), dtype=np.float32)


def _box(line: Map, pad: float, least: float) -> Box:
    """Around the line with ``pad`` pixels on each side; the longer side has at least ``least`` pixels."""
    rows, columns = np.flatnonzero(line.max(axis=1) > 0.3), np.flatnonzero(line.max(axis=0) > 0.3)
    if rows.size == 0:
        return 0.0, 0.0, 0.0, 0.0
    left, top, right, low = columns[0] - pad, rows[0] - pad, columns[-1] + 1 + pad, rows[-1] + 1 + pad
    short = max(least - max(right - left, low - top), 0.0) / 2
    return float(left - short), float(top - short), float(right + short), float(low + short)


def _at_training_size(film: Map, scale: float) -> Map:
    size = (max(1, round(film.shape[1] * scale)), max(1, round(film.shape[0] * scale)))
    return np.asarray(cv2.resize(film, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR))


def _noise(film: Map) -> float:
    rest = film - cv2.GaussianBlur(film, (0, 0), 2.0)
    return float(1.4826 * np.median(np.abs(rest - np.median(rest))))
