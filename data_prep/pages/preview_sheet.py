"""A sheet of films as training sees them, for a human eye: polarity, windows, content masks, body parts."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from data_prep.errors import ShardFormatError
from data_prep.pages.box_overlay import colours_of, draw_boxes, legend, read_boxes
from data_prep.pages.film_thumbnail import shown_film
from data_prep.runtime.atomic_write import atomic_file
from data_prep.shard_format.content_mask_bits import unpack_mask
from data_prep.shard_format.dataset_card import read_dataset_card
from data_prep.shard_format.index import read_index

FILM_SIDE = 220
"""Pixels of the longer side of a film on the sheet."""
_GAP = 12
_LINE = 15
_CAPTION = 2 * _LINE + 4
_TITLE = 34
_SHEET_WIDTH, _LEAST_WIDTH = 8, 3
"""Films side by side, at most; room for so many, at least: the title needs it."""
_PAPER, _INK, _FAINT, _OUTLINE = (24, 26, 30), (232, 232, 228), (150, 152, 156), (255, 176, 0)


def write_preview(public: Path, out: Path, *, films: int, split: str | None, boxes: bool = False) -> None:
    """Write a PNG with ``films`` films, as evenly from all body parts as there are films.

    An orange line surrounds what the content mask takes for anatomy. Captions: body part, view, laterality; rows x
    columns, bits, and what the display comes from (``inverted`` for MONOCHROME1). With ``boxes`` only films that have
    some are drawn, with all of them.

    Raises:
        ShardFormatError: the folder is missing or unfinished, has no such films, or ``out`` cannot be written.
    """
    card, index = read_dataset_card(public), read_index(public)
    if split is not None:
        index = index.filter(pc.equal(index["split"], split))
    drawn = read_boxes(public) if boxes else {}
    if boxes:
        index = index.filter(pc.is_in(index["key"], pa.array(sorted(drawn), pa.string())))
    rows = _drawn(index, films)
    if not rows:
        raise ShardFormatError(f"{public} has no films{f' in the split {split}' if split else ''} to show")
    title = (
        f"{len(rows)} of {index.num_rows} films{f' of {split}' if split else ''} · dataset {card.dataset_sha256[:12]}"
    )
    colours = colours_of(drawn)
    pictures = [_picture(public, row) for row in rows]
    for picture, row in zip(pictures, rows, strict=True):
        draw_boxes(picture, drawn.get(row["key"], []), (row["source_rows"], row["source_columns"]), colours)
    sheet = _sheet([(picture, _caption(row)) for picture, row in zip(pictures, rows, strict=True)], title, colours)
    try:
        with atomic_file(out) as file:
            sheet.save(file, format="PNG")
    except OSError as error:
        raise ShardFormatError(f"the sheet {out} cannot be written ({error.strerror}); give another --out") from None


def _drawn(index: pa.Table, films: int) -> list[dict[str, Any]]:
    """Rows in turn from every body part; within one they are random already, by the order of the shards."""
    parts: dict[str, list[int]] = defaultdict(list)
    for place, part in enumerate(index["body_part"].to_pylist()):
        parts[part or "~"].append(place)  # those without a body part come last
    turns = sorted((turn, part, place) for part, places in parts.items() for turn, place in enumerate(places))
    chosen = sorted((part, place) for _, part, place in turns[:films])
    rows: list[dict[str, Any]] = index.take(pa.array([place for _, place in chosen], pa.int64())).to_pylist()
    return sorted(rows, key=lambda row: (row["body_part"] or "~", row["view"] or "~"))


def _picture(public: Path, row: dict[str, Any]) -> Image.Image:
    """The film as it is displayed, with the outline of its content."""
    grey, sidecar = shown_film(public, row, FILM_SIDE)
    colour = cv2.cvtColor((grey >> 8).astype(np.uint8), cv2.COLOR_GRAY2RGB)
    mask = unpack_mask(sidecar.content_mask, sidecar.rows, sidecar.columns)
    return Image.fromarray(colour if mask.all() else _outlined(colour, mask))


def _outlined(colour: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    cells = cv2.resize(mask.astype(np.uint8), colour.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(cells, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    lines = cv2.drawContours(np.zeros_like(cells), contours, -1, 1, 1).astype(np.bool_)
    outlined = colour.copy()
    outlined[lines] = (colour[lines] * 0.3 + np.array(_OUTLINE) * 0.7).astype(np.uint8)
    return outlined


def _caption(row: dict[str, Any]) -> tuple[str, str]:
    what = " ".join(row[name] for name in ("body_part", "view", "laterality") if row[name]) or row["key"][:12]
    inverted = " inverted" if row["display_invert"] else ""
    source = row["display_source"].replace("_", " ")
    return what, f"{row['source_rows']} x {row['source_columns']} · {row['bits_stored']} bit · {source}{inverted}"


def _sheet(
    films: list[tuple[Image.Image, tuple[str, str]]], title: str, colours: dict[str, tuple[int, int, int]]
) -> Image.Image:
    columns = min(_SHEET_WIDTH, len(films))
    cell = FILM_SIDE + _GAP, FILM_SIDE + _CAPTION + _GAP
    width = max(columns, _LEAST_WIDTH) * cell[0] + _GAP
    labels = legend(colours, width - 2 * _GAP, _PAPER)
    above = _GAP + _TITLE + labels.height
    sheet = Image.new("RGB", (width, above + -(-len(films) // columns) * cell[1]), _PAPER)
    sheet.paste(labels, (_GAP, _TITLE + _GAP // 2))
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, _GAP), title, _INK, ImageFont.load_default(15))
    font = ImageFont.load_default(12)
    for number, (picture, (what, how)) in enumerate(films):
        left = _GAP + number % columns * cell[0]
        top = above + number // columns * cell[1]
        sheet.paste(picture, (left + (FILM_SIDE - picture.width) // 2, top + (FILM_SIDE - picture.height) // 2))
        draw.text((left, top + FILM_SIDE + 4), what, _INK, font)
        draw.text((left, top + FILM_SIDE + 4 + _LINE), how, _FAINT, font)
    return sheet
