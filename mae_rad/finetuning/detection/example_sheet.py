"""Films with true and predicted boxes on one sheet, and each box close up: right ones, missed ones, false ones."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from data_prep.pages.contact_sheet import (
    ACCENT,
    FONT,
    INNER_GAP,
    LINE,
    PAPER,
    Caption,
    LegendEntry,
    SheetBlock,
    Shelves,
    contact_sheet,
    fitted_size,
    grey_pixels,
    outline_mark,
    scale_film,
    side_by_side,
    stacked,
)
from mae_rad.data.box_frames import Boxes

TRUE, RIGHT, WRONG = (0, 200, 255), (255, 225, 60), (255, 90, 40)
"""Sky blue, yellow and vermilion: told apart by colour-blind readers too."""

_TALL, _CLOSE, _CLOSE_SEES = 520, 164, 56
"""Pixels of a film's longer side on the sheet, of a close-up's side, and at least of the film in a close-up."""
_CLOSE_UPS = 6
_LEGEND = (
    LegendEntry("true box", TRUE, outline_mark(TRUE)),
    LegendEntry("predicted, its centre in a true box", RIGHT, outline_mark(RIGHT)),
    LegendEntry("predicted, its centre in none", WRONG, outline_mark(WRONG)),
    LegendEntry("to the right of each film: its boxes enlarged"),
)


class FilmWithBoxes(NamedTuple):
    """One film; boxes are in its pixels.

    Attributes:
        caption: what is on the film.
        image: [H, W] uint16 display values.
        true: [M, 4].
        found: [M] whether each was found.
        predicted: [P, 4].
        scores: [P].
        right: [P] whether each lies on an object.
    """

    caption: str
    image: NDArray[np.uint16]
    true: Boxes
    found: NDArray[np.bool_]
    predicted: Boxes
    scores: NDArray[np.float64]
    right: NDArray[np.bool_]


def box_sheet(films: Sequence[FilmWithBoxes], heading: str) -> Image.Image:
    """All films on one sheet under a legend, each with close-ups of its boxes beside it."""
    return contact_sheet([Shelves([_block(film) for film in films])], heading, _LEGEND)


def _block(film: FilmWithBoxes) -> SheetBlock:
    """The film, and columns of close-ups beside it that are about as tall."""
    scale = min(_TALL / max(film.image.shape), 2.0)
    whole = _drawn(film, (0, 0, *film.image.shape[::-1]), scale, margin=2)
    closes = [_drawn(film, part, _CLOSE / part[2], margin=0) for part in _close_ups(film)]
    per_column = max(1, (whole.height + INNER_GAP) // (_CLOSE + INNER_GAP))
    columns = [closes[start : start + per_column] for start in range(0, len(closes), per_column)]
    pictures = [whole, *(stacked(column, gap=INNER_GAP) for column in columns)]
    missed, false = int((~film.found).sum()), int((~film.right).sum())
    caption = f"{film.caption}: {film.found.sum()} of {len(film.true)} found, {false} false"
    colour = WRONG if missed or false else ACCENT
    parts = [SheetBlock(np.asarray(picture)) for picture in pictures]
    return SheetBlock(np.asarray(side_by_side(parts, max_aspect=np.inf)), Caption(caption, colour))


def _close_ups(film: FilmWithBoxes) -> list[tuple[float, float, float, float]]:
    """(left, top, width, height) of squares around the true boxes, then around the surest false ones."""
    false = film.predicted[~film.right]
    parts = []
    for box in [*film.true, *false][:_CLOSE_UPS]:
        side = max(_CLOSE_SEES, 1.6 * max(box[2] - box[0], box[3] - box[1]))
        middle = (box[:2] + box[2:]) / 2
        parts.append((float(middle[0] - side / 2), float(middle[1] - side / 2), float(side), float(side)))
    return parts


def _drawn(film: FilmWithBoxes, part: tuple[float, float, float, float], scale: float, margin: int) -> Image.Image:
    """A part of the film with its boxes.

    Args:
        film: in its pixels.
        part: (left, top, width, height); a part other than the whole film may reach beyond it.
        scale: pixels of the picture per pixel of the film.
        margin: pixels of the picture between a box and what it surrounds, which stays visible.
    """
    left, top, width, height = part
    grey = grey_pixels(film.image)
    if part == (0, 0, *film.image.shape[::-1]):
        grey = scale_film(grey, fitted_size((height, width), (_TALL, _TALL), scale))
    else:
        size = round(width * scale), round(height * scale)
        place = np.array(((scale, 0, -left * scale), (0, scale, -top * scale)), dtype=np.float64)
        grey = np.asarray(cv2.warpAffine(grey, place, size, flags=cv2.INTER_LINEAR), np.uint8)
    picture = Image.fromarray(grey).convert("RGB")
    pen = ImageDraw.Draw(picture)
    boxes = [
        *(
            (box, RIGHT if right else WRONG, f"{score:.2f}")
            for box, right, score in zip(film.predicted, film.right, film.scores, strict=True)
        ),
        *((box, TRUE, "") for box in film.true),
    ]
    for box, colour, text in boxes:
        corners = (box - np.array((left, top, left, top))) * scale
        pen.rectangle(
            (*(corners[:2] - 1 - margin).tolist(), *(corners[2:] + margin).tolist()),
            outline=colour,
            width=1 if colour == TRUE else 2,
        )
        if text and corners[1] < picture.height:
            corner = float(corners[0]) - margin, min(float(corners[3]) + margin + 1, picture.height - LINE)
            pen.text(corner, text, fill=colour, font=FONT, stroke_width=2, stroke_fill=PAPER)
    return picture
