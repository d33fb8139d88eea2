"""Sheets of pictures: nothing is cut off or covered, pictures of a shelf are aligned, films keep their proportions."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from data_prep.pages.contact_sheet import (
    FONT,
    INK,
    MAX_WIDTH,
    PAPER,
    Caption,
    Colour,
    LegendEntry,
    SheetBlock,
    Shelves,
    contact_sheet,
    draw_legend,
    draw_outline_mark,
    draw_side_by_side,
    fit_size,
    scale_film,
    to_grey_pixels,
    to_heat_pixels,
    wrap_text,
)


def picture(rows: int, columns: int, colour: Colour) -> NDArray[np.uint8]:
    return np.full((rows, columns, 3), colour, np.uint8)


def box_of(page: Image.Image, colour: Colour) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of all pixels of a colour, which have to be one rectangle."""
    rows, columns = np.nonzero((np.asarray(page) == colour).all(axis=-1))
    left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    assert len(rows) == (right - left) * (bottom - top), "covered in part"
    return int(left), int(top), int(right), int(bottom)


def test_pictures_of_every_shape_are_complete_and_captions_of_a_shelf_begin_on_one_line() -> None:
    shapes = [(200, 30), (40, 300), (120, 120), (200, 200)] * 6
    colours = [(200, number, 7) for number in range(len(shapes))]
    blocks = [
        SheetBlock(
            picture(*shape, colour), captions=[Caption(f"film {number} with a caption that is rather long", INK)]
        )
        for number, (shape, colour) in enumerate(zip(shapes, colours, strict=True))
    ]
    page = contact_sheet([Shelves(blocks)], "heading", per_shelf=6)
    places = [box_of(page, colour) for colour in colours]
    assert [(bottom - top, right - left) for left, top, right, bottom in places] == shapes
    shelves = [places[start : start + 6] for start in range(0, len(places), 6)]
    assert [len({bottom for *_, bottom in shelf}) for shelf in shelves] == [1, 1, 1, 1]
    assert all(one[2] < other[0] for shelf in shelves for one, other in pairwise(shelf))
    assert page.width <= MAX_WIDTH


def test_blocks_of_several_shelves_are_aligned_in_columns() -> None:
    colours = [(9, number, 200) for number in range(8)]
    blocks = [
        SheetBlock(picture(50, 20 + 10 * (number % 3), colour), border=INK if number % 2 else None)
        for number, colour in enumerate(colours)
    ]
    page = contact_sheet([Shelves(blocks[:4], "first"), Shelves(blocks[4:], "second")], "", per_shelf=4, cell=60)
    left = [box_of(page, colour)[0] for colour in colours]
    assert np.abs(np.subtract(left[:4], left[4:])).max() <= 3  # the width of a border


def test_no_text_is_cut_off() -> None:
    text = "a_label_without_any_space_" * 12 + " and words"
    page = contact_sheet(
        [Shelves([SheetBlock(picture(30, 30, (1, 2, 3)), Caption(text), [Caption(text)])], text)],
        text,
        [LegendEntry(text, mark=draw_outline_mark(INK)), LegendEntry("short"), LegendEntry(text)],
    )
    margin = np.asarray(page)
    assert (margin[:, -6:] == PAPER).all() and (margin[-6:] == PAPER).all()
    for width in (20, 150, 700):
        lines = wrap_text(text, width)
        assert max(FONT.getlength(line) for line in lines) <= width
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_every_entry_of_a_legend_is_drawn() -> None:
    entries = [LegendEntry(f"entry {number} " * (1 + number % 4), (255, number, 0)) for number in range(20)]
    (drawn,) = draw_legend(entries, 300)
    found = {tuple(pixel) for pixel in np.asarray(drawn).reshape(-1, 3)}
    assert {entry.colour for entry in entries} <= found
    assert drawn.width == 300
    assert draw_legend([], 300) == []


def test_wide_panels_are_stacked() -> None:
    upright, wide = (
        draw_side_by_side([SheetBlock(picture(*shape, (number, 255, 0)), Caption("panel")) for number in range(3)])
        for shape in ((300, 100), (100, 300))
    )
    assert upright.width > 300 and upright.height < 400
    assert wide.width == 300 and wide.height > 300


def test_a_sheet_without_films_has_its_heading() -> None:
    page = contact_sheet([Shelves([], "found: 0 of 9 films")], "fracture", [LegendEntry("box")])
    assert (np.asarray(page) != PAPER).any()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("size", [(7, 13), (40, 30), (200, 300)])
def test_a_scaled_film_keeps_its_type_and_mean(dtype: type, size: tuple[int, int]) -> None:
    values = (np.random.default_rng(0).random((40, 30)) * 255).astype(dtype)
    scaled = scale_film(values, size)
    assert scaled.shape == size and scaled.dtype == dtype
    assert scaled.mean() == pytest.approx(values.mean(), rel=0.02)
    colours = scale_film(np.repeat(values[..., None], 3, axis=-1), size)
    np.testing.assert_allclose(colours, np.repeat(scaled[..., None], 3, axis=-1), rtol=1e-5)


@pytest.mark.parametrize("shape", [(3000, 200), (200, 3000), (17, 17), (1, 5000)])
def test_the_fitted_size_is_the_largest_that_fits(shape: tuple[int, int]) -> None:
    rows, columns = fit_size(shape, (260, 400))
    assert rows == 260 or columns == 400
    assert 1 <= rows <= 260 and 1 <= columns <= 400
    assert fit_size(shape, (10_000, 10_000), 2.0) == (2 * shape[0], 2 * shape[1])


def test_grey_and_heat_use_the_whole_range() -> None:
    assert to_grey_pixels(np.array([[-5.0, 0, 257, 65535, 70000]])).tolist() == [[0, 0, 1, 255, 255]]
    heat = to_heat_pixels(np.linspace(0, 1, 50)[None]).sum(axis=-1)[0].astype(int)
    assert heat[0] < 20 and heat[-1] > 600 and (np.diff(heat[:25]) >= 0).all()
