"""Draws example films of a classification by outcome, at the resolution of the model, with known boxes."""

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
    draw_outline_mark,
    fit_size,
    scale_film,
    to_grey_pixels,
)
from data_prep.shard_format.boxes import EDGES
from mae_rad.data.box_frames import Boxes, whole_film_frame
from mae_rad.data.display_augmentation import varied_table
from mae_rad.data.film import Film
from mae_rad.data.patch_layout import film_layout
from mae_rad.data.shard_reader import FilmUnreadableError, ShardIndex
from mae_rad.data.views import NO_VARIATION
from mae_rad.evaluation.statistics.metrics import Floats
from mae_rad.finetuning.results.metrics_table import LabelScores

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


def choose_examples(
    scores: LabelScores, probability: Floats, threshold: float, index: ShardIndex
) -> dict[str, list[Example]]:
    """Choose films of each outcome, those with the scores farthest from the threshold.

    Args:
        scores: of one label.
        probability: [N] calibrated.
        threshold: of a positive film.
        index: of all films.

    Returns:
        Outcome with its number of films (found, missed, false alarm, correctly negative) → examples.
    """
    positive = probability >= threshold
    outcomes = {
        "found": scores.present & positive,
        "missed": scores.present & ~positive,
        "false alarm": ~scores.present & positive,
        "correctly negative": ~scores.present & ~positive,
    }
    examples_by_outcome: dict[str, list[Example]] = {}
    for name, mask in outcomes.items():
        positions = np.flatnonzero(mask)
        most_certain = positions[np.argsort(-np.abs(probability[positions] - threshold), kind="stable")][
            :FILMS_PER_OUTCOME
        ]
        films = [
            Example(int(scores.rows[position]), _caption(index, scores, position, probability))
            for position in most_certain
        ]
        examples_by_outcome[f"{name}: {len(positions)} of {len(positive)} films"] = films
    return examples_by_outcome


def film_sheet(
    outcomes: Mapping[str, Sequence[Example]],
    index: ShardIndex,
    boxes: pa.Table,
    *,
    title: str,
    tokens: int,
    patch: int,
) -> Image.Image:
    """Draw a row of films per outcome.

    Args:
        outcomes: outcome → examples.
        index: of all films.
        boxes: known boxes of the label (BOXES_SCHEMA).
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
    legend = [LegendEntry("marked finding", mark=draw_outline_mark(_BOX_COLOUR))] if len(boxes) else []
    return contact_sheet(parts, title, legend)


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
    layout = film_layout(sidecar.rows, sidecar.columns, film.box, tokens, patch)
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


def _block(example: Example, index: ShardIndex, boxes: pa.Table, tokens: int, patch: int) -> SheetBlock | None:
    try:
        film = index.film(example.row)
    except FilmUnreadableError:
        return None
    film_boxes = boxes.filter(pc.equal(boxes.column("key"), index.key(example.row)))
    corners = np.stack([film_boxes.column(name).to_numpy() for name in EDGES], axis=1)
    picture = film_picture(film, tokens, patch, corners.astype(np.float64))
    return SheetBlock(picture, captions=[Caption(example.caption)])


def _caption(index: ShardIndex, scores: LabelScores, position: int, probability: Floats) -> str:
    row = int(scores.rows[position])
    values = [index.table.column(name)[row].as_py() for name in ("body_part", "view")]
    return " ".join(value for value in values if value) + f" {probability[position]:.2f}"
