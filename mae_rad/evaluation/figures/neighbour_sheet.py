"""Sample films and the films that an encoder finds most similar: what an embedding takes for alike, for the eye."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from data_prep.runtime.atomic_write import atomic_file

QUERIES, NEIGHBOURS = 6, 5
_SIDE, _LINE, _GAP = 168, 17, 10
_FONT = ImageFont.load_default(13)
_WHITE, _SOFT, _AGREE, _DIFFER = (255, 255, 255), (170, 176, 184), (86, 180, 233), (230, 159, 0)

Shown = Callable[[int], NDArray[np.uint16]]
"""Row of a film → its display values."""


class FilmNeighbours(NamedTuple):
    """A sample film and its neighbours, nearest first: rows of the index and cosines."""

    query: int
    neighbours: Sequence[int]
    cosine: Sequence[float]


def neighbour_sheet(
    encoder: str, found: Sequence[FilmNeighbours], shown: Shown, captions: Sequence[str], path: Path, *, films: int
) -> Path:
    """Draw a line per sample film: itself, then its neighbours.

    Args:
        encoder: whose neighbours they are.
        found: lines of the sheet.
        shown: pictures of films.
        captions: [index rows] what a film shows, in words.
        path: PNG.
        films: among how many the neighbours were looked for.
    """
    columns = 1 + max(len(line.neighbours) for line in found)
    cell = _SIDE + 2 * _LINE + _GAP
    page = Image.new("RGB", (columns * (_SIDE + _GAP) + 2 * _GAP, len(found) * cell + 3 * _LINE), "black")
    pen = ImageDraw.Draw(page)
    pen.text((_GAP, 6), f"{encoder}: sample films, and the nearest of {films:,} films of other patients", _WHITE, _FONT)
    pen.text(
        (_GAP, 6 + _LINE),
        "blue: same body part and view as the sample; orange: another; cosine 1 is nearest",
        _SOFT,
        _FONT,
    )
    for number, line in enumerate(found):
        top = 3 * _LINE + number * cell
        _film(page, pen, (_GAP, top), shown(line.query), captions[line.query], "sample", _WHITE)
        for place, (row, cosine) in enumerate(zip(line.neighbours, line.cosine, strict=True), 1):
            same = captions[row] == captions[line.query]
            left = _GAP + place * (_SIDE + _GAP) + _GAP
            _film(
                page, pen, (left, top), shown(row), captions[row], f"cosine {cosine:.2f}", _AGREE if same else _DIFFER
            )
    with atomic_file(path) as file:
        page.save(file, format="PNG")
    return path


def sample_rows(captions: Sequence[str], rows: NDArray[np.int64], count: int = QUERIES) -> list[int]:
    """``count`` of ``rows``, drawn with a fixed seed so that what they show is as mixed as can be."""
    order = np.random.default_rng(0).permutation(rows).tolist()
    turn: dict[int, int] = {}
    seen: dict[str, int] = {}
    for row in order:
        turn[row] = seen[captions[row]] = seen.get(captions[row], -1) + 1
    return sorted(order, key=lambda row: turn[row])[:count]


def _film(
    page: Image.Image, pen: ImageDraw.ImageDraw, corner: tuple[int, int], values: NDArray[np.uint16], caption: str,
    note: str, colour: tuple[int, int, int],
) -> None:  # fmt: skip
    left, top = corner
    scale = _SIDE / max(values.shape)
    rows, columns = (max(1, round(side * scale)) for side in values.shape)
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(values, (columns, rows), interpolation=way)
    picture = Image.fromarray((small >> 8).astype(np.uint8))
    page.paste(picture.convert("RGB"), (left + (_SIDE - columns) // 2, top + (_SIDE - rows) // 2))
    pen.text((left, top + _SIDE + 1), caption[:24], colour, _FONT)
    pen.text((left, top + _SIDE + 1 + _LINE), note, _SOFT, _FONT)
