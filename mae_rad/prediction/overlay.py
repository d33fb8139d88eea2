"""Draws the picture of a prediction: the film as displayed, boxes or heat maps, and scores.

Nothing of the header is drawn except body part, view and side. All panels have the proportions of the film and the same
scale; a scale bar is drawn where the pixel spacing is known.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
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
    draw_side_by_side,
    scale_film,
    stacked,
    to_grey_pixels,
    to_heat_pixels,
    wrap_text,
)
from data_prep.pages.film_thumbnail import decode_displayed_film
from data_prep.shard_format.sidecar import Sidecar
from mae_rad.prediction.record import Finding, FoundBox, Record

PANEL_PIXELS = 960
"""Longer side of a panel in pixels; a film is enlarged at most twofold."""
_MIN_WIDTH = 620
_LINE = 24
_TRACK, _CAUTION = (52, 54, 60), (255, 140, 90)
_BAR, _NUMBER = 220, 64
_HEAT_SHARE = 0.8
"""Opacity of the colour at the maximum of a heat map; the film stays visible below it."""


class HeatMap(NamedTuple):
    """Heat map of a prediction.

    Attributes:
        title: of the panel.
        values: [rows, columns] of the patch grid, not negative.
    """

    title: str
    values: NDArray[np.float32]


def draw_overlay(
    stream: bytes, sidecar: Sidecar, record: Record, maps: Sequence[HeatMap], points: Mapping[str, Mapping[str, float]]
) -> Image.Image:
    """Draw the picture of one film.

    Args:
        stream: encoded pixels of the film.
        sidecar: of the film.
        record: its prediction.
        maps: heat maps, each a panel next to the film.
        points: operating point → label → threshold.

    Returns:
        RGB picture.
    """
    film = display_film(stream, sidecar)
    colours = _label_colours(record)
    first = _draw_boxes(film, _found_boxes(record), (sidecar.source_rows, sidecar.source_columns), colours)
    panels = [SheetBlock(np.asarray(first), Caption("film") if maps else None)]
    panels += [SheetBlock(blend_heat_map(film, one.values), Caption(one.title)) for one in maps]
    pictures = draw_side_by_side(panels)
    scale = _scale_bar(sidecar, film.shape[0])
    table = _table(record, points, colours)
    width = max(_MIN_WIDTH, pictures.width, table.width)
    footing = _footing(width, thresholds=bool(record.findings))
    parts = [_heading(record, width), pictures, *([scale] if scale else []), table, footing]
    return stacked(parts, margin=GAP)


def display_film(stream: bytes, sidecar: Sidecar, side: int = PANEL_PIXELS) -> Pixels:
    """Display a film.

    Args:
        stream: encoded pixels.
        sidecar: of the film.
        side: longer side in pixels; at most twice that of the film is used.

    Returns:
        [rows, columns] uint8.
    """
    return to_grey_pixels(decode_displayed_film(stream, sidecar, min(side, 2 * max(sidecar.rows, sidecar.columns))))


def blend_heat_map(film: Pixels, values: NDArray[np.float32]) -> Pixels:
    """Blend a heat map over a film, in proportion to its maximum.

    Args:
        film: [rows, columns] uint8.
        values: of a coarser grid, not negative.

    Returns:
        [rows, columns, 3] uint8.
    """
    maximum = float(values.max())
    strength = values / maximum if maximum > 0 else np.zeros_like(values)
    fine = np.clip(scale_film(strength, film.shape), 0, 1)
    heat = to_heat_pixels(fine)
    share = (_HEAT_SHARE * fine)[..., None]
    return np.asarray(np.rint(film[..., None] * (1 - share) + heat * share), dtype=np.uint8)


def _found_boxes(record: Record) -> list[FoundBox]:
    """Boxes that count as found, in drawing order: the highest score on top."""
    return [box for box in reversed(record.boxes) if box.found]


def _label_colours(record: Record) -> dict[str, Colour]:
    return {one.label: PALETTE[place % len(PALETTE)] for place, one in enumerate(record.findings)}


def _draw_boxes(
    film: Pixels, boxes: Sequence[FoundBox], source: tuple[int, int], colours: Mapping[str, Colour]
) -> Image.Image:
    picture = Image.fromarray(film).convert("RGB")
    pen = ImageDraw.Draw(picture)
    down, across = picture.height / source[0], picture.width / source[1]
    for box in boxes:
        colour = colours[box.label]
        left, right = box.x_min * across, max(box.x_max * across, box.x_min * across + 2)
        top, bottom = box.y_min * down, max(box.y_max * down, box.y_min * down + 2)
        pen.rectangle(
            (left - 2, top - 2, right + 1, bottom + 1), outline=colour, width=2
        )  # around the object, not over it
        text = f"{box.label} {box.score:.2f}"
        text_width, text_height = FONT.getlength(text) + 6, 17
        x = min(max(left - 2, 0), max(picture.width - text_width, 0))
        y = top - 3 - text_height if top - 3 - text_height >= 0 else min(bottom + 3, picture.height - text_height)
        pen.rectangle((x, y, x + text_width, y + text_height), fill=PAPER)
        pen.text((x + 3, y + 1), text, fill=colour, font=FONT)
    return picture


def _scale_bar(sidecar: Sidecar, rows: int) -> Image.Image | None:
    """Scale bar of a round length, at most a fifth of the panel."""
    if sidecar.pixel_spacing_mm is None:
        return None
    per_mm = rows / (sidecar.rows * sidecar.pixel_spacing_mm[0])
    wanted = 0.2 * PANEL_PIXELS / per_mm
    length = 10 ** math.floor(math.log10(wanted))
    length *= max(step for step in (1, 2, 5) if step * length <= wanted)
    text = f"{length / 10:g} cm" if length >= 10 else f"{length:g} mm"
    text += {"ImagerPixelSpacing": " at the detector", "NominalScannedPixelSpacing": " on the sheet"}.get(
        sidecar.pixel_spacing_from or "", ""
    )
    bar = Image.new("RGB", (round(length * per_mm) + 12 + math.ceil(FONT.getlength(text)), 18), PAPER)
    pen = ImageDraw.Draw(bar)
    end = round(length * per_mm) - 1
    for part in ((0, 8, end, 9), (0, 4, 1, 14), (end - 1, 4, end, 14)):
        pen.rectangle(part, fill=INK)
    pen.text((end + 10, 1), text, fill=FAINT, font=FONT)
    return bar


def _heading(record: Record, width: int) -> Image.Image:
    what = " ".join(word for word in (record.body_part, record.view, record.laterality) if word) or "body part unknown"
    frame = f", frame {record.frame}" if record.frame else ""
    cautions = [f"{warning}." for warning in record.warnings]
    if record.reason:
        cautions.insert(0, f"out of scope: {record.reason.replace('_', ' ')}; the prediction is a guess")
    lines = [line for caution in cautions for line in wrap_text(caution, width, TITLE_FONT)]
    heading = Image.new("RGB", (width, _LINE * (1 + len(lines))), PAPER)
    pen = ImageDraw.Draw(heading)
    pen.text((0, 0), f"film {record.number}{frame}: {what}", fill=INK, font=TITLE_FONT)
    for place, line in enumerate(lines, 1):
        pen.text((0, place * _LINE), line, fill=_CAUTION, font=TITLE_FONT)
    return heading


class _Row(NamedTuple):
    """A line of the table.

    Attributes:
        name: of a label, number or class.
        figure: its score, or the number.
        text: behind the bar.
        share: length of the bar in [0, 1]; None draws none.
        ticks: places of thresholds on the bar.
        colour: of name and bar.
        is_answer: whether the label counts as found, or the class is predicted.
    """

    name: str
    figure: str
    text: str
    share: float | None
    ticks: tuple[float, ...]
    colour: Colour
    is_answer: bool


def _rows(record: Record, points: Mapping[str, Mapping[str, float]], colours: Mapping[str, Colour]) -> Iterator[_Row]:
    """A line per label, with the highest operating point reached, per number and per class."""
    for finding in record.findings:
        ticks = tuple(min(of[finding.label], 1.0) for of in points.values() if finding.label in of)
        colour = colours[finding.label] if finding.found else FAINT
        text = _operating_point_text(finding, points)
        yield _Row(finding.label, f"{finding.score:.3f}", text, finding.score, ticks, colour, finding.found)
    for number in record.numbers:
        yield _Row(number.label, f"{number.value:.4g}", number.unit, None, (), INK, is_answer=True)
    for answer in record.classes:
        for name, probability in answer.probabilities.items():
            predicted = name == answer.predicted
            text = "most probable" if predicted else ""
            colour = PALETTE[0] if predicted else FAINT
            yield _Row(f"{answer.label}: {name}", f"{probability:.3f}", text, probability, (), colour, predicted)


def _table(record: Record, points: Mapping[str, Mapping[str, float]], colours: Mapping[str, Colour]) -> Image.Image:
    """A line per label, number or class: name, figure, and a bar with a tick at each threshold."""
    rows = list(_rows(record, points, colours))
    name = max(TITLE_FONT.getlength(row.name) for row in rows) + GAP
    width = math.ceil(name + _NUMBER + _BAR + GAP + max(FONT.getlength(row.text) for row in rows))
    table = Image.new("RGB", (width, _LINE * len(rows)), PAPER)
    pen = ImageDraw.Draw(table)
    for place, row in enumerate(rows):
        top, bar = place * _LINE, name + _NUMBER
        pen.text((0, top + 3), row.name, fill=row.colour, font=TITLE_FONT)
        pen.text((name, top + 3), row.figure, fill=INK, font=TITLE_FONT)
        after = bar
        if row.share is not None:
            pen.rectangle((bar, top + 6, bar + _BAR, top + 18), fill=_TRACK)
            pen.rectangle((bar, top + 6, bar + _BAR * row.share, top + 18), fill=row.colour)
            for tick in (bar + _BAR * share for share in row.ticks):
                pen.line((tick, top + 3, tick, top + 21), fill=INK, width=2)
            after += _BAR + GAP
        pen.text((after, top + 4), row.text, fill=INK if row.is_answer else FAINT, font=FONT)
    return table


def _operating_point_text(row: Finding, points: Mapping[str, Mapping[str, float]]) -> str:
    """The operating point of the highest threshold that is reached, or of the lowest one if none is."""
    rising = sorted(row.reached, key=lambda name: points[name][row.label])
    reached = [name for name in rising if row.reached[name]]
    text = f"reaches {reached[-1]}" if reached else f"below {rising[0]}" if rising else "no operating point is known"
    return text.replace("_", " ")


def _footing(width: int, *, thresholds: bool) -> Image.Image:
    footing = Image.new("RGB", (width, 18), PAPER)
    text = "For research. Not a medical device."
    text += " Ticks are the thresholds of the operating points." if thresholds else ""
    ImageDraw.Draw(footing).text((0, 1), text, fill=FAINT, font=FONT)
    return footing
