"""Draw contact sheets: rows of pictures with captions, below a heading and a legend; texts are wrapped, never cut.

A *shelf* is one row of pictures. Also used by ``mae_rad``.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels: TypeAlias = NDArray[np.uint8]
"""[rows, columns] grey or [rows, columns, 3] RGB."""
Colour: TypeAlias = tuple[int, int, int]

PAPER, INK, FAINT, ACCENT, FRAME = (24, 26, 30), (232, 232, 228), (160, 162, 168), (150, 195, 255), (70, 74, 80)
PALETTE = ((230, 159, 0), (86, 180, 233), (0, 200, 140), (240, 228, 66), (213, 94, 0), (204, 121, 167), (90, 140, 255))
"""Distinct for colour-blind readers (Okabe & Ito 2008), lightened for the dark background."""
GAP, INNER_GAP, LINE = 12, 6, 18
"""Pixels between blocks, between pictures of one block, and between the lines of a text."""
MAX_WIDTH, MIN_WIDTH = 1900, 720
"""Pixels: largest width of a shelf, and smallest width of a sheet."""
_BORDER, _SPACE = 3, 4
"""Pixels: width of a frame, and space between a picture and its captions."""
_MAX_TEXT_WIDTH = 150
"""Pixels of a text that is wider than its picture."""

FONT, TITLE_FONT = ImageFont.load_default(13), ImageFont.load_default(16)


class Caption(NamedTuple):
    """A text above or below a picture, in one colour."""

    text: str
    colour: Colour = FAINT


class SheetBlock(NamedTuple):
    """One picture of a sheet.

    Attributes:
        image: pixels.
        title: text above the picture; None for none.
        captions: texts below the picture.
        border: colour of a frame around the picture; None for none.
    """

    image: Pixels
    title: Caption | None = None
    captions: Sequence[Caption] = ()
    border: Colour | None = None


class Shelves(NamedTuple):
    """Blocks in reading order below a common heading; as many rows as they need."""

    blocks: Sequence[SheetBlock]
    heading: str = ""


class LegendEntry(NamedTuple):
    """A text of the legend and its symbol; None for none."""

    text: str
    colour: Colour = FAINT
    mark: Pixels | None = None


def contact_sheet(
    parts: Sequence[Shelves],
    heading: str,
    legend: Sequence[LegendEntry] = (),
    *,
    per_shelf: int | None = None,
    cell: int = 0,
) -> Image.Image:
    """Draw a sheet with as many blocks per shelf as fit into MAX_WIDTH pixels.

    Pictures of a shelf are aligned at their lower edges, and their captions begin on one line.

    Args:
        parts: parts of the sheet, from top to bottom.
        heading: heading of the sheet.
        legend: entries below the heading, side by side.
        per_shelf: largest number of blocks per shelf; None for as many as fit.
        cell: smallest width of a block in pixels, so that blocks of several shelves are aligned.
    """
    laid_out = [
        (part.heading, _split_into_shelves([_Cell(block, cell) for block in part.blocks], per_shelf)) for part in parts
    ]
    width = max([MIN_WIDTH, *(_shelf_width(shelf) + 2 * GAP for _, shelves in laid_out for shelf in shelves)])
    inner = width - 2 * GAP
    rows = [_draw_text([Caption(heading, INK)], inner, TITLE_FONT), *draw_legend(legend, inner)]
    for part_heading, shelves in laid_out:
        pictures = [_draw_shelf(shelf) for shelf in shelves]
        if part_heading:  # close to its first shelf
            title = _draw_text([Caption(part_heading, ACCENT)], inner)
            pictures[:1] = [stacked([title, *pictures[:1]], gap=_SPACE)]
        rows += pictures
    return stacked(rows, margin=GAP)


def stacked(rows: Sequence[Image.Image], *, gap: int = GAP, margin: int = 0) -> Image.Image:
    """Stack pictures from top to bottom.

    Args:
        rows: pictures, aligned at their left edges.
        gap: pixels between them.
        margin: pixels around all of them.
    """
    size = max(row.width for row in rows), sum(row.height for row in rows) + gap * (len(rows) - 1)
    page = Image.new("RGB", (size[0] + 2 * margin, size[1] + 2 * margin), PAPER)
    top = margin
    for row in rows:
        page.paste(row, (margin, top))
        top += row.height + gap
    return page


def draw_side_by_side(blocks: Sequence[SheetBlock], *, max_aspect: float = 2.0) -> Image.Image:
    """Draw related blocks as one picture: in one row, or stacked if they are wide.

    Args:
        blocks: blocks of about one size.
        max_aspect: largest ratio of width to height of the first image for which they are in one row.
    """
    cells = [_Cell(block, 0) for block in blocks]
    rows, columns = blocks[0].image.shape[:2]
    if columns > max_aspect * rows:
        return stacked([_draw_shelf([cell]) for cell in cells], gap=INNER_GAP)
    return _draw_shelf(cells, INNER_GAP)


def draw_legend(entries: Sequence[LegendEntry], width: int) -> list[Image.Image]:
    """Draw legend entries side by side, on as many lines as they need.

    Args:
        entries: entries of the legend.
        width: pixels.

    Returns:
        One picture; an empty list without entries.
    """
    if not entries:
        return []
    pictures = [_draw_legend_entry(entry, width) for entry in entries]
    positions, left, top = [], 0, 0
    for picture in pictures:
        if left and left + picture.width > width:
            left, top = 0, top + LINE
        positions.append((left, top))
        left += picture.width + 2 * GAP
        top += picture.height - LINE  # an entry of several lines
    page = Image.new("RGB", (width, top + LINE), PAPER)
    for picture, position in zip(pictures, positions, strict=True):
        page.paste(picture, position)
    return [page]


def draw_outline_mark(colour: Colour) -> Pixels:
    """Draw the legend symbol of an outline: an empty square."""
    mark = np.full((11, 11, 3), PAPER, np.uint8)
    return np.asarray(cv2.rectangle(mark, (0, 0), (10, 10), colour, 2), np.uint8)


def scale_film(values: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Resize a film by area averaging, or bilinearly if it becomes larger.

    Args:
        values: [rows, columns] or [rows, columns, 3] of any dtype.
        size: (rows, columns) of the result, in pixels.

    Returns:
        Values of the same dtype.
    """
    smaller = size[0] * size[1] < values.shape[0] * values.shape[1]
    return np.asarray(cv2.resize(values, size[::-1], interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR))


