"""Draw a sheet of films as training reads them, to check polarity, windows and content masks."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

from data_prep.errors import ShardFormatError
from data_prep.folder_url import PublicFolder
from data_prep.pages.box_overlay import assign_colours, draw_boxes, read_boxes
from data_prep.pages.contact_sheet import (
    INK,
    Caption,
    Colour,
    LegendEntry,
    SheetBlock,
    Shelves,
    contact_sheet,
    draw_outline_mark,
    to_grey_pixels,
)
from data_prep.pages.film_thumbnail import read_displayed_film
from data_prep.runtime.atomic_write import atomic_file
from data_prep.shard_format.content_mask_bits import unpack_mask
from data_prep.shard_format.dataset_card import read_dataset_card
from data_prep.shard_format.index import read_index

FILM_SIDE = 220
"""Pixels of the longer side of a film on the sheet."""
_FILMS_PER_SHELF = 8
_OUTLINE_COLOUR = (255, 176, 0)


def write_preview(public: PublicFolder, out: Path, *, films: int, split: str | None, boxes: bool = False) -> None:
    """Write a PNG with films that are distributed evenly over the body parts.

    An orange line is the outline of the content mask. Captions: body part, view and laterality; rows x columns, bits,
    and the source of the display, with ``inverted`` for MONOCHROME1.

    Args:
        public: complete public folder.
        out: PNG file to write.
        films: number of films.
        split: split of the films; None for all.
        boxes: whether to draw boxes, and only films that have some.

    Raises:
        ShardFormatError: the folder is missing or unfinished, has no such films, or ``out`` cannot be written.
    """
    card, index = read_dataset_card(public), read_index(public)
    if split is not None:
        index = index.filter(pc.equal(index["split"], split))
    film_boxes = read_boxes(public) if boxes else {}
    if boxes:
        index = index.filter(pc.is_in(index["key"], pa.array(sorted(film_boxes), pa.string())))
    rows = _select_rows(index, films)
    if not rows:
        in_split = f" in the split {split}" if split else ""
        raise ShardFormatError(f"{public} has no films{in_split} to show; give another --split or a larger --films")
    title = (
        f"{len(rows)} of {index.num_rows} films{f' of {split}' if split else ''} · dataset {card.dataset_sha256[:12]}"
    )
    colours = assign_colours(film_boxes)
    blocks = [_draw_block(public, row, film_boxes.get(row["key"], []), colours) for row in rows]
    legend = [
        LegendEntry("content, as masked for training", mark=draw_outline_mark(_OUTLINE_COLOUR)),
        *(LegendEntry(label, colour, draw_outline_mark(colour)) for label, colour in colours.items()),
    ]
    sheet = contact_sheet([Shelves(blocks)], title, legend, per_shelf=_FILMS_PER_SHELF, cell=FILM_SIDE)
    try:
        with atomic_file(out) as file:
            sheet.save(file, format="PNG")
    except OSError as error:
        raise ShardFormatError(f"the sheet {out} cannot be written ({error.strerror}); give another --out") from None


def _select_rows(index: pa.Table, films: int) -> list[dict[str, Any]]:
    """Select rows from every body part in turn; the order of the index within a body part is random."""
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, part in enumerate(index["body_part"].to_pylist()):
        rows_of[part or "~"].append(row)  # films without a body part are last
    turns = sorted((turn, part, row) for part, rows in rows_of.items() for turn, row in enumerate(rows))
    selected = sorted((part, row) for _, part, row in turns[:films])
    rows: list[dict[str, Any]] = index.take(pa.array([row for _, row in selected], pa.int64())).to_pylist()
    return sorted(rows, key=lambda row: (row["body_part"] or "~", row["view"] or "~"))


def _draw_block(
    public: PublicFolder, row: dict[str, Any], boxes: list[dict[str, Any]], colours: dict[str, Colour]
) -> SheetBlock:
    """Draw a film with the outline of its content mask and with boxes."""
    values, sidecar = read_displayed_film(public, row, FILM_SIDE)
    colour = cv2.cvtColor(to_grey_pixels(values), cv2.COLOR_GRAY2RGB)
    mask = unpack_mask(sidecar.content_mask, sidecar.rows, sidecar.columns)
    picture = Image.fromarray(colour if mask.all() else _draw_outline(colour, mask))
    draw_boxes(picture, boxes, (row["source_rows"], row["source_columns"]), colours)
    description, technique = _captions(row)
    return SheetBlock(np.asarray(picture), captions=[Caption(description, INK), Caption(technique)])


def _draw_outline(colour: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    cells = cv2.resize(mask.astype(np.uint8), colour.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(cells, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    lines = cv2.drawContours(np.zeros_like(cells), contours, -1, 1, 1).astype(np.bool_)
    outlined = colour.copy()
    outlined[lines] = (colour[lines] * 0.3 + np.array(_OUTLINE_COLOUR) * 0.7).astype(np.uint8)
    return outlined


def _captions(row: dict[str, Any]) -> tuple[str, str]:
    description = " ".join(row[name] for name in ("body_part", "view", "laterality") if row[name]) or row["key"][:12]
    inverted = " inverted" if row["display_invert"] else ""
    source = row["display_source"].replace("_", " ")
    technique = f"{row['source_rows']} x {row['source_columns']} · {row['bits_stored']} bit · {source}{inverted}"
    return description, technique
