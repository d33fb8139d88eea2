"""The picture of an answer: the film as it is displayed, what was found on it, and how sure the model is.

No name, number or date of the header is on it, only what the film itself shows. Panels have the film's proportions and
one scale; a bar tells the scale where the spacing of the pixels is known.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from data_prep.shard_format.apply_display import apply
from data_prep.shard_format.film_codec import decode_film, reduction_for
from data_prep.shard_format.sidecar import Sidecar
from mae_rad.prediction.record import Finding, FoundBox, Record

SIDE = 960
"""Pixels of the longer side of a panel; a film is enlarged at most twofold."""
_LEAST_WIDTH = 620
_GAP, _LINE = 16, 24
_PAPER, _INK, _FAINT, _TRACK = (18, 19, 22), (236, 236, 232), (158, 160, 166), (52, 54, 60)
_COLOURS = ((230, 159, 0), (86, 180, 233), (0, 200, 140), (240, 228, 66), (213, 94, 0), (204, 121, 167), (90, 140, 255))
"""Told apart by colour-blind eyes too (Okabe & Ito), lightened for a dark ground."""
_FONT, _SMALL, _TITLE = (ImageFont.load_default(size) for size in (16, 13, 18))
_BAR, _NUMBER = 220, 64
_HEAT_SHARE = 0.8
"""Of the colour where a map is strongest; the film stays visible below."""

Pixels = NDArray[np.uint8]


class HeatMap(NamedTuple):
    """Where an answer comes from.

    Attributes:
        title: what the map shows.
        values: [rows, columns] of the patch grid, not negative.
    """

    title: str
    values: NDArray[np.float32]


def draw_overlay(
    stream: bytes, sidecar: Sidecar, record: Record, maps: Sequence[HeatMap], points: Mapping[str, Mapping[str, float]]
) -> Image.Image:
    """Draw one film.

    Args:
        stream: of the film.
        sidecar: of the film.
        record: its answer.
        maps: each becomes a panel beside the film.
        points: operating point → label → threshold.
    """
    film = shown(stream, sidecar)
    colours = _colours(record)
    first = _with_boxes(film, _drawn(record), (sidecar.source_rows, sidecar.source_columns), colours)
    panels = [("film" if maps else "", first)]
    panels += [(one.title, Image.fromarray(heated(film, one.values))) for one in maps]
    pictures = _arranged([_titled(title, panel) for title, panel in panels])
    scale = _scale_bar(sidecar, film.shape[0])
    table = _table(record, points, colours)
    width = max(_LEAST_WIDTH, pictures.width, table.width)
    parts = [_heading(record, width), pictures, *([scale] if scale else []), table, _footing(width)]
    page = Image.new("RGB", (width + 2 * _GAP, sum(part.height + _GAP for part in parts) + _GAP), _PAPER)
    top = _GAP
    for part in parts:
        page.paste(part, (_GAP, top))
        top += part.height + _GAP
    return page


def shown(stream: bytes, sidecar: Sidecar, side: int = SIDE) -> Pixels:
    """[rows, columns] the film as it is displayed, ``side`` pixels on its longer side, or twice its own if less."""
    scale = min(side / max(sidecar.rows, sidecar.columns), 2.0)
    rows, columns = (max(1, round(length * scale)) for length in (sidecar.rows, sidecar.columns))
    bits = sidecar.display.bits
    level = reduction_for(sidecar.rows, sidecar.columns, rows, columns)
    values = apply(decode_film(stream, bits=bits, reduction=level), sidecar.display)
    grey = np.rint(values / np.float32(257)).astype(np.uint8)
    way = cv2.INTER_AREA if grey.shape[0] >= rows else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(grey, (columns, rows), interpolation=way))


def heated(film: Pixels, values: NDArray[np.float32]) -> Pixels:
    """[rows, columns, 3] the film, coloured where ``values`` of a coarser grid are high against their highest."""
    high = float(values.max())
    strength = values / high if high > 0 else np.zeros_like(values)
    fine = np.clip(cv2.resize(strength, film.shape[::-1], interpolation=cv2.INTER_LINEAR), 0, 1)
    heat = cv2.applyColorMap(np.rint(fine * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    share = (_HEAT_SHARE * fine)[..., None]
    return np.asarray(np.rint(film[..., None] * (1 - share) + heat * share), dtype=np.uint8)


def _drawn(record: Record) -> list[FoundBox]:
    """Boxes that count as found, the surest on top."""
    return [box for box in reversed(record.boxes) if box.found]


def _colours(record: Record) -> dict[str, tuple[int, int, int]]:
    return {one.label: _COLOURS[place % len(_COLOURS)] for place, one in enumerate(record.findings)}


def _with_boxes(
    film: Pixels, boxes: Sequence[FoundBox], source: tuple[int, int], colours: Mapping[str, tuple[int, int, int]]
) -> Image.Image:
    picture = Image.fromarray(film).convert("RGB")
    pen = ImageDraw.Draw(picture)
    down, across = picture.height / source[0], picture.width / source[1]
    for box in boxes:
        colour = colours[box.label]
        left, right = box.x_min * across, max(box.x_max * across, box.x_min * across + 2)
        top, bottom = box.y_min * down, max(box.y_max * down, box.y_min * down + 2)
        pen.rectangle((left - 2, top - 2, right + 1, bottom + 1), outline=colour, width=2)  # around, not over it
        words = f"{box.label} {box.score:.2f}"
        wide, high = _SMALL.getlength(words) + 6, 17
        x = min(max(left - 2, 0), max(picture.width - wide, 0))
        y = top - 3 - high if top - 3 - high >= 0 else min(bottom + 3, picture.height - high)
        pen.rectangle((x, y, x + wide, y + high), fill=_PAPER)
        pen.text((x + 3, y + 1), words, fill=colour, font=_SMALL)
    return picture


def _titled(title: str, panel: Image.Image) -> Image.Image:
    if not title:
        return panel
    titled = Image.new("RGB", (max(panel.width, math.ceil(_SMALL.getlength(title))), panel.height + _LINE), _PAPER)
    ImageDraw.Draw(titled).text((0, 2), title, fill=_FAINT, font=_SMALL)
    titled.paste(panel, (0, _LINE))
    return titled


def _arranged(panels: Sequence[Image.Image]) -> Image.Image:
    """Side by side, or one under the other where films are wide."""
    stacked = panels[0].width > 1.5 * panels[0].height
    widths, heights = [panel.width for panel in panels], [panel.height for panel in panels]
    gaps = _GAP * (len(panels) - 1)
    size = (max(widths), sum(heights) + gaps) if stacked else (sum(widths) + gaps, max(heights))
    page = Image.new("RGB", size, _PAPER)
    place = 0
    for panel in panels:
        page.paste(panel, (0, place) if stacked else (place, 0))
        place += (panel.height if stacked else panel.width) + _GAP
    return page


def _scale_bar(sidecar: Sidecar, rows: int) -> Image.Image | None:
    """A bar of a round length below the film, about a fifth of it."""
    if sidecar.pixel_spacing_mm is None:
        return None
    per_mm = rows / (sidecar.rows * sidecar.pixel_spacing_mm[0])
    wanted = 0.2 * SIDE / per_mm
    length = 10 ** math.floor(math.log10(wanted))
    length *= max(step for step in (1, 2, 5) if step * length <= wanted)
    words = f"{length / 10:g} cm" if length >= 10 else f"{length:g} mm"
    words += {"ImagerPixelSpacing": " at the detector", "NominalScannedPixelSpacing": " on the sheet"}.get(
        sidecar.pixel_spacing_from or "", ""
    )
    bar = Image.new("RGB", (round(length * per_mm) + 12 + math.ceil(_SMALL.getlength(words)), 18), _PAPER)
    pen = ImageDraw.Draw(bar)
    end = round(length * per_mm) - 1
    for part in ((0, 8, end, 9), (0, 4, 1, 14), (end - 1, 4, end, 14)):
        pen.rectangle(part, fill=_INK)
    pen.text((end + 10, 1), words, fill=_FAINT, font=_SMALL)
    return bar


def _heading(record: Record, width: int) -> Image.Image:
    what = " ".join(word for word in (record.body_part, record.view, record.laterality) if word) or "body part unknown"
    frame = f", frame {record.frame}" if record.frame else ""
    heading = Image.new("RGB", (width, _LINE + (_LINE if record.reason else 0)), _PAPER)
    pen = ImageDraw.Draw(heading)
    pen.text((0, 0), f"film {record.number}{frame}: {what}", fill=_INK, font=_TITLE)
    if record.reason:
        words = f"out of scope: {record.reason.replace('_', ' ')}; the answer is a guess"
        pen.text((0, _LINE), words, fill=(255, 140, 90), font=_FONT)
    return heading


def _table(
    record: Record, points: Mapping[str, Mapping[str, float]], colours: Mapping[str, tuple[int, int, int]]
) -> Image.Image:
    """A line per label: name, number, bar with a tick at each threshold, and the highest of these that it reaches."""
    rows = record.findings
    name = max(_FONT.getlength(row.label) for row in rows) + _GAP
    told = [_reached(row, points) for row in rows]
    width = math.ceil(name + _NUMBER + _BAR + _GAP + max(_SMALL.getlength(words) for words in told))
    table = Image.new("RGB", (width, _LINE * len(rows)), _PAPER)
    pen = ImageDraw.Draw(table)
    for place, (row, words) in enumerate(zip(rows, told, strict=True)):
        top, bar = place * _LINE, name + _NUMBER
        lit = row.found
        pen.text((0, top + 3), row.label, fill=colours[row.label] if lit else _FAINT, font=_FONT)
        pen.text((name, top + 3), f"{row.score:.3f}", fill=_INK, font=_FONT)
        pen.rectangle((bar, top + 6, bar + _BAR, top + 18), fill=_TRACK)
        pen.rectangle((bar, top + 6, bar + _BAR * row.score, top + 18), fill=colours[row.label] if lit else _FAINT)
        for thresholds in points.values():
            if row.label in thresholds:
                tick = bar + _BAR * min(thresholds[row.label], 1.0)
                pen.line((tick, top + 3, tick, top + 21), fill=_INK, width=2)
        pen.text((bar + _BAR + _GAP, top + 4), words, fill=_INK if lit else _FAINT, font=_SMALL)
    return table


def _reached(row: Finding, points: Mapping[str, Mapping[str, float]]) -> str:
    """The strictest operating point that is reached, or the least strict one that is not."""
    rising = sorted(row.reached, key=lambda name: points[name][row.label])
    reached = [name for name in rising if row.reached[name]]
    words = f"reaches {reached[-1]}" if reached else f"below {rising[0]}" if rising else "no operating point is known"
    return words.replace("_", " ")


def _footing(width: int) -> Image.Image:
    footing = Image.new("RGB", (width, 18), _PAPER)
    words = "For research. Not a medical device. Ticks are the thresholds of the operating points."
    ImageDraw.Draw(footing).text((0, 1), words, fill=_FAINT, font=_SMALL)
    return footing