def fit_size(shape: tuple[float, ...], box: tuple[int, int], max_scale: float = math.inf) -> tuple[int, int]:
    """Compute the largest size (rows, columns) of a given aspect ratio that fits into a box.

    Args:
        shape: (rows, columns, …) with the aspect ratio, in pixels.
        box: (rows, columns) of the box, in pixels.
        max_scale: largest ratio of the size to the shape.
    """
    scale = min(box[0] / shape[0], box[1] / shape[1], max_scale)
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def to_grey_pixels(values: NDArray[Any]) -> Pixels:
    """Convert display values to 8-bit grey.

    Args:
        values: [rows, columns] of any dtype, 0 to 65535; other values are clipped.

    Returns:
        [rows, columns] uint8, 0 to 255.
    """
    return np.asarray(np.rint(np.clip(values, 0, 65535) / np.float32(257)), np.uint8)


def to_heat_pixels(strength: NDArray[np.floating]) -> Pixels:
    """Convert a heat map to colours.

    Args:
        strength: [rows, columns], 0 to 1.

    Returns:
        [rows, columns, 3] uint8 RGB, from black to bright yellow (colour map inferno).
    """
    scaled = np.rint(np.clip(strength, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(cv2.applyColorMap(scaled, cv2.COLORMAP_INFERNO)[..., ::-1], np.uint8)


def wrap_text(text: str, width: int, font: Any = FONT) -> list[str]:
    """Wrap a text at spaces; a word that is longer than a line is divided.

    Args:
        text: text of one line.
        width: largest width of a line in pixels.
        font: font of the text.

    Returns:
        Lines.
    """
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if font.getlength(joined) <= width:
            lines[-1] = joined
            continue
        remaining = word
        if lines[-1]:
            lines.append("")
        while remaining:
            count = next((n for n in range(len(remaining), 1, -1) if font.getlength(remaining[:n]) <= width), 1)
            lines[-1] = remaining[:count]
            remaining = remaining[count:]
            if remaining:
                lines.append("")
    return lines


def _draw_text(captions: Sequence[Caption], width: int, font: Any = FONT) -> Image.Image:
    lines = [(line, colour) for text, colour in captions for line in wrap_text(text, width, font)]
    step = LINE + (4 if font is TITLE_FONT else 0)
    page = Image.new("RGB", (width, step * len(lines)), PAPER)
    pen = ImageDraw.Draw(page)
    for number, (line, colour) in enumerate(lines):
        pen.text((0, number * step + 1), line, fill=colour, font=font)
    return page


def _draw_legend_entry(entry: LegendEntry, width: int) -> Image.Image:
    mark = entry.mark
    left = 0 if mark is None else mark.shape[1] + 6
    lines = wrap_text(entry.text, width - left)
    length = max(math.ceil(FONT.getlength(line)) for line in lines)
    page = Image.new("RGB", (left + length + 1, LINE * len(lines)), PAPER)
    page.paste(_draw_text([Caption(line, entry.colour) for line in lines], length + 1), (left, 0))
    if mark is not None:
        page.paste(Image.fromarray(mark), (0, (LINE - mark.shape[0]) // 2))
    return page


class _Cell:
    """A block with wrapped texts: title, framed image and captions, from top to bottom."""

    def __init__(self, block: SheetBlock, min_width: int) -> None:
        rows, columns = block.image.shape[:2]
        edge = _BORDER if block.border else 0
        texts = [*([block.title] if block.title else []), *block.captions]
        longest = max([0.0, *(FONT.getlength(caption.text) for caption in texts)])
        self.width = max(max(columns, min_width) + 2 * edge, min(math.ceil(longest), _MAX_TEXT_WIDTH))
        self.title = _draw_text([block.title] if block.title else [], self.width)
        self.captions = _draw_text(block.captions, self.width)
        self.image = Image.new("RGB", (columns + 2 * edge, rows + 2 * edge), block.border or PAPER)
        self.image.paste(Image.fromarray(block.image), (edge, edge))


def _split_into_shelves(cells: Sequence[_Cell], per_shelf: int | None) -> list[list[_Cell]]:
    shelves: list[list[_Cell]] = []
    for cell in cells:
        if not shelves or len(shelves[-1]) == per_shelf or _shelf_width([*shelves[-1], cell]) + 2 * GAP > MAX_WIDTH:
            shelves.append([])
        shelves[-1].append(cell)
    return shelves


def _shelf_width(shelf: Sequence[_Cell], gap: int = GAP) -> int:
    widths: list[int] = [cell.width for cell in shelf]
    return sum(widths) + gap * (len(shelf) - 1)


def _draw_shelf(cells: Sequence[_Cell], gap: int = GAP) -> Image.Image:
    """Draw cells side by side: images are aligned at their lower edges, or without captions at their upper edges."""
    title = max(cell.title.height for cell in cells)
    image = max(cell.image.height for cell in cells)
    captions = max(cell.captions.height for cell in cells)
    page = Image.new("RGB", (_shelf_width(cells, gap), title + image + (_SPACE + captions if captions else 0)), PAPER)
    left = 0
    for cell in cells:
        top = title + (image - cell.image.height if captions else 0)
        page.paste(cell.title, (left, top - cell.title.height))
        page.paste(cell.image, (left, top))
        page.paste(cell.captions, (left, title + image + _SPACE))
        left += cell.width + gap
    return page
