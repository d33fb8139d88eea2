"""The one contact sheet: pictures with captions, side by side on shelves, below a heading and a legend.

Imported by ``mae_rad``. Texts wrap at the width of what they belong to; none is cut off.
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
"""Colour-blind readers distinguish them too (Okabe & Ito 2008); lightened for the dark paper."""
GAP, INNER_GAP, LINE = 12, 6, 18
"""Pixels between blocks, between pictures of one block, and from line to line of a text."""
MAX_WIDTH, MIN_WIDTH = 1900, 720
"""Pixels of a sheet: shelves end before the first, headings may need the second."""
_BORDER, _SPACE = 3, 4
_TEXT_WIDTH = 150
"""Pixels that a text may take beside a narrower picture."""

FONT, TITLE_FONT = ImageFont.load_default(13), ImageFont.load_default(16)


class Caption(NamedTuple):
    """One text below or above a picture."""

    text: str
    colour: Colour = FAINT


class SheetBlock(NamedTuple):
    """One picture of a sheet.

    Attributes:
        image: its pixels.
        title: text above it; None for none.
        captions: texts below it.
        border: colour of a frame around it; None for none.
    """

    image: Pixels
    title: Caption | None = None
    captions: Sequence[Caption] = ()
    border: Colour | None = None


class Shelves(NamedTuple):
    """Blocks in reading order, below a heading of their own."""

    blocks: Sequence[SheetBlock]
    heading: str = ""


class LegendEntry(NamedTuple):
    """A text and a small picture of what it explains; None for none."""

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
    """Draw all blocks, as many on a shelf as fit into MAX_WIDTH pixels.

    Pictures of a shelf stand on one line, and their captions begin below it.

    Args:
        parts: of the sheet, from top to bottom.
        heading: of the sheet.
        legend: entries below the heading, side by side.
        per_shelf: largest number of blocks on a shelf; None for as many as fit.
        cell: width in pixels that each block has at least, so that blocks of several shelves are aligned.
    """
    drawn = [(part.heading, _on_shelves([_Cell(one, cell) for one in part.blocks], per_shelf)) for part in parts]
    width = max([MIN_WIDTH, *(_width(shelf) + 2 * GAP for _, shelves in drawn for shelf in shelves)])
    inner = width - 2 * GAP
    rows = [_text([Caption(heading, INK)], inner, TITLE_FONT), *draw_legend(legend, inner)]
    for name, shelves in drawn:
        pictures = [_draw_shelf(shelf) for shelf in shelves]
        if name:  # close to its first shelf
            title = _text([Caption(name, ACCENT)], inner)
            pictures[:1] = [stacked([title, *pictures[:1]], gap=_SPACE)]
        rows += pictures
    return stacked(rows, margin=GAP)


def stacked(rows: Sequence[Image.Image], *, gap: int = GAP, margin: int = 0) -> Image.Image:
    """Pictures one below the other.

    Args:
        rows: the pictures, aligned at their left sides.
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


def side_by_side(blocks: Sequence[SheetBlock], *, max_aspect: float = 2.0) -> Image.Image:
    """Blocks that belong together, as one picture: in one row, or one below the other where they are wide.

    Args:
        blocks: of about one size.
        max_aspect: width of the first image over its height, up to which they are in one row.
    """
    cells = [_Cell(block, 0) for block in blocks]
    rows, columns = blocks[0].image.shape[:2]
    if columns > max_aspect * rows:
        return stacked([_draw_shelf([cell]) for cell in cells], gap=INNER_GAP)
    return _draw_shelf(cells, INNER_GAP)


def draw_legend(entries: Sequence[LegendEntry], width: int) -> list[Image.Image]:
    """All entries side by side, in as many lines of ``width`` pixels as they need; nothing without entries."""
    if not entries:
        return []
    drawn = [_legend_entry(entry, width) for entry in entries]
    places, left, top = [], 0, 0
    for one in drawn:
        if left and left + one.width > width:
            left, top = 0, top + LINE
        places.append((left, top))
        left += one.width + 2 * GAP
        top += one.height - LINE  # an entry of several lines
    page = Image.new("RGB", (width, top + LINE), PAPER)
    for one, place in zip(drawn, places, strict=True):
        page.paste(one, place)
    return [page]


def outline_mark(colour: Colour) -> Pixels:
    """Mark of a legend: an empty square."""
    mark = np.full((11, 11, 3), PAPER, np.uint8)
    return np.asarray(cv2.rectangle(mark, (0, 0), (10, 10), colour, 2), np.uint8)


