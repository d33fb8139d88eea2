"""Draws a sheet of films with true and predicted boxes, and close-ups of the boxes."""

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
    draw_outline_mark,
    draw_side_by_side,
    fit_size,
    scale_film,
    stacked,
    to_grey_pixels,
)
from mae_rad.data.box_frames import Boxes

TRUE, RIGHT, WRONG = (0, 200, 255), (255, 225, 60), (255, 90, 40)
"""Colours of boxes: sky blue, yellow and vermilion, which colour-blind readers can distinguish."""

_FILM_PIXELS, _CLOSE_UP_PIXELS, _MIN_CLOSE_UP_EXTENT = 520, 164, 56
"""Longer side of a film on the sheet; side of a close-up; smallest part of the film in a close-up. In pixels."""
_MAX_CLOSE_UPS = 6
_LEGEND = (
    LegendEntry("true box", TRUE, draw_outline_mark(TRUE)),
    LegendEntry("predicted, its centre in a true box", RIGHT, draw_outline_mark(RIGHT)),
    LegendEntry("predicted, its centre in none", WRONG, draw_outline_mark(WRONG)),
    LegendEntry("to the right of each film: its boxes enlarged"),
)


class FilmWithBoxes(NamedTuple):
    """A film with its boxes, in pixels of ``image``.

    Attributes:
        caption: body part and view.
        image: [H, W] uint16 display values.
        true: [M, 4] true boxes.
        found: [M] bool, true boxes that contain the centre of a prediction.
        predicted: [P, 4] boxes.
        scores: [P] of the predicted boxes.
        right: [P] bool, predictions with their centre in a true box.
    """

    caption: str
    image: NDArray[np.uint16]
    true: Boxes
    found: NDArray[np.bool_]
    predicted: Boxes
    scores: NDArray[np.float64]
    right: NDArray[np.bool_]


def box_sheet(films: Sequence[FilmWithBoxes], heading: str) -> Image.Image:
    """Draw all films on one sheet, with close-ups of their boxes to the right.

    Args:
        films: with their boxes.
        heading: of the sheet.

    Returns:
        RGB picture.
    """
    return contact_sheet([Shelves([_block(film) for film in films])], heading, _LEGEND)


def _block(film: FilmWithBoxes) -> SheetBlock:
    """The film, and columns of close-ups to its right, of about the same height."""
    scale = min(_FILM_PIXELS / max(film.image.shape), 2.0)
    whole = _draw_part(film, (0, 0, *film.image.shape[::-1]), scale, margin=2)
    close_ups = [_draw_part(film, part, _CLOSE_UP_PIXELS / part[2], margin=0) for part in _close_ups(film)]
    per_column = max(1, (whole.height + INNER_GAP) // (_CLOSE_UP_PIXELS + INNER_GAP))
    columns = [close_ups[start : start + per_column] for start in range(0, len(close_ups), per_column)]
    pictures = [whole, *(stacked(column, gap=INNER_GAP) for column in columns)]
    missed, false = int((~film.found).sum()), int((~film.right).sum())
    caption = f"{film.caption}: {film.found.sum()} of {len(film.true)} found, {false} false"
    colour = WRONG if missed or false else ACCENT
    parts = [SheetBlock(np.asarray(picture)) for picture in pictures]
    return SheetBlock(np.asarray(draw_side_by_side(parts, max_aspect=np.inf)), Caption(caption, colour))


def _close_ups(film: FilmWithBoxes) -> list[tuple[float, float, float, float]]:
    """(left, top, width, height) of squares around the true boxes, then around false positives by their score."""
    false = film.predicted[~film.right]
    parts = []
    for box in [*film.true, *false][:_MAX_CLOSE_UPS]:
        side = max(_MIN_CLOSE_UP_EXTENT, 1.6 * max(box[2] - box[0], box[3] - box[1]))
        middle = (box[:2] + box[2:]) / 2
        parts.append((float(middle[0] - side / 2), float(middle[1] - side / 2), float(side), float(side)))
    return parts


def _draw_part(film: FilmWithBoxes, part: tuple[float, float, float, float], scale: float, margin: int) -> Image.Image:
    """Draw a part of a film with its boxes.

    Args:
        film: with its boxes.
        part: (left, top, width, height); a part other than the whole film may reach beyond it.
        scale: pixels of the picture per pixel of the film.
        margin: distance of a drawn box from its corners, in pixels of the picture; keeps the object visible.
    """
    left, top, width, height = part
    grey = to_grey_pixels(film.image)
    if part == (0, 0, *film.image.shape[::-1]):
        grey = scale_film(grey, fit_size((height, width), (_FILM_PIXELS, _FILM_PIXELS), scale))
    else:
        size = round(width * scale), round(height * scale)
        transform = np.array(((scale, 0, -left * scale), (0, scale, -top * scale)), dtype=np.float64)
        grey = np.asarray(cv2.warpAffine(grey, transform, size, flags=cv2.INTER_LINEAR), np.uint8)
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
