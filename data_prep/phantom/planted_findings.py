"""Computes size and contrast of planted foreign objects and fractures.

Size and contrast are those at training size T = 1024: the film is scaled so that its content box (the body inside the
field) covers 1024 patches of 16 pixels. There the contrast-to-noise ratio is

    mean over the finding of |ln-signal with it - ln-signal without it| / σ,

with σ the robust deviation (1.4826 × median absolute deviation) of the noisy film without the finding in its
neighbourhood, after subtraction of a smoothed film (Gaussian, 2 pixels): quantum noise and texture without outlines of
bones.
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
LINE_PAD = 1.5
"""Margin of the box around a fracture line, pixels at T = 1024."""
_MIN_BOX_SIDE = 6.0
_CALLUS_REACH, _CALLUS_WIDTH = 3.0, 1.3
"""Extent of a callus along the bone relative to the gap (standard deviations), and across relative to the bone."""
_MIN_CONTENT_SHARE = 0.25
MAX_ENLARGEMENT = 2.0
"""Largest enlargement of a film at training size (``mae_rad/data/patch_layout.py``)."""

Box = tuple[float, float, float, float]
"""x_min, y_min, x_max, y_max in source raster pixels; the right and lower ends are exclusive."""


@dataclass(frozen=True)
class Planted:
    """A planted finding.

    Attributes:
        kind: kind of the object, or fracture.
        box: position in the film.
        size: longer side of the box, pixels at T = 1024.
        contrast_to_noise: contrast-to-noise ratio that was reached.
        amplitude: attenuation of an object; fraction of the bone that a fracture line removes, or 1 + attenuation of
            the callus.
    """

    kind: str
    box: Box
    size: float
    contrast_to_noise: float
    amplitude: float


@dataclass(frozen=True)
class Window:
    """A rectangle of the film, pixels."""

    top: int
    left: int
    rows: int
    columns: int

    def cut(self) -> tuple[slice, slice]:
        """The slices of rows and columns of the window."""
        return slice(self.top, self.top + self.rows), slice(self.left, self.left + self.columns)


def training_scale(content: NDArray[np.bool_], max_enlargement: float = MAX_ENLARGEMENT) -> float:
    """Compute the scale of a film at training size.

    Args:
        content: [rows, columns] True for the body in the field.
        max_enlargement: largest result; infinite for the scale that a finer detector would have.

    Returns:
        Pixels at T = 1024 per source pixel.
    """
    down, across = np.flatnonzero(content.any(axis=1)), np.flatnonzero(content.any(axis=0))
    area = float(content.size)
    if down.size:
        area = max(float((down[-1] - down[0] + 1) * (across[-1] - across[0] + 1)), _MIN_CONTENT_SHARE * area)
    return min(math.sqrt(TOKENS * PATCH * PATCH / area), max_enlargement)


def surrounding_window(box: Box, scale: float, shape: tuple[int, int]) -> Window:
    """Compute the neighbourhood of a finding, in which the noise is measured; the film is unchanged outside of it.

    Args:
        box: box of the finding.
        scale: pixels at T = 1024 per source pixel.
        shape: rows and columns of the film.
    """
    margin = max(10 / scale, 0.5 * max(box[2] - box[0], box[3] - box[1]))
    top, left = max(int(box[1] - margin), 0), max(int(box[0] - margin), 0)
    bottom, right = min(int(box[3] + margin) + 1, shape[0]), min(int(box[2] + margin) + 1, shape[1])
    return Window(top, left, bottom - top, right - left)


def contrast_to_noise(without: Map, noisy: Map, weight: Map, scale: float) -> Callable[[Map], float]:
    """Prepare the contrast-to-noise ratio (see the module) of log films of one window.

    Args:
        without: [rows, columns] film without the finding and without noise.
        noisy: [rows, columns] film without the finding, with noise.
        weight: [rows, columns] shape of the finding.
        scale: pixels at T = 1024 per pixel.

    Returns:
        Function of the film with the finding, without noise.
    """
    shape = _resize_to_training_size(weight, scale)
    inside = shape >= 0.5 * shape.max()
    noise = max(_noise(_resize_to_training_size(noisy, scale)), 1e-6)

    def ratio(with_it: Map) -> float:
        difference = np.abs(_resize_to_training_size(with_it - without, scale))
        return float(difference[inside].mean() / noise)

    return ratio


def solve_amplitude(ratio: Callable[[float], float], wanted_ratio: float, max_amplitude: float) -> tuple[float, float]:
    """Solve ``ratio(amplitude) = wanted_ratio`` by bisection.

    Args:
        ratio: increasing function of the amplitude.
        wanted_ratio: contrast-to-noise ratio.
        max_amplitude: largest amplitude.

    Returns:
        Amplitude in (0, max_amplitude], and the ratio that it reaches.
    """
    low, high = 0.0, max_amplitude
    reached = ratio(high)
    if reached <= wanted_ratio:
        return high, reached
    for _ in range(14):
        middle = (low + high) / 2
        if ratio(middle) < wanted_ratio:
            low = middle
        else:
            high = middle
    return high, ratio(high)


@dataclass(frozen=True)
class FractureLine:
    """A fracture line across a bone, on the raster of the bone.

    Attributes:
        line: [rows, columns] 1 on the line, falling to 0 over the width of the gap.
        flow: [rows, columns, 2] displacement (x, y) of each pixel of the displaced bone, pixels.
        box: on the raster of the bone.
        callus: [rows, columns] shape of the callus on both sides of the line, 0 to 1; None without callus.
    """

    line: Map
    flow: Map
    box: Box
    callus: Map | None = None

    def finding(self, amplitude: float) -> Map:
        """Shape of the fracture at an amplitude: the line, with the callus for amplitudes above 1."""
        return np.maximum(self.line, self.callus) if self.callus is not None and amplitude > 1 else self.line


def draw_fracture_line(
    shape: tuple[int, int],
    site: Site,
    length: float,
    scale: float,
    draw: np.random.Generator,
    gaping: float = 1.0,
    level_gap: float = 1.0,
    min_box: float = _MIN_BOX_SIDE,
    has_callus: bool = False,
) -> FractureLine:
    """Draw a jagged line that starts at the cortex, with a displacement of one side.

    A line that is longer than the width of the bone is oblique, at most 65° from perpendicular to the axis.

    Args:
        shape: rows and columns of the raster of the bone.
        site: position on the bone, on this raster.
        length: approximate length, pixels.
        scale: pixels at T = 1024 per pixel.
        draw: random generator.
        gaping: factor of the width of the gap.
        level_gap: factor of the width of the gap and of the displacement.
        min_box: least longer side of the box, pixels at T = 1024.
        has_callus: whether the box has room for a callus.
    """
    ax, ay = site.axis
    half = max(site.half_width, 1.0)
    tilt = draw.normal(0, 0.3)
    if length > 2 * half / math.cos(tilt):
        tilt = math.copysign(min(math.acos(min(2 * half / length, 1.0)), math.radians(65)), draw.normal())
    across = min(length * math.cos(tilt), 2 * half)
    start_side = 1.0 if draw.random() < 0.5 else -1.0
    dx = (np.arange(shape[1], dtype=np.float32) - np.float32(site.x))[None, :]
    dy = (np.arange(shape[0], dtype=np.float32) - np.float32(site.y))[:, None]
    along = dx * np.float32(ax) + dy * np.float32(ay)
    side = (dy * np.float32(ax) - dx * np.float32(ay)) * np.float32(start_side) + np.float32(half)
    knots = np.linspace(0, 2 * half, 7)
    offsets = np.clip(draw.normal(0, 0.04, 7), -0.05, 0.05) * min(length, 3 * half)
    jag = np.interp(np.arange(0, 2 * half + 1, 0.5), knots, offsets)
    path = np.float32(math.tan(tilt)) * (side - np.float32(half))
    path = path + jag.astype(np.float32)[np.clip(side * 2, 0, len(jag) - 1).astype(np.int32)]
    gap = np.float32(draw.uniform(0.55, 0.9) * gaping * level_gap / scale)
    away = (along - path) * np.float32(math.cos(tilt))
    fade = np.clip((np.float32(across) - side) / np.float32(2 * gap), 0, 1) * np.clip(
        side / np.float32(2 * gap) + 1, 0, 1
    )
    line = np.exp(-0.5 * (away / gap) ** 2) * fade
    offset = np.float32(start_side * min(draw.uniform(0.5, 2.2) * level_gap / scale, 0.12 * length))
    # the displacement decreases with the distance from the line
    beyond = np.maximum(along - path, 0) / np.float32(0.25 * length)
    inward = np.maximum(side - np.float32(across), 0) / np.float32(0.5 * half)
    moved = offset * (along > path) * np.exp(-beyond - inward)
    flow = np.stack((moved * np.float32(-ay), moved * np.float32(ax)), axis=-1).astype(np.float32)
    callus = _draw_callus(line, away / (_CALLUS_REACH * gap), (side - np.float32(half)) / np.float32(half), fade)
    extent = np.maximum(line, 0.6 * callus) if has_callus else line
    box = _box(extent, LINE_PAD / scale, min_box / scale)
    return FractureLine(np.asarray(line, dtype=np.float32), flow, box, callus if has_callus else None)


def _draw_callus(line: Map, away: Map, lateral: Map, fade: Map) -> Map:
    """Shape of a callus: a sleeve around both ends of the bone, open at the line; greatest value 1."""
    swollen = np.sqrt(np.maximum(1 - (lateral / _CALLUS_WIDTH) ** 2, 0))
    callus = swollen * np.exp(-0.5 * away**2) * (fade > 0) * (1 - line)
    return np.asarray(callus / max(float(callus.max()), 1e-6), dtype=np.float32)


def break_bone(bone: Map, fracture_line: FractureLine, amplitude: float) -> Map:
    """Displace one side of the bone, remove the line, and add a callus.

    Args:
        bone: [rows, columns] attenuation of the bone.
        fracture_line: the line, on the same raster.
        amplitude: strength of the fracture, 0 (intact bone) to 1 (open gap); what exceeds 1 is the attenuation of the
            callus.
    """
    opening = min(amplitude, 1.0)
    rows, columns = np.indices(bone.shape, dtype=np.float32)
    x, y = (
        grid - fracture_line.flow[..., k] * np.float32(math.sqrt(opening)) for k, grid in enumerate((columns, rows))
    )
    moved = cv2.remap(bone, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    broken = moved * (1 - np.float32(opening) * fracture_line.line)
    if fracture_line.callus is not None and amplitude > 1:
        broken = broken + np.float32(amplitude - 1) * fracture_line.callus
    return np.asarray(broken, dtype=np.float32)


def _box(line: Map, pad: float, min_side: float) -> Box:
    """Box of the line with a margin of ``pad`` pixels; its longer side has at least ``min_side`` pixels."""
    rows, columns = np.flatnonzero(line.max(axis=1) > 0.3), np.flatnonzero(line.max(axis=0) > 0.3)
    if rows.size == 0:
        return 0.0, 0.0, 0.0, 0.0
    left, top, right, bottom = columns[0] - pad, rows[0] - pad, columns[-1] + 1 + pad, rows[-1] + 1 + pad
    padding = max(min_side - max(right - left, bottom - top), 0.0) / 2
    return float(left - padding), float(top - padding), float(right + padding), float(bottom + padding)


def _resize_to_training_size(film: Map, scale: float) -> Map:
    size = (max(1, round(film.shape[1] * scale)), max(1, round(film.shape[0] * scale)))
    return np.asarray(cv2.resize(film, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR))


def _noise(film: Map) -> float:
    residual = film - cv2.GaussianBlur(film, (0, 0), 2.0)
    return float(1.4826 * np.median(np.abs(residual - np.median(residual))))
