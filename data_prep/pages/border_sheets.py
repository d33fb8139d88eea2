"""Contact sheets of the borders of films, for a person to sign off: text that is burned in stands near an edge.

OUT/
  <number>_<maker>_<model>_<size>.png   films from one kind of device and of about one size
  films.csv                             sheet, line, key, maker, model, size, letter-like marks, verdict (empty)

Every line shows the four borders of one film, those at the sides turned to lie flat, with local contrast raised so that
faint text shows; the most text-like films come first. The first line lays the thin strokes of all films of the sheet
over each other: what a device writes on every film stands out there.
"""

import csv
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_prep.errors import ShardFormatError
from data_prep.pages.contact_sheet import (
    FRAME,
    LegendEntry,
    Pixels,
    SheetBlock,
    Shelves,
    contact_sheet,
    fitted_size,
    scale_film,
)
from data_prep.pages.film_thumbnail import read_displayed_film
from data_prep.runtime.atomic_write import atomic_file
from data_prep.runtime.progress import Progress
from data_prep.shard_format.index import read_index

FILMS_PER_SHEET = 12
SAMPLED = 4
"""So many times as many films are looked at to find the most text-like ones of a group."""
_BAND = 0.10
"""Part of the film that counts as border."""
_WIDTH, _MAX_HEIGHT = 720, 120
_STEP = 500
"""Pixels of the longer side by which sizes are told apart."""
_GREY = 128
_STROKE = 9
"""Pixels; strokes of letters are thinner, edges of the anatomy are not."""
_CONTRAST = 40
_LETTER = (3, 40)
"""Pixels: smallest and largest side of a letter."""
_MIN_LETTERS = 3


@dataclass(frozen=True)
class BorderSheets:
    """What was drawn: folder, sheets, films on them, and films in all the groups."""

    out: Path
    sheets: int
    shown: int
    films: int

    def __str__(self) -> str:
        return (
            f"{self.out}: {self.sheets} sheets with {self.shown} of {self.films} films; look at each, and note films"
            " with a name, number or date in films.csv"
        )


@dataclass(frozen=True)
class _Film:
    row: dict[str, Any]
    strips: tuple[Pixels, ...]
    strokes: tuple[Pixels, ...]
    letters: int


