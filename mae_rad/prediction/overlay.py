"""The picture of an answer: the film as it is displayed, what was found on it, and how sure the model is.

No name, number or date of the header is on it, only what the film itself shows. Panels have the film's proportions and
one scale; a bar tells the scale where the spacing of the pixels is known.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from data_prep.pages.contact_sheet import (
    FAINT,
    FONT,
    GAP,
    INK,
    PALETTE,
    PAPER,
    TITLE_FONT,
    Caption,
    Colour,
    Pixels,
    SheetBlock,
    grey_pixels,
    heat_pixels,
    scale_film,
    side_by_side,
    stacked,
)
from data_prep.pages.film_thumbnail import displayed_film
from data_prep.shard_format.sidecar import Sidecar
from mae_rad.prediction.record import Finding, FoundBox, Record

SIDE = 960
"""Pixels of the longer side of a panel; a film is enlarged at most twofold."""
_LEAST_WIDTH = 620
_LINE = 24
_TRACK = (52, 54, 60)
_BAR, _NUMBER = 220, 64
_HEAT_SHARE = 0.8
"""Of the colour where a map is strongest; the film stays visible below."""


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
    panels = [SheetBlock(np.asarray(first), Caption("film") if maps else None)]
    panels += [SheetBlock(heated(film, one.values), Caption(one.title)) for one in maps]
    pictures = side_by_side(panels)
    scale = _scale_bar(sidecar, film.shape[0])
    table = _table(record, points, colours)
    width = max(_LEAST_WIDTH, pictures.width, table.width)
    parts = [_heading(record, width), pictures, *([scale] if scale else []), table, _footing(width)]
    return stacked(parts, margin=GAP)


def shown(stream: bytes, sidecar: Sidecar, side: int = SIDE) -> Pixels:
    """[rows, columns] the film as it is displayed, ``side`` pixels on its longer side, or twice its own if less."""
    return grey_pixels(displayed_film(stream, sidecar, min(side, 2 * max(sidecar.rows, sidecar.columns))))


def heated(film: Pixels, values: NDArray[np.float32]) -> Pixels:
    """[rows, columns, 3] the film, coloured where ``values`` of a coarser grid are high against their highest."""
    high = float(values.max())
    strength = values / high if high > 0 else np.zeros_like(values)
    fine = np.clip(scale_film(strength, film.shape), 0, 1)
    heat = heat_pixels(fine)
    share = (_HEAT_SHARE * fine)[..., None]
    return np.asarray(np.rint(film[..., None] * (1 - share) + heat * share), dtype=np.uint8)


def _drawn(record: Record) -> list[FoundBox]:
    """Boxes that count as found, the surest on top."""
    return [box for box in reversed(record.boxes) if box.found]


def _colours(record: Record) -> dict[str, Colour]:
    return {one.label: PALETTE[place % len(PALETTE)] for place, one in enumerate(record.findings)}


def _with_boxes(
    film: Pixels, boxes: Sequence[FoundBox], source: tuple[int, int], colours: Mapping[str, Colour]
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
        wide, high = FONT.getlength(words) + 6, 17
        x = min(max(left - 2, 0), max(picture.width - wide, 0))
        y = top - 3 - high if top - 3 - high >= 0 else min(bottom + 3, picture.height - high)
        pen.rectangle((x, y, x + wide, y + high), fill=PAPER)
        pen.text((x + 3, y + 1), words, fill=colour, font=FONT)
    return picture


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
    bar = Image.new("RGB", (round(length * per_mm) + 12 + math.ceil(FONT.getlength(words)), 18), PAPER)
    pen = ImageDraw.Draw(bar)
    end = round(length * per_mm) - 1
    for part in ((0, 8, end, 9), (0, 4, 1, 14), (end - 1, 4, end, 14)):
        pen.rectangle(part, fill=INK)
    pen.text((end + 10, 1), words, fill=FAINT, font=FONT)
    return bar


def _heading(record: Record, width: int) -> Image.Image:
    what = " ".join(word for word in (record.body_part, record.view, record.laterality) if word) or "body part unknown"
    frame = f", frame {record.frame}" if record.frame else ""
    heading = Image.new("RGB", (width, _LINE + (_LINE if record.reason else 0)), PAPER)
    pen = ImageDraw.Draw(heading)
    pen.text((0, 0), f"film {record.number}{frame}: {what}", fill=INK, font=TITLE_FONT)
    if record.reason:
        words = f"out of scope: {record.reason.replace('_', ' ')}; the answer is a guess"
        pen.text((0, _LINE), words, fill=(255, 140, 90), font=TITLE_FONT)
    return heading


def _table(record: Record, points: Mapping[str, Mapping[str, float]], colours: Mapping[str, Colour]) -> Image.Image:
    """A line per label: name, number, bar with a tick at each threshold, and the highest of these that it reaches."""
    rows = record.findings
    name = max(TITLE_FONT.getlength(row.label) for row in rows) + GAP
    told = [_reached(row, points) for row in rows]
    width = math.ceil(name + _NUMBER + _BAR + GAP + max(FONT.getlength(words) for words in told))
    table = Image.new("RGB", (width, _LINE * len(rows)), PAPER)
    pen = ImageDraw.Draw(table)
    for place, (row, words) in enumerate(zip(rows, told, strict=True)):
        top, bar = place * _LINE, name + _NUMBER
        lit = row.found
        pen.text((0, top + 3), row.label, fill=colours[row.label] if lit else FAINT, font=TITLE_FONT)
        pen.text((name, top + 3), f"{row.score:.3f}", fill=INK, font=TITLE_FONT)
        pen.rectangle((bar, top + 6, bar + _BAR, top + 18), fill=_TRACK)
        pen.rectangle((bar, top + 6, bar + _BAR * row.score, top + 18), fill=colours[row.label] if lit else FAINT)
        for thresholds in points.values():
            if row.label in thresholds:
                tick = bar + _BAR * min(thresholds[row.label], 1.0)
                pen.line((tick, top + 3, tick, top + 21), fill=INK, width=2)
        pen.text((bar + _BAR + GAP, top + 4), words, fill=INK if lit else FAINT, font=FONT)
    return table


def _reached(row: Finding, points: Mapping[str, Mapping[str, float]]) -> str:
    """The strictest operating point that is reached, or the least strict one that is not."""
    rising = sorted(row.reached, key=lambda name: points[name][row.label])
    reached = [name for name in rising if row.reached[name]]
    words = f"reaches {reached[-1]}" if reached else f"below {rising[0]}" if rising else "no operating point is known"
    return words.replace("_", " ")


def _footing(width: int) -> Image.Image:
    footing = Image.new("RGB", (width, 18), PAPER)
    words = "For research. Not a medical device. Ticks are the thresholds of the operating points."
    ImageDraw.Draw(footing).text((0, 1), words, fill=FAINT, font=FONT)
    return footing
