"""Films with true and predicted boxes on one sheet, and each box close up: right ones, missed ones, false ones."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mae_rad.data.box_frames import Boxes
from mae_rad.pretraining.reconstruction_sheet import shelves

WHITE = 65535
TRUE, RIGHT, WRONG = (0, 200, 255), (255, 225, 60), (255, 90, 40)
"""Sky blue, yellow and vermilion: told apart by colour-blind readers too."""

_TALL, _CLOSE, _CLOSE_SEES = 520, 164, 56
"""Pixels of a film's longer side on the sheet, of a close-up's side, and at least of the film in a close-up."""
_CLOSE_UPS = 6
_GAP, _LINE, _WIDTH = 12, 18, 1900
_FONT = ImageFont.load_default(13)


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
    blocks = [_block(film) for film in films]
    width = max(_WIDTH, *(block.width + 2 * _GAP for block in blocks))
    rows = shelves(blocks, width)
    head = _legend(heading, width)
    page = Image.new("RGB", (width, head.height + sum(max(one.height for one in row) + _GAP for row in rows)), "black")
    page.paste(head, (0, 0))
    top = head.height
    for row in rows:
        left = _GAP
        for block in row:
            page.paste(block, (left, top))
            left += block.width + 2 * _GAP
        top += max(block.height for block in row) + _GAP
    return page


def _block(film: FilmWithBoxes) -> Image.Image:
    scale = min(_TALL / max(film.image.shape), 2.0)
    whole = _drawn(film, (0, 0, *film.image.shape[::-1]), scale, margin=2)
    closes = [_drawn(film, part, _CLOSE / part[2], margin=0) for part in _close_ups(film)]
    per_column = max(1, (max(whole.height, _CLOSE) + 4) // (_CLOSE + 4))
    columns = -(-len(closes) // per_column)
    missed, false = int((~film.found).sum()), int((~film.right).sum())
    caption = f"{film.caption}: {film.found.sum()} of {len(film.true)} found, {false} false"
    width = max(whole.width + columns * (_CLOSE + 4), int(_FONT.getlength(caption)))
    block = Image.new("RGB", (width, _LINE + max(whole.height, _CLOSE)), "black")
    colour = WRONG if missed or false else (160, 200, 255)
    ImageDraw.Draw(block).text((0, 1), caption, fill=colour, font=_FONT)
    block.paste(whole, (0, _LINE))
    for number, close in enumerate(closes):
        column, row = divmod(number, per_column)
        block.paste(close, (whole.width + 4 + column * (_CLOSE + 4), _LINE + row * (_CLOSE + 4)))
    return block


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
    """A part of the film, enlarged, with its boxes; ``margin`` pixels around each, so that it stays to be seen."""
    left, top, width, height = part
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    grey = (film.image / np.float32(WHITE / 255)).astype(np.float32)
    if way == cv2.INTER_AREA:
        seen = cv2.resize(grey, size, interpolation=way)
    else:
        place = np.array(((scale, 0, -left * scale), (0, scale, -top * scale)), dtype=np.float64)
        seen = cv2.warpAffine(grey, place, size, flags=way)
    picture = Image.fromarray(np.rint(np.clip(seen, 0, 255)).astype(np.uint8)).convert("RGB")
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
        if text:
            pen.text((corners[0] - margin, corners[3] + margin + 1), text, fill=colour, font=_FONT)
    return picture


def _legend(heading: str, width: int) -> Image.Image:
    page = Image.new("RGB", (width, 2 * _LINE + _GAP), "black")
    pen = ImageDraw.Draw(page)
    pen.text((_GAP, _GAP // 2), heading, fill="white", font=_FONT)
    left = _GAP
    for text, colour in (
        ("true box", TRUE),
        ("predicted, its middle in a true box", RIGHT),
        ("predicted, in none", WRONG),
        ("beside each film: its boxes close up", (170, 170, 170)),
    ):
        pen.rectangle((left, _GAP // 2 + _LINE + 4, left + 10, _GAP // 2 + _LINE + 14), outline=colour, width=2)
        pen.text((left + 16, _GAP // 2 + _LINE), text, fill=colour, font=_FONT)
        left += 40 + int(_FONT.getlength(text))
    return page
