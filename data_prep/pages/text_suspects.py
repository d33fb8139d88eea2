"""Films of a public folder on which OCR finds text, ranked, for a review beside the border sheets.

| file in OUT | contents |
|---|---|
| ``text_suspects.csv`` | rank, key, maker, model, size, letters, lines, the longest line (confidence, box), verdict |
| ``text_suspects.png`` | the first films, with their lines marked |
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from data_prep.folder_url import PublicFolder
from data_prep.pages.burned_in_text import FilmText, find_text
from data_prep.pages.contact_sheet import (
    Caption,
    LegendEntry,
    Pixels,
    SheetBlock,
    Shelves,
    contact_sheet,
    draw_outline_mark,
    fit_size,
    scale_film,
    to_grey_pixels,
)
from data_prep.pages.film_thumbnail import read_displayed_film
from data_prep.runtime.atomic_write import atomic_file, atomic_text
from data_prep.runtime.csv_text import csv_text
from data_prep.runtime.progress import Progress

SUSPECTS_TABLE, SUSPECTS_SHEET = "text_suspects.csv", "text_suspects.png"
_DRAWN = 40
"""Films on the sheet."""
_SIDE = 300
"""Pixels of the longer side of a film on the sheet."""
_COLOUR = (255, 176, 0)
_COLUMNS = ("rank", "key", "maker", "model", "size", "letters", "lines", "confidence", "x_min", "y_min", "x_max",
            "y_max", "verdict")  # fmt: skip

Group = tuple[str, str, str]
"""Maker, model and size."""


class Suspect(NamedTuple):
    """A film with text.

    Attributes:
        row: of the index.
        group: of the film.
        text: that was found.
    """

    row: Mapping[str, Any]
    group: Group
    text: FilmText


def write_suspects(
    public: PublicFolder, groups: Sequence[tuple[Group, Sequence[dict[str, Any]]]], out: Path, *, films: int
) -> tuple[int, int]:
    """Search films by OCR, and write those with text.

    Args:
        public: public folder.
        groups: maker, model and size → rows of the index, in random order.
        out: folder of the files.
        films: largest number of films that are searched per group.

    Returns:
        Number of films searched, and of films with text.

    Raises:
        UserError: the extra ``[ocr]`` is not installed.
        OSError: a shard cannot be read, or a file cannot be written.
    """
    chosen = [(group, row) for group, rows in groups for row in rows[:films]]
    suspects = sorted(_search(public, chosen), key=lambda one: (-one.text.letters, one.row["key"]))
    atomic_text(out / SUSPECTS_TABLE, csv_text([_COLUMNS, *map(_table_row, range(1, len(suspects) + 1), suspects)]))
    if suspects:
        with atomic_file(out / SUSPECTS_SHEET) as file:
            blocks = [_block(public, rank, one) for rank, one in enumerate(suspects[:_DRAWN], 1)]
            title = f"text found by OCR on {len(suspects)} of {len(chosen)} films; the first {len(blocks)}"
            legend = [LegendEntry("a line of text", mark=draw_outline_mark(_COLOUR))]
            contact_sheet([Shelves(blocks)], title, legend).save(file, format="PNG")
    return len(chosen), len(suspects)


def _search(public: PublicFolder, chosen: Sequence[tuple[Group, dict[str, Any]]]) -> Iterator[Suspect]:
    progress = Progress("ocr", "films", len(chosen))
    for group, row in chosen:
        values, _ = read_displayed_film(public, row)
        text = find_text(values)
        if text.lines:
            yield Suspect(row, group, text)
        progress.add()
    progress.close()


def _table_row(rank: int, suspect: Suspect) -> tuple[object, ...]:
    longest = max(suspect.text.lines, key=lambda line: line.letters)
    rows, columns = suspect.row["rows"], suspect.row["columns"]
    box = (round(edge * side) for edge, side in zip(longest.box, (columns, rows, columns, rows), strict=True))
    letters, lines = suspect.text.letters, len(suspect.text.lines)
    return (rank, suspect.row["key"], *suspect.group, letters, lines, f"{longest.confidence:.2f}", *box, "")


def _block(public: PublicFolder, rank: int, suspect: Suspect) -> SheetBlock:
    values, _ = read_displayed_film(public, suspect.row, _SIDE)
    height, width = fit_size(values.shape, (_SIDE, _SIDE))
    picture: Pixels = np.repeat(to_grey_pixels(scale_film(values, (height, width)))[..., None], 3, axis=-1)
    for line in suspect.text.lines:
        left, top, right, bottom = (
            round(edge * side) for edge, side in zip(line.box, (width, height, width, height), strict=True)
        )
        cv2.rectangle(picture, (left - 2, top - 2), (right + 2, bottom + 2), _COLOUR, 1)
    caption = f"{rank}  {suspect.row['key'][:12]}  {suspect.text.letters} letters"
    return SheetBlock(picture, captions=[Caption(caption)])
