"""Draws example films by outcome, at the resolution of the model, with known boxes."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

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
from data_prep.runtime.atomic_write import atomic_file
from data_prep.shard_format.boxes import EDGES
from data_prep.shard_format.rare_values import MIN_PATIENTS
from mae_rad.data.box_frames import Boxes, whole_film_frame
from mae_rad.data.display_augmentation import varied_table
from mae_rad.data.film import Film
from mae_rad.data.shard_reader import FilmUnreadableError, ShardIndex
from mae_rad.data.views import NO_VARIATION
from mae_rad.evaluation.statistics.metrics import Floats

FILMS_PER_OUTCOME = 6
_MAX_HEIGHT, _MAX_WIDTH = 260, 400
"""Largest size of a film on the sheet in pixels."""
_BOX_COLOUR = (255, 176, 0)
_BOX_MARGIN = 4
"""Distance between a finding and the drawn box in pixels."""


class Example(NamedTuple):
    """A film of the sheet.

    Attributes:
        row: of the index.
        caption: under the film.
    """

    row: int
    caption: str


def film_sheet(
    outcomes: Mapping[str, Sequence[Example]],
    index: ShardIndex,
    boxes: pa.Table | None = None,
    *,
    title: str,
    tokens: int,
    patch: int,
) -> Image.Image:
    """Draw a row of films per outcome.

    Args:
        outcomes: outcome → examples.
        index: of all films.
        boxes: known boxes of the label (BOXES_SCHEMA); None draws none.
        title: of the sheet.
        tokens: T.
        patch: side of a patch in pixels.

    Returns:
        The sheet; films that cannot be read are left out.
    """
    parts = []
    for name, films in outcomes.items():
        blocks = [_block(example, index, boxes, tokens, patch) for example in films]
        parts.append(Shelves([block for block in blocks if block is not None], name))
    legend = [LegendEntry("marked finding", mark=draw_outline_mark(_BOX_COLOUR))] if boxes else []
    return contact_sheet(parts, title, legend)


def save_sheet(sheet: Image.Image, folder: Path, title: str) -> None:
    """Write a sheet as ``films-<title>.png``.

    Args:
        sheet: to write.
        folder: receives it.
        title: of what the model answers.
    """
    with atomic_file(folder / f"films-{re.sub(r'[^a-z0-9]+', '-', title.lower())}.png") as file:
        sheet.save(file, format="PNG")


def film_picture(film: Film, tokens: int, patch: int, boxes: Boxes) -> Pixels:
    """Draw a film at T with boxes.

    Args:
        film: to draw.
        tokens: T.
        patch: side of a patch in pixels.
        boxes: [K, 4] in source raster pixels.

    Returns:
        [rows, columns, 3] uint8.
    """
    sidecar = film.sidecar
    layout = film.layout(tokens, patch)
    values = varied_table(sidecar.display, NO_VARIATION)[film.values(layout, patch)]
    size = fit_size(values.shape, (_MAX_HEIGHT, _MAX_WIDTH))
    picture = np.repeat(to_grey_pixels(scale_film(values, size))[..., None], 3, axis=-1)
    scale = size[0] / values.shape[0]
    for left, top, right, bottom in whole_film_frame(film, tokens, patch).from_source(boxes) * scale:
        upper, lower = (
            (round(left) - _BOX_MARGIN, round(top) - _BOX_MARGIN),
            (round(right) + _BOX_MARGIN, round(bottom) + _BOX_MARGIN),
        )
        cv2.rectangle(picture, upper, lower, _BOX_COLOUR, 1)
    return picture


def _block(example: Example, index: ShardIndex, boxes: pa.Table | None, tokens: int, patch: int) -> SheetBlock | None:
    try:
        film = index.film(example.row)
    except FilmUnreadableError:
        return None
    corners = np.empty((0, 4))
    if boxes:
        film_boxes = boxes.filter(pc.equal(boxes.column("key"), index.key(example.row)))
        corners = np.stack([film_boxes.column(name).to_numpy() for name in EDGES], axis=1)
    picture = film_picture(film, tokens, patch, corners.astype(np.float64))
    return SheetBlock(picture, captions=[Caption(example.caption)])


def film_captions(index: ShardIndex) -> list[str]:
    """Body part and view of every film of an index; ``rare`` where fewer than MIN_PATIENTS patients share both.

    Args:
        index: of all films.

    Returns:
        A caption per row; empty where the index knows neither.
    """
    values = zip(*(index.table.column(name).to_pylist() for name in ("body_part", "view")), strict=True)
    captions = np.array([" ".join(word for word in film if word) for film in values], dtype=object)
    patients = index.table.column("patient").combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    names, codes = np.unique(captions.astype(str), return_inverse=True)
    patients_of_name = np.unique(codes * len(patients) + patients) // max(
        len(patients), 1
    )  # each patient once per name
    counts = np.bincount(patients_of_name, minlength=len(names)).tolist()
    shown = [
        str(name) if not name or count >= MIN_PATIENTS else "rare" for name, count in zip(names, counts, strict=True)
    ]
    return [shown[code] for code in codes]


def best_and_worst(
    errors: Floats, rows: NDArray[np.int64], captions: Sequence[str], names: tuple[str, str]
) -> dict[str, list[Example]]:
    """Choose the films with the smallest and with the largest errors.

    Args:
        errors: [N] of N films; NaN is left out.
        rows: [N] int64 rows of the index.
        captions: under each of the N films.
        names: of the smallest and of the largest errors.

    Returns:
        Name → examples, at most half of the films for each.
    """
    order = np.argsort(errors, kind="stable")[: int(np.isfinite(errors).sum())]
    count = min(FILMS_PER_OUTCOME, len(order) // 2)
    chosen = dict(zip(names, (order[:count], order[::-1][:count]), strict=True))
    return {
        name: [Example(int(rows[position]), captions[position]) for position in positions.tolist()]
        for name, positions in chosen.items()
    }
