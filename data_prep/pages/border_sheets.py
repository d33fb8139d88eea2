"""Draw sheets of the borders of films, where burned-in text usually is, for a review by a person.

| file in OUT | contents |
|---|---|
| ``<number>_<maker>_<model>_<size>.png`` | films of one device model and of about one size |
| ``films.csv`` | sheet, line, key, maker, model, size, letter-like marks, verdict (empty) |
| ``text_suspects.csv`` ``.png`` | with OCR: films with text, see :mod:`data_prep.pages.text_suspects` |

Every line shows the four borders of one film with raised local contrast; the left and right border are rotated by 90°.
Films with the most letter-like marks are first. The first line overlays the thin strokes of all films of the sheet, so
that text which a device writes on every film is visible.
"""

import csv
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_prep.errors import ShardFormatError
from data_prep.folder_url import PublicFolder
from data_prep.pages.burned_in_text import check_ocr_installed
from data_prep.pages.contact_sheet import (
    FRAME,
    LegendEntry,
    Pixels,
    SheetBlock,
    Shelves,
    contact_sheet,
    fit_size,
    scale_film,
)
from data_prep.pages.film_thumbnail import read_displayed_film
from data_prep.pages.text_suspects import SUSPECTS_TABLE, write_suspects
from data_prep.runtime.atomic_write import atomic_file
from data_prep.runtime.csv_text import safe_rows
from data_prep.runtime.progress import Progress
from data_prep.shard_format.index import read_index

FILMS_PER_SHEET = 12
_MAX_NAME = 120
"""Characters of the name of a sheet that come from its devices."""
SAMPLE_FACTOR = 4
"""So many times the drawn films are searched for letter-like marks in each group."""
_BORDER_FRACTION = 0.10
"""Fraction of a side of the film that counts as border."""
_WIDTH, _MAX_HEIGHT = 720, 120
"""Pixels of a border on the sheet."""
_SIZE_STEP = 500
"""Pixels to which the longer side is rounded when films are grouped by size."""
_GREY = 128
_MAX_STROKE_WIDTH = 9
"""Pixels; strokes of letters are thinner, edges of the anatomy are not."""
_MIN_CONTRAST = 40
"""Grey values of 256."""
_LETTER_SIDES = (3, 40)
"""Pixels: smallest and largest side of a letter."""
_MIN_LETTERS = 3
_MAX_LETTERS = 4000
"""More marks on one border are noise."""


@dataclass(frozen=True)
class BorderSheets:
    """Summary of the sheets.

    Attributes:
        out: folder of the sheets.
        sheets: number of sheets.
        films_drawn: number of films on the sheets.
        films: number of films in the shards.
        searched: number of films searched by OCR; None without it.
        with_text: number of those on which it found text.
    """

    out: Path
    sheets: int
    films_drawn: int
    films: int
    searched: int | None = None
    with_text: int = 0

    def __str__(self) -> str:
        text = (
            f"{self.out}: {self.sheets} sheets with {self.films_drawn} of {self.films} films; review each sheet, and"
            " mark films with a name, number or date in films.csv"
        )
        if self.searched is None:
            return text
        return (
            f"{text}\nOCR: text on {self.with_text} of {self.searched} films, in {SUSPECTS_TABLE}, most letters first;"
            " what it does not find may be there all the same"
        )


@dataclass(frozen=True)
class _Film:
    """One film of a sheet.

    Attributes:
        row: row of the index.
        strips: the four borders with raised contrast.
        strokes: thin structure of the four borders.
        letters: number of letter-like marks.
    """

    row: dict[str, Any]
    strips: tuple[Pixels, ...]
    strokes: tuple[Pixels, ...]
    letters: int