def scale_film(values: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """``values`` [rows, columns(, 3)] of any dtype at ``size`` (rows, columns): averaged areas, or linear if larger."""
    smaller = size[0] * size[1] < values.shape[0] * values.shape[1]
    return np.asarray(cv2.resize(values, size[::-1], interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR))


def fitted_size(shape: tuple[float, ...], box: tuple[int, int], max_scale: float = math.inf) -> tuple[int, int]:
    """Largest size (rows, columns) with the proportions of a shape.

    Args:
        shape: (rows, columns, …).
        box: (rows, columns) that it fits into.
        max_scale: size over shape, at most.
    """
    scale = min(box[0] / shape[0], box[1] / shape[1], max_scale)
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def grey_pixels(values: NDArray[Any]) -> Pixels:
    """Display values [rows, columns], 0 to 65535, of any dtype → grey, 0 to 255; what is outside is clipped."""
    return np.asarray(np.rint(np.clip(values, 0, 65535) / np.float32(257)), np.uint8)


def heat_pixels(strength: NDArray[np.floating]) -> Pixels:
    """[rows, columns] from 0 to 1 → [rows, columns, 3] RGB from black to bright yellow."""
    scaled = np.rint(np.clip(strength, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(cv2.applyColorMap(scaled, cv2.COLORMAP_INFERNO)[..., ::-1], np.uint8)


def wrapped(text: str, width: int, font: Any = FONT) -> list[str]:
    """Lines of at most ``width`` pixels; a word that is longer is divided."""
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if font.getlength(joined) <= width:
            lines[-1] = joined
            continue
        rest = word
        if lines[-1]:
            lines.append("")
        while rest:
            count = next((n for n in range(len(rest), 1, -1) if font.getlength(rest[:n]) <= width), 1)
            lines[-1] = rest[:count]
            rest = rest[count:]
            if rest:
                lines.append("")
    return lines


def _text(captions: Sequence[Caption], width: int, font: Any = FONT) -> Image.Image:
    lines = [(line, colour) for text, colour in captions for line in wrapped(text, width, font)]
    step = LINE + (4 if font is TITLE_FONT else 0)
    page = Image.new("RGB", (width, step * len(lines)), PAPER)
    pen = ImageDraw.Draw(page)
    for place, (line, colour) in enumerate(lines):
        pen.text((0, place * step + 1), line, fill=colour, font=font)
    return page


def _legend_entry(entry: LegendEntry, width: int) -> Image.Image:
    mark = entry.mark
    left = 0 if mark is None else mark.shape[1] + 6
    lines = wrapped(entry.text, width - left)
    length = max(math.ceil(FONT.getlength(line)) for line in lines)
    page = Image.new("RGB", (left + length + 1, LINE * len(lines)), PAPER)
    page.paste(_text([Caption(line, entry.colour) for line in lines], length + 1), (left, 0))
    if mark is not None:
        page.paste(Image.fromarray(mark), (0, (LINE - mark.shape[0]) // 2))
    return page


class _Cell:
    """A block with its texts wrapped: title, framed image and captions, one above the other."""

    def __init__(self, block: SheetBlock, least: int) -> None:
        rows, columns = block.image.shape[:2]
        edge = _BORDER if block.border else 0
        texts = [*([block.title] if block.title else []), *block.captions]
        longest = max([0.0, *(FONT.getlength(caption.text) for caption in texts)])
        self.width = max(max(columns, least) + 2 * edge, min(math.ceil(longest), _TEXT_WIDTH))
        self.title = _text([block.title] if block.title else [], self.width)
        self.captions = _text(block.captions, self.width)
        self.image = Image.new("RGB", (columns + 2 * edge, rows + 2 * edge), block.border or PAPER)
        self.image.paste(Image.fromarray(block.image), (edge, edge))


def _on_shelves(cells: Sequence[_Cell], per_shelf: int | None) -> list[list[_Cell]]:
    shelves: list[list[_Cell]] = []
    for cell in cells:
        if not shelves or len(shelves[-1]) == per_shelf or _width([*shelves[-1], cell]) + 2 * GAP > MAX_WIDTH:
            shelves.append([])
        shelves[-1].append(cell)
    return shelves


def _width(shelf: Sequence[_Cell], gap: int = GAP) -> int:
    widths: list[int] = [cell.width for cell in shelf]
    return sum(widths) + gap * (len(shelf) - 1)


def _draw_shelf(cells: Sequence[_Cell], gap: int = GAP) -> Image.Image:
    """Cells side by side: images end on one line above their captions; without captions they begin on one line."""
    title = max(cell.title.height for cell in cells)
    image = max(cell.image.height for cell in cells)
    captions = max(cell.captions.height for cell in cells)
    page = Image.new("RGB", (_width(cells, gap), title + image + (_SPACE + captions if captions else 0)), PAPER)
    left = 0
    for cell in cells:
        top = title + (image - cell.image.height if captions else 0)
        page.paste(cell.title, (left, top - cell.title.height))
        page.paste(cell.image, (left, top))
        page.paste(cell.captions, (left, title + image + _SPACE))
        left += cell.width + gap
    return page
