"""Reconstructions on one sheet: each film beside what the encoder saw of it, what was predicted, and the error."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

WHITE = 65535
LARGEST_ERROR = 0.25
"""Absolute error, as a fraction of the display range, that the error map shows brightest."""

PANELS = ("film", "seen by the encoder", "reconstruction", "error")

_HIDDEN = np.array((24, 40, 72), np.uint8)
"""Blue, so that a hidden patch is not taken for a grey one."""

_GAP, _LINE, _SHEET_WIDTH = 12, 18, 1900
_SMALL, _LARGE = 256, 768
"""Sides in pixels of a square film: up to the first it is shown twice as large, beyond the second smaller."""

_FONT = ImageFont.load_default(13)


class Reconstruction(NamedTuple):
    """One film, legend: R rows and S columns of patches, p patch side.

    Attributes:
        caption: what is on the film.
        film: [R * p, S * p] uint16 display values.
        guess: [R * p, S * p] float32, the film with the predicted patches in their places.
        seen: [R, S] which patches the encoder saw.
        predicted: [R, S] which patches it predicted.
        shape: (rows, columns) that the film has in truth; its patches are whole, so the image is stretched a little.
    """

    caption: str
    film: NDArray[np.uint16]
    guess: NDArray[np.float32]
    seen: NDArray[np.bool_]
    predicted: NDArray[np.bool_]
    shape: tuple[float, float]


def sheet(films: Sequence[Reconstruction], *, tokens: int, patch: int, contrast_given: bool) -> Image.Image:
    """All films on one sheet, under a legend; the panels of a film have equal scale and its true proportions.

    Args:
        films: in the order of the sheet.
        tokens: T.
        patch: side in pixels.
        contrast_given: brightness and contrast of the predicted patches are those of the film, not predicted.
    """
    zoom = _zoom(tokens**0.5 * patch)
    blocks = [_block(film, zoom) for film in films]
    width = max(_SHEET_WIDTH, *(block.width + 2 * _GAP for block in blocks))
    legend = _legend(tokens, contrast_given, width)
    rows = shelves(blocks, width)
    height = legend.height + sum(max(block.height for block in row) + _GAP for row in rows)
    page = Image.new("RGB", (width, height), "black")
    page.paste(legend, (0, 0))
    top = legend.height
    for row in rows:
        left = _GAP
        for block in row:
            page.paste(block, (left, top))
            left += block.width + 2 * _GAP
        top += max(block.height for block in row) + _GAP
    return page


def panels(film: Reconstruction, zoom: float = 1.0) -> list[NDArray[np.uint8]]:
    """The images of PANELS, [rows, columns, 3] uint8, in the proportions of the film."""
    film_side = film.film.shape[0] // film.seen.shape[0]
    seen, predicted = (
        np.repeat(np.repeat(part, film_side, axis=0), film_side, axis=1) for part in (film.seen, film.predicted)
    )
    grey = _coloured(film.film)
    visible = np.where(seen[..., None], grey, _HIDDEN)
    told = np.where((seen | predicted)[..., None], _coloured(film.guess), _HIDDEN)
    off = np.abs(film.guess - film.film) / (LARGEST_ERROR * WHITE)
    heat = np.where((seen | predicted)[..., None], _heat(np.where(predicted, off, 0)), _HIDDEN)
    return [_resized(panel, film.shape, zoom) for panel in (grey, visible, told, heat)]


def _coloured(values: NDArray[Any]) -> NDArray[np.uint8]:
    grey = np.rint(np.clip(values.astype(np.float32), 0, WHITE) / (WHITE / 255)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def _heat(error: NDArray[np.floating]) -> NDArray[np.uint8]:
    scaled = np.rint(np.clip(error, 0, 1) * 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(cv2.applyColorMap(scaled, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB))


def _zoom(side: float) -> float:
    return 2.0 if side <= _SMALL else min(1.0, _LARGE / side)


def _resized(panel: NDArray[np.uint8], shape: tuple[float, float], zoom: float) -> NDArray[np.uint8]:
    scale = zoom * (panel.shape[0] * panel.shape[1] / (shape[0] * shape[1])) ** 0.5
    rows, columns = (max(1, round(side * scale)) for side in shape)
    if max(abs(rows - panel.shape[0]), abs(columns - panel.shape[1])) <= 1:
        return panel
    way = cv2.INTER_AREA if rows * columns < panel.shape[0] * panel.shape[1] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(panel, (columns, rows), interpolation=way))


def _block(film: Reconstruction, zoom: float) -> Image.Image:
    """Caption and named panels of one film: side by side, or one under the other where it is wide."""
    images = panels(film, zoom)
    rows, columns = images[0].shape[:2]
    widest = max(columns, *(int(_FONT.getlength(name)) for name in PANELS))
    stacked = columns > 2 * rows
    step_x, step_y = (0, rows + _LINE + _GAP // 2) if stacked else (widest + _GAP // 2, 0)
    caption = f"{film.caption}: {film.seen.sum()} of {film.seen.size} patches seen, {film.predicted.sum()} predicted"
    width = max(3 * step_x + widest, int(_FONT.getlength(caption)))
    block = Image.new("RGB", (width, 2 * _LINE + rows + 3 * step_y), "black")
    pen = ImageDraw.Draw(block)
    pen.text((0, 1), caption, fill=(160, 200, 255), font=_FONT)
    for place, (name, image) in enumerate(zip(PANELS, images, strict=True)):
        left, top = place * step_x, _LINE + place * step_y
        pen.text((left, top), name, fill=(170, 170, 170), font=_FONT)
        block.paste(Image.fromarray(image), (left, top + _LINE))
    return block


def _legend(tokens: int, contrast_given: bool, width: int) -> Image.Image:
    lines = [f"T = {tokens}. Blue: not shown to the encoder; in the reconstruction, not predicted either."]
    if contrast_given:
        lines.append("Brightness and contrast of each predicted patch are those of the film, not predicted.")
    page = Image.new("RGB", (width, (len(lines) + 1) * _LINE + 2 * _GAP), "black")
    pen = ImageDraw.Draw(page)
    for number, line in enumerate(lines):
        pen.text((_GAP, _GAP // 2 + number * _LINE), line, fill="white", font=_FONT)
    top = _GAP // 2 + len(lines) * _LINE
    before, after = "Error: 0 ", f" {LARGEST_ERROR:.0%} of the display range or more; none where the encoder saw"
    bar = _heat(np.tile(np.linspace(0, 1, 160, dtype=np.float32), (_LINE - 6, 1)))
    left = _GAP + int(_FONT.getlength(before))
    pen.text((_GAP, top), before, fill="white", font=_FONT)
    page.paste(Image.fromarray(bar), (left, top + 3))
    pen.text((left + 160, top), after, fill="white", font=_FONT)
    return page


def shelves(blocks: Sequence[Image.Image], width: int) -> list[list[Image.Image]]:
    """Blocks in their order, as many beside each other as fit."""
    rows: list[list[Image.Image]] = []
    used = 0
    for block in blocks:
        if not rows or used + block.width + 2 * _GAP > width:
            rows.append([])
            used = 0
        rows[-1].append(block)
        used += block.width + 2 * _GAP
    return rows