def write_border_sheets(
    public: PublicFolder, out: Path, *, films: int = FILMS_PER_SHEET, ocr_films: int = 0
) -> BorderSheets:
    """Draw one sheet per maker, model and size, and list films on which OCR finds text.

    Args:
        public: complete public folder.
        out: new or empty folder.
        films: largest number of films per sheet, at least 1.
        ocr_films: largest number of films per sheet's group that are searched by OCR; 0 for none.

    Raises:
        UserError: the extra ``[ocr]`` is needed and not installed.
        ShardFormatError: the public folder is missing or unfinished, or ``out`` is not empty or cannot be written.
    """
    if ocr_films:
        check_ocr_installed()
    index = read_index(public).to_pylist()
    if out.is_dir() and any(out.iterdir()):
        raise ShardFormatError(f"{out} is not empty; give a new or an empty folder as --out")
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in index:
        groups[row["manufacturer"] or "maker unknown", row["model"] or "model unknown", _size_class(row)].append(row)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    progress = Progress("borders", "sheets", len(ordered))
    try:
        out.mkdir(parents=True, exist_ok=True)
        with (out / "films.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(("sheet", "line", "key", "maker", "model", "size", "letters", "verdict"))
            films_drawn = 0
            for number, (group, rows) in enumerate(ordered, 1):
                name = f"{number:04d}_{re.sub('[^A-Za-z0-9]+', '-', '_'.join(group))[:_MAX_NAME]}.png"
                selected = _select_films(public, rows, films)
                with atomic_file(out / name) as sheet:
                    title = f"{' · '.join(group)} · {len(selected)} of {len(rows)} films"
                    _draw_sheet(selected, title).save(sheet, format="PNG")
                lines = enumerate(selected, 1)
                rows_of_films = ((name, line, film.row["key"], *group, film.letters, "") for line, film in lines)
                table.writerows(safe_rows(rows_of_films))
                films_drawn += len(selected)
                progress.add()
        searched = write_suspects(public, ordered, out, films=ocr_films) if ocr_films else (None, 0)
    except OSError as error:
        raise ShardFormatError(
            f"the sheets cannot be written into {out} ({error.strerror}); give another --out"
        ) from None
    finally:
        progress.close()
    return BorderSheets(out, len(ordered), films_drawn, len(index), *searched)


def _size_class(row: dict[str, Any]) -> str:
    """Orientation and rounded size: devices that crop to the collimation write films of many sizes."""
    rows, columns = row["source_rows"], row["source_columns"]
    shape = "upright" if rows > 1.05 * columns else "wide" if columns > 1.05 * rows else "square"
    return f"{shape} {max(_SIZE_STEP, round(max(rows, columns) / _SIZE_STEP) * _SIZE_STEP)}"


def _select_films(public: PublicFolder, rows: Sequence[dict[str, Any]], films: int) -> list[_Film]:
    """Select from a sample the films with the most letters, and as many others; the order of the index is random."""
    sample = [_read_film(public, row) for row in rows[: SAMPLE_FACTOR * films]]
    by_letters = sorted(sample, key=lambda film: -film.letters)
    with_letters = by_letters[: films - films // 2]
    keys = {film.row["key"] for film in with_letters}
    random_films = [film for film in sample if film.row["key"] not in keys][: films // 2]
    return sorted([*with_letters, *random_films], key=lambda film: -film.letters)


def _read_film(public: PublicFolder, row: dict[str, Any]) -> _Film:
    values, _ = read_displayed_film(public, row)
    borders = _borders((values >> 8).astype(np.uint8))
    strips = tuple(cv2.createCLAHE(3.0, (2, 12)).apply(_fit_width(border)) for border in borders)
    strokes = tuple(_fit_width(_relief(*_thin_structure(border))) for border in borders)
    return _Film(row, strips, strokes, sum(_count_letters(border) for border in borders))


def _borders(grey: Pixels) -> tuple[Pixels, ...]:
    """Top, bottom, left and right border; the left and right one are rotated by 90°."""
    height, width = (max(1, round(_BORDER_FRACTION * side)) for side in grey.shape)
    top, bottom, left, right = grey[:height], grey[-height:], grey[:, :width], grey[:, -width:]
    rotated = np.rot90(left, -1), np.rot90(right)
    return tuple(np.ascontiguousarray(border) for border in (top, bottom, *rotated))


def _fit_width(border: Pixels) -> Pixels:
    """Scale a border to the width of the sheet, or to its largest height."""
    return scale_film(border, fit_size(border.shape, (_MAX_HEIGHT, _WIDTH)))


def _thin_structure(border: Pixels) -> tuple[Pixels, Pixels]:
    """Thin structure that is brighter, and that is darker than its surroundings."""
    kernel = np.ones((_MAX_STROKE_WIDTH, _MAX_STROKE_WIDTH), np.uint8)
    bright, dark = (cv2.morphologyEx(border, kind, kernel) for kind in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT))
    return np.asarray(bright), np.asarray(dark)


def _relief(bright: Pixels, dark: Pixels) -> Pixels:
    """Thin structure on a grey background: bright structure is bright, dark structure is dark."""
    return np.asarray(_GREY + bright // 2 - dark // 2, dtype=np.uint8)


def _count_letters(border: Pixels) -> int:
    """Count connected components with the size and stroke width of letters that form rows."""
    count = 0
    for strokes in _thin_structure(border):
        is_stroke = (strokes > _MIN_CONTRAST).astype(np.uint8)
        _, _, stats, centres = cv2.connectedComponentsWithStats(is_stroke, connectivity=8)
        sides = stats[1:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]]
        is_letter = (
            (sides.max(axis=1) <= _LETTER_SIDES[1])
            & (sides[:, 1] >= _LETTER_SIDES[0] + 2)
            & (stats[1:, cv2.CC_STAT_AREA] >= 6)
        )
        count += _count_in_rows(centres[1:][is_letter], sides[is_letter])
    return count


def _count_in_rows(centres: NDArray[np.float64], sides: NDArray[np.int32]) -> int:
    """Count letters in rows of at least _MIN_LETTERS neighbours of about the same height."""
    if len(centres) < _MIN_LETTERS or len(centres) > _MAX_LETTERS:
        return 0
    order = np.argsort(centres[:, 0])
    x, y, height = centres[order, 0], centres[order, 1], sides[order, 1].astype(np.float64)
    count = 0
    row_length = 1
    for left, right in pairwise(range(len(x))):
        is_near = x[right] - x[left] < 1.6 * height[left] + 4 and abs(y[right] - y[left]) < 0.4 * height[left]
        row_length = row_length + 1 if is_near and 0.6 < height[right] / height[left] < 1.7 else 1
        count += 1 if row_length >= _MIN_LETTERS else 0
    return count


def _draw_sheet(films: Sequence[_Film], title: str) -> Image.Image:
    lines = [Shelves(_blocks(_overlay_strokes(films)), "thin strokes of all films below")] if len(films) > 1 else []
    lines += [Shelves(_blocks(film.strips), _caption(number, film)) for number, film in enumerate(films, 1)]
    legend = [LegendEntry("each film: top | bottom border above, left | right border (rotated) below; contrast raised")]
    return contact_sheet(lines, title, legend, per_shelf=2, cell=_WIDTH)


def _blocks(strips: Sequence[Pixels]) -> list[SheetBlock]:
    return [SheetBlock(strip, border=FRAME) for strip in strips]


def _overlay_strokes(films: Sequence[_Film]) -> tuple[Pixels, ...]:
    """For each border, the strongest stroke of all films at each pixel."""
    overlays = []
    for borders in zip(*(film.strokes for film in films), strict=True):
        overlay = np.full(np.max([strokes.shape for strokes in borders], axis=0), _GREY, dtype=np.uint8)
        for strokes in borders:
            region = overlay[: strokes.shape[0], : strokes.shape[1]]
            is_stronger = _distance_from_grey(strokes) > _distance_from_grey(region)
            region[is_stronger] = strokes[is_stronger]
        overlays.append(overlay)
    return tuple(overlays)


def _distance_from_grey(pixels: Pixels) -> Pixels:
    return np.asarray(cv2.absdiff(pixels, np.full_like(pixels, _GREY)))


def _caption(number: int, film: _Film) -> str:
    description = " ".join(film.row[name] for name in ("body_part", "view") if film.row[name])
    letters = f" · {film.letters} letter-like marks" if film.letters else ""
    return f"{number}  {film.row['key'][:12]}  {description}{letters}"
