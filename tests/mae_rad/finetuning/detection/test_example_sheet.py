"""Sheets of example films: close-ups, captions and legend."""

import numpy as np

from mae_rad.finetuning.detection.example_sheet import (
    RIGHT,
    TRUE,
    WRONG,
    FilmWithBoxes,
    _close_ups,
    _draw_part,
    box_sheet,
)


def film(shape: tuple[int, int] = (400, 300), caption: str = "HAND, PA") -> FilmWithBoxes:
    """A grey film with a true box that was found, one that was missed, and a false one far from both."""
    return FilmWithBoxes(
        caption,
        np.full(shape, 20_000, np.uint16),
        np.array([[100.0, 60, 130, 90], [20, 100, 40, 110]]),
        np.array([True, False]),
        np.array([[102.0, 62, 131, 93], [200, 320, 240, 360]]),
        np.array([0.9, 0.4]),
        np.array([True, False]),
    )


def has(picture: object, colour: tuple[int, int, int]) -> bool:
    return bool((np.asarray(picture) == colour).all(axis=-1).any())


def test_a_close_up_shows_only_the_boxes_in_it() -> None:
    found, missed, false = (_draw_part(film(), part, 164 / part[2], margin=0) for part in _close_ups(film()))
    assert [has(found, colour) for colour in (TRUE, RIGHT, WRONG)] == [True, True, False]
    assert [has(missed, colour) for colour in (TRUE, RIGHT, WRONG)] == [True, False, False]
    assert [has(false, colour) for colour in (TRUE, RIGHT, WRONG)] == [False, False, True]
    assert {picture.size for picture in (found, missed, false)} == {(164, 164)}


def test_a_score_at_the_lower_edge_stays_on_the_film() -> None:
    low = film()._replace(predicted=np.array([[50.0, 370, 90, 399]]), scores=np.array([0.5]), right=np.array([False]))
    bare = low._replace(predicted=np.empty((0, 4)), scores=np.empty(0), right=np.empty(0, np.bool_))
    whole = (0, 0, 300, 400)
    changed = (
        np.asarray(_draw_part(low, whole, 1.0, margin=2)) != np.asarray(_draw_part(bare, whole, 1.0, margin=2))
    ).any(-1)
    assert changed[385:395, 55:75].any(), "no digit inside the box"


def test_every_film_is_on_the_sheet_and_captions_of_wrong_ones_are_coloured() -> None:
    shapes = [(400, 300), (300, 900), (900, 200)]
    page = np.asarray(box_sheet([film(shape) for shape in shapes], "object, test films"))
    grey = round(20_000 / 257)
    sides = [(round(side * min(520 / max(shape), 2)) for side in shape) for shape in shapes]
    areas = sum(rows * columns for rows, columns in sides)
    assert (page == grey).all(axis=-1).sum() > 0.9 * areas
    assert has(page[:80], TRUE) and has(page[:80], WRONG)
