"""Measure how much planted text OCR finds on synthetic films, and on how many films without text it sees some.

    mae-rad bench planted_text [--films 30] [--side 1536]

Needs the extra ``[ocr]``. Invented names and dates of four heights are written into each film, as bright or dark
letters of three contrasts, anywhere on it. Films without planted text have lead side markers only.
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from itertools import islice
from time import perf_counter
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from data_prep.pages.burned_in_text import FilmText, check_ocr_installed, find_text
from data_prep.phantom.fictitious_people import visit
from data_prep.statistics.share_interval import share_interval
from mae_rad.bench.sharding.bordered_films import bordered_films

HEIGHTS = (10, 14, 20, 30)
"""Pixels of a capital letter."""
CONTRASTS = (0.1, 0.25, 0.6)
"""Difference to the surroundings, of the whole range of display values."""
_ATTEMPTS = 200


class PlantedLine(NamedTuple):
    """A line of text on a film.

    Attributes:
        height: of a capital letter in pixels.
        contrast: one of CONTRASTS.
        box: x_min, y_min, x_max, y_max in pixels.
    """

    height: int
    contrast: float
    box: tuple[int, int, int, int]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the share of the lines found by height and contrast, false alarms, and the time per film."""
    parser = argparse.ArgumentParser(
        prog="mae-rad bench planted_text", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--films", type=int, default=30, help="number of films (default: 30)")
    parser.add_argument("--side", type=int, default=1536, help="longer side in pixels (default: 1536)")
    options = parser.parse_args(arguments)
    check_ocr_installed()
    generator = np.random.default_rng(5)
    found: dict[tuple[str, float], list[bool]] = defaultdict(list)
    alarms, flagged, seconds, films = 0, 0, list[float](), 0
    step = max(1, 60 // options.films)
    for film in islice(bordered_films(max(1, options.films // 60), options.side), 0, None, step):
        films += 1
        start = perf_counter()
        alarms += bool(find_text(film.shown).lines)
        seconds.append(perf_counter() - start)
        written, lines = plant(film.shown, generator)
        text = find_text(written)
        flagged += bool(text.lines)
        for line in lines:
            is_found = _is_found(line, text, written.shape)
            found["height", line.height].append(is_found)
            found["contrast", line.contrast].append(is_found)
    for (kind, value), hits in sorted(found.items()):
        unit = " px" if kind == "height" else ""
        print(f"{f'lines found, {kind} {value:g}{unit}':<34}{_share(sum(hits), len(hits))}")
    print(f"{'films with planted text, flagged':<34}{_share(flagged, films)}")
    print(f"{'films without it, flagged':<34}{_share(alarms, films)}")
    print(f"time per film of {options.side} pixels: median {np.median(seconds):.2f} s")


def plant(values: NDArray[np.uint16], generator: np.random.Generator) -> tuple[NDArray[np.uint16], list[PlantedLine]]:
    """Write a line of each height into a film, at places that do not overlap.

    Args:
        values: [rows, columns] uint16 display values.
        generator: of the draws.

    Returns:
        The film with text, and its lines; a line for which there is no place is left out.
    """
    written, lines = values.copy(), list[PlantedLine]()
    for height in HEIGHTS:
        mask = _letters(f"{_name(generator)} {_date(generator)}", height)
        rows, columns = mask.shape
        for _ in range(_ATTEMPTS if rows < values.shape[0] and columns < values.shape[1] else 0):
            top = int(generator.integers(values.shape[0] - rows))
            left = int(generator.integers(values.shape[1] - columns))
            box = (left, top, left + columns, top + rows)
            if not any(_overlap(box, line.box) for line in lines):
                contrast = CONTRASTS[int(generator.integers(len(CONTRASTS)))]
                region = written[top : top + rows, left : left + columns]
                background = float(np.median(region))
                target = background + 65535 * contrast * (1 if background < 32768 else -1)
                region[:] = np.clip(region + (target - background) * mask, 0, 65535).astype(np.uint16)
                lines.append(PlantedLine(height, contrast, box))
                break
    return written, lines


def _letters(text: str, height: int) -> NDArray[np.float32]:
    """Coverage of the letters, 0 to 1; smoothed as by a film's resampling."""
    font = ImageFont.load_default(height / 0.72)  # a capital letter has 0.72 of the size of this font
    left, top, right, bottom = font.getbbox(text)
    picture = Image.new("L", (round(right - left) + 4, round(bottom - top) + 4))
    ImageDraw.Draw(picture).text((2 - left, 2 - top), text, fill=255, font=font)
    coverage = np.asarray(picture, dtype=np.float32) / 255
    return np.asarray(cv2.GaussianBlur(coverage, (0, 0), 0.5), dtype=np.float32)


def _name(generator: np.random.Generator) -> str:
    return visit(5, int(generator.integers(10**6)), 0, 0, 0, "F").referring.replace("^^", " ").replace("^", ", ")


def _date(generator: np.random.Generator) -> str:
    year, month, day = (int(generator.integers(low, high)) for low, high in ((1930, 2020), (1, 13), (1, 29)))
    return f"{year}-{month:02d}-{day:02d}"


def _overlap(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


def _is_found(line: PlantedLine, text: FilmText, shape: tuple[int, ...]) -> bool:
    """Whether the centre of a line of the text lies in the planted one."""
    rows, columns = shape
    left, top, right, bottom = line.box
    centres = [((a + c) / 2 * columns, (b + d) / 2 * rows) for a, b, c, d in (one.box for one in text.lines)]
    return any(left <= x <= right and top <= y <= bottom for x, y in centres)


def _share(count: int, of: int) -> str:
    low, high = share_interval(count, of)
    return f"{count:>4} of {of:<4} {count / max(of, 1):.2f} [{low:.2f}, {high:.2f}]"
