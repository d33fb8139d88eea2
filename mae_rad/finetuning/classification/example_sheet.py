"""Films on which a head was right and wrong, as the model saw them, with the boxes of what is there."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from data_prep.pages.contact_sheet import (
    Caption,
    LegendEntry,
    Pixels,
    SheetBlock,
    Shelves,
    contact_sheet,
    fitted_size,
    grey_pixels,
    outline_mark,
    scale_film,
)
from data_prep.shard_format.boxes import EDGES
from mae_rad.data.box_frames import Boxes, whole_film_frame
from mae_rad.data.display_augmentation import varied_table
from mae_rad.data.film import Film
from mae_rad.data.patch_layout import film_layout
from mae_rad.data.shard_reader import FilmUnreadableError, ShardIndex
from mae_rad.data.views import UNVARIED
from mae_rad.evaluation.statistics.metrics import Floats
from mae_rad.finetuning.results.metrics_table import LabelScores

PER_KIND = 6
_HEIGHT, _WIDEST = 260, 400
"""Pixels of a film on the sheet, at most."""
_BOX = (255, 176, 0)
_ROOM = 4
"""Pixels between a finding and the box around it."""


class Example(NamedTuple):
    """One film: its row in the index, and what stands under it."""

    row: int
    caption: str


def examples(asked: LabelScores, probability: Floats, threshold: float, index: ShardIndex) -> dict[str, list[Example]]:
    """What came out → films, of each kind those that the head is most certain of.

    The kinds: found, missed, false alarm, rightly cleared; each with its number of films.
    """
    called = probability >= threshold
    kinds = {
        "found": asked.present & called,
        "missed": asked.present & ~called,
        "false alarm": ~asked.present & called,
        "rightly cleared": ~asked.present & ~called,
    }
    chosen: dict[str, list[Example]] = {}
    for name, here in kinds.items():
        places = np.flatnonzero(here)
        certain = places[np.argsort(-np.abs(probability[places] - threshold), kind="stable")][:PER_KIND]
        films = [Example(int(asked.rows[place]), _caption(index, asked, place, probability)) for place in certain]
        chosen[f"{name}: {len(places)} of {len(called)} films"] = films
    return chosen


def film_sheet(
    kinds: Mapping[str, Sequence[Example]], index: ShardIndex, boxes: pa.Table, *, title: str, tokens: int, patch: int
) -> Image.Image:
    """A row of films for each kind; ``boxes`` (BOXES_SCHEMA) are drawn around what they hold."""
    parts = []
    for name, films in kinds.items():
        blocks = [_block(one, index, boxes, tokens, patch) for one in films]
        parts.append(Shelves([block for block in blocks if block is not None], name))
    legend = [LegendEntry("marked finding", mark=outline_mark(_BOX))] if len(boxes) else []
    return contact_sheet(parts, title, legend)


def film_picture(film: Film, tokens: int, patch: int, boxes: Boxes) -> Pixels:
    """[rows, columns, 3] the film at T, with boxes [K, 4] of source pixels around what they hold."""
    sidecar = film.sidecar
    layout = film_layout(sidecar.rows, sidecar.columns, film.box, tokens, patch)
    values = varied_table(sidecar.display, UNVARIED)[film.values(layout, patch)]
    size = fitted_size(values.shape, (_HEIGHT, _WIDEST))
    picture = np.repeat(grey_pixels(scale_film(values, size))[..., None], 3, axis=-1)
    scale = size[0] / values.shape[0]
    for left, top, right, bottom in whole_film_frame(film, tokens, patch).from_source(boxes) * scale:
        upper, lower = (round(left) - _ROOM, round(top) - _ROOM), (round(right) + _ROOM, round(bottom) + _ROOM)
        cv2.rectangle(picture, upper, lower, _BOX, 1)
    return picture


def _block(one: Example, index: ShardIndex, boxes: pa.Table, tokens: int, patch: int) -> SheetBlock | None:
    try:
        film = index.film(one.row)
    except FilmUnreadableError:
        return None
    own = boxes.filter(pc.equal(boxes.column("key"), index.key(one.row)))
    corners = np.stack([own.column(name).to_numpy() for name in EDGES], axis=1)
    picture = film_picture(film, tokens, patch, corners.astype(np.float64))
    return SheetBlock(picture, captions=[Caption(one.caption)])


def _caption(index: ShardIndex, asked: LabelScores, place: int, probability: Floats) -> str:
    row = int(asked.rows[place])
    words = [index.table.column(name)[row].as_py() for name in ("body_part", "view")]
    return " ".join(word for word in words if word) + f" {probability[place]:.2f}"
