"""Find text that is burned into films by optical character recognition; what it says is not kept.

Needs the optional extra ``[ocr]``: RapidOCR (Apache-2.0) with the networks of PaddleOCR (Apache-2.0), which are part of
its wheel. Nothing is downloaded.
"""

import logging
import unicodedata
from functools import cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from data_prep.errors import UserError
from data_prep.pages.contact_sheet import fit_size, scale_film, to_grey_pixels

SIDE = 1536
"""Pixels of the longer side of a film that is searched."""
_MIN_LETTERS = 3
"""Letters and digits of a line; shorter ones are side markers, and structures that look like a letter."""
_MIN_CONFIDENCE = 0.6
"""Of a line, 0 to 1."""


class TextLine(NamedTuple):
    """A line of text on a film.

    Attributes:
        letters: number of letters and digits.
        confidence: of their recognition, 0 to 1.
        box: x_min, y_min, x_max, y_max in fractions of width and height.
    """

    letters: int
    confidence: float
    box: tuple[float, float, float, float]


class FilmText(NamedTuple):
    """The text on a film.

    Attributes:
        lines: in the order of reading.
    """

    lines: tuple[TextLine, ...]

    @property
    def letters(self) -> int:
        """Number of letters and digits of all lines, by which films are ranked."""
        return sum(line.letters for line in self.lines)


def find_text(values: NDArray[np.uint16]) -> FilmText:
    """Search a film for lines of text.

    Args:
        values: [rows, columns] uint16 display values.

    Returns:
        Its lines; none where there is no text.

    Raises:
        UserError: the extra is not installed.
    """
    height, width = fit_size(values.shape, (SIDE, SIDE), 1.0)
    grey = to_grey_pixels(scale_film(values, (height, width)))
    found = _engine()(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), use_cls=False)
    if found.txts is None:
        return FilmText(())
    lines = []
    for text, confidence, corners in zip(found.txts, found.scores, found.boxes, strict=True):
        letters = sum(unicodedata.category(letter)[0] in "LN" for letter in text)
        if letters >= _MIN_LETTERS and confidence >= _MIN_CONFIDENCE:
            low, high = np.min(corners, axis=0), np.max(corners, axis=0)
            left, right = (min(max(float(x) / width, 0.0), 1.0) for x in (low[0], high[0]))
            top, bottom = (min(max(float(y) / height, 0.0), 1.0) for y in (low[1], high[1]))
            lines.append(TextLine(letters, float(confidence), (left, top, right, bottom)))
    return FilmText(tuple(lines))


def check_ocr_installed() -> None:
    """Raise UserError if the extra is not installed."""
    _rapidocr()


@cache
def _engine() -> Any:
    """Load the networks, once per process."""
    logging.getLogger("RapidOCR").setLevel(logging.ERROR)
    settings = {
        "Global.log_level": "error",
        "Global.use_cls": False,  # text that stands upside down is found all the same
        "Det.limit_type": "max",  # a film keeps its size
        "Det.limit_side_len": SIDE,
    }
    return _rapidocr().RapidOCR(params=settings)


def _rapidocr() -> Any:
    try:
        import onnxruntime  # noqa: F401, PLC0415 - an optional extra
        import rapidocr  # noqa: PLC0415
    except ImportError:
        raise UserError("--ocr needs packages that are not installed. Run: pip install 'mae_rad[ocr]'") from None
    return rapidocr