def write_border_sheets(public: Path, out: Path, *, films: int = FILMS_PER_SHEET) -> BorderSheets:
    """Draw one sheet per maker, model and size, with up to ``films`` (at least one) films.

    Raises:
        ShardFormatError: the folder is missing or unfinished, or ``out`` is not empty or cannot be written.
    """
    index = read_index(public).to_pylist()
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in index:
        groups[row["manufacturer"] or "maker unknown", row["model"] or "model unknown", _size(row)].append(row)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    progress = Progress("borders", "sheets", len(ordered))
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise ShardFormatError(f"{out} holds files already; give a new or an empty folder as --out")
        with (out / "films.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(("sheet", "line", "key", "maker", "model", "size", "letters", "verdict"))
            shown = 0
            for number, (group, rows) in enumerate(ordered, 1):
                name = f"{number:04d}_{re.sub('[^A-Za-z0-9]+', '-', '_'.join(group))}.png"
                drawn = _chosen(public, rows, films)
                with atomic_file(out / name) as sheet:
                    title = f"{' · '.join(group)} · {len(drawn)} of {len(rows)} films"
                    _sheet(drawn, title).save(sheet, format="PNG")
                lines = enumerate(drawn, 1)
                table.writerows((name, line, film.row["key"], *group, film.letters, "") for line, film in lines)
                shown += len(drawn)
                progress.add()
    except OSError as error:
        raise ShardFormatError(f"the sheets cannot be written into {out} ({error.strerror})") from None
    finally:
        progress.close()
    return BorderSheets(out, len(ordered), shown, len(index))


def _size(row: dict[str, Any]) -> str:
    """Films of about one size: devices that crop to the collimation give every film its own."""
    rows, columns = row["source_rows"], row["source_columns"]
    shape = "upright" if rows > 1.05 * columns else "wide" if columns > 1.05 * rows else "square"
    return f"{shape} {max(_STEP, round(max(rows, columns) / _STEP) * _STEP)}"


def _chosen(public: Path, rows: Sequence[dict[str, Any]], films: int) -> list[_Film]:
    """Of a sample (the order of the index is random), the films with most letters, and as many others."""
    sample = [_film(public, row) for row in rows[: SAMPLED * films]]
    by_letters = sorted(sample, key=lambda film: -film.letters)
    first = by_letters[: films - films // 2]
    keys = {film.row["key"] for film in first}
    others = [film for film in sample if film.row["key"] not in keys][: films // 2]
    return sorted([*first, *others], key=lambda film: -film.letters)


def _film(public: Path, row: dict[str, Any]) -> _Film:
    values, _ = read_displayed_film(public, row)
    borders = _borders((values >> 8).astype(np.uint8))
    strips = tuple(cv2.createCLAHE(3.0, (2, 12)).apply(_fitted(border)) for border in borders)
    strokes = tuple(_fitted(_relief(*_strokes(border))) for border in borders)
    return _Film(row, strips, strokes, sum(_letters(border) for border in borders))


def _borders(grey: Pixels) -> tuple[Pixels, ...]:
    """Top, bottom, left and right border; those at the sides turned by 90°."""
    down, across = (max(1, round(_BAND * side)) for side in grey.shape)
    top, bottom, left, right = grey[:down], grey[-down:], grey[:, :across], grey[:, -across:]
    turned = np.rot90(left, -1), np.rot90(right)
    return tuple(np.ascontiguousarray(border) for border in (top, bottom, *turned))


def _fitted(border: Pixels) -> Pixels:
    """Border as wide as its place on the sheet, or as high."""
    return scale_film(border, fitted_size(border.shape, (_MAX_HEIGHT, _WIDTH)))


def _strokes(border: Pixels) -> tuple[Pixels, Pixels]:
    """What is thin: brighter, and darker than around."""
    kernel = np.ones((_STROKE, _STROKE), np.uint8)
    bright, dark = (cv2.morphologyEx(border, kind, kernel) for kind in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT))
    return np.asarray(bright), np.asarray(dark)


def _relief(bright: Pixels, dark: Pixels) -> Pixels:
    """Thin structure on grey: what is brighter than around is brighter, what is darker is darker."""
    return np.asarray(_GREY + bright // 2 - dark // 2, dtype=np.uint8)


def _letters(border: Pixels) -> int:
    """How many things of the size and stroke of letters stand in rows."""
    found = 0
    for strokes in _strokes(border):
        _, _, stats, centres = cv2.connectedComponentsWithStats((strokes > _CONTRAST).astype(np.uint8), connectivity=8)
        sides = stats[1:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]]
        fits = (sides.max(axis=1) <= _LETTER[1]) & (sides[:, 1] >= _LETTER[0] + 2) & (stats[1:, cv2.CC_STAT_AREA] >= 6)
        found += _in_rows(centres[1:][fits], sides[fits])
    return found


def _in_rows(centres: NDArray[np.float64], sides: NDArray[np.int32]) -> int:
    """Letters with another of about the same height beside them, in groups of at least three."""
    if len(centres) < _MIN_LETTERS or len(centres) > 4000:
        return 0
    order = np.argsort(centres[:, 0])
    x, y, height = centres[order, 0], centres[order, 1], sides[order, 1].astype(np.float64)
    beside = 0
    run = 1
    for one, other in zip(range(len(x) - 1), range(1, len(x)), strict=True):
        near = x[other] - x[one] < 1.6 * height[one] + 4 and abs(y[other] - y[one]) < 0.4 * height[one]
        run = run + 1 if near and 0.6 < height[other] / height[one] < 1.7 else 1
        beside += 1 if run >= _MIN_LETTERS else 0
    return beside


def _sheet(films: Sequence[_Film], title: str) -> Image.Image:
    lines = [Shelves(_blocks(_overlaid(films)), "thin strokes of all films below")] if len(films) > 1 else []
    lines += [Shelves(_blocks(film.strips), _caption(number, film)) for number, film in enumerate(films, 1)]
    legend = [LegendEntry("each film: top | bottom border above, left | right border (turned) below; contrast raised")]
    return contact_sheet(lines, title, legend, per_shelf=2, cell=_WIDTH)


def _blocks(strips: Sequence[Pixels]) -> list[SheetBlock]:
    return [SheetBlock(strip, border=FRAME) for strip in strips]


def _overlaid(films: Sequence[_Film]) -> tuple[Pixels, ...]:
    """Of every side, the strongest stroke of any film at each place."""
    overlaid = []
    for strokes in zip(*(film.strokes for film in films), strict=True):
        frame = np.full(np.max([one.shape for one in strokes], axis=0), _GREY, dtype=np.uint8)
        for one in strokes:
            part = frame[: one.shape[0], : one.shape[1]]
            stronger = cv2.absdiff(one, np.full_like(one, _GREY)) > cv2.absdiff(part, np.full_like(part, _GREY))
            part[stronger] = one[stronger]
        overlaid.append(frame)
    return tuple(overlaid)


def _caption(number: int, film: _Film) -> str:
    what = " ".join(film.row[name] for name in ("body_part", "view") if film.row[name])
    letters = f" · {film.letters} letter-like marks" if film.letters else ""
    return f"{number}  {film.row['key'][:12]}  {what}{letters}"
