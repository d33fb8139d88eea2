"""Pictures of predictions: to scale, as displayed, with boxes at their objects, for films of any shape."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from data_prep.pages.contact_sheet import INK
from data_prep.sharding.single_film import ArchiveFile, PreparationSettings, PreparedFilm, read_films
from mae_rad.prediction.overlay import _MIN_WIDTH, PANEL_PIXELS, HeatMap, blend_heat_map, display_film, draw_overlay
from mae_rad.prediction.record import Finding, FoundBox, Record
from tests.builders.dicom_builder import write_film
from tests.builders.private_builder import anatomy

POINTS = {"sensitivity_90": {"fracture": 0.3}}


def film(path: Path, rows: int = 96, columns: int = 80, **attributes: Any) -> PreparedFilm:
    write_film(path, values=anatomy("film", rows, columns), **{"window": (2048, 4096)} | attributes)
    (one,) = read_films(ArchiveFile(str(path), path.name), PreparationSettings(min_side=16))
    return one


def record(**fields: Any) -> Record:
    finding = Finding(label="fracture", score=0.7, reached={"sensitivity_90": True})
    values = {"number": 3, "path": "DOE^JANE.dcm", "size": 1, "changed": 1, "status": "answered"}
    return Record.model_validate(values | {"findings": (finding,)} | fields)


@pytest.mark.parametrize("shape", [(96, 80), (1500, 180), (180, 1500), (40, 32), (3000, 200)])
def test_the_film_keeps_its_proportions(shape: tuple[int, int], tmp_path: Path) -> None:
    one = film(tmp_path / "film.dcm", *shape)
    picture = display_film(one.stream, one.sidecar)
    assert max(picture.shape) == min(PANEL_PIXELS, 2 * max(one.sidecar.rows, one.sidecar.columns))
    assert picture.shape[0] / picture.shape[1] == pytest.approx(shape[0] / shape[1], rel=1 / min(picture.shape))
    for maps in ((), (HeatMap("a map", np.ones((3, 3), np.float32)),) * 2):
        page = draw_overlay(one.stream, one.sidecar, record(), maps, POINTS)
        assert page.width >= _MIN_WIDTH
        assert page.width <= 3 * (PANEL_PIXELS + 20) + 40


def test_the_picture_shows_the_film_as_displayed(tmp_path: Path) -> None:
    plain, turned = (
        film(tmp_path / f"{photometric}.dcm", photometric=photometric) for photometric in ("MONOCHROME2", "MONOCHROME1")
    )
    pictures = [display_film(one.stream, one.sidecar).astype(int) for one in (plain, turned)]
    corner = [picture[:4, :4].mean() for picture in pictures]
    assert corner == [0, 255], "air is black, and white where the film says so"
    np.testing.assert_allclose(pictures[0], 255 - pictures[1], atol=1)


def test_a_narrow_window_is_applied(tmp_path: Path) -> None:
    one = film(tmp_path / "film.dcm", window=(3000, 200))
    values = display_film(one.stream, one.sidecar)
    assert np.mean((values > 5) & (values < 250)) < 0.35


def test_a_box_surrounds_its_object(tmp_path: Path) -> None:
    rows, columns = 400, 300
    one = film(tmp_path / "film.dcm", rows, columns)
    corners = {"x_min": 100, "y_min": 200, "x_max": 150, "y_max": 260}
    found = FoundBox.model_validate({"label": "fracture", "score": 0.7, "reached": {"p": True}, **corners})
    boxed, bare = (
        np.asarray(draw_overlay(one.stream, one.sidecar, record(boxes=boxes), [], POINTS)) for boxes in ((found,), ())
    )
    changed = (boxed != bare).any(axis=-1)
    film_top, film_left = _place_of_film(bare, display_film(one.stream, one.sidecar))
    scale = display_film(one.stream, one.sidecar).shape[0] / rows
    inside = changed[
        round(film_top + 200 * scale) : round(film_top + 260 * scale),
        round(film_left + 100 * scale) : round(film_left + 150 * scale),
    ]
    assert not inside.any(), "the line lies around, not on the finding"
    down, across = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert abs(down[-1] - (film_top + 260 * scale)) <= 3
    assert abs(across[0] - (film_left + 100 * scale)) <= 3


def _place_of_film(page: NDArray[np.uint8], picture: NDArray[np.uint8]) -> tuple[int, int]:
    match = cv2.matchTemplate(page[..., 0], picture, cv2.TM_SQDIFF)
    left, top = cv2.minMaxLoc(match)[2]
    return top, left


def test_a_box_below_all_operating_points_is_not_drawn(tmp_path: Path) -> None:
    one = film(tmp_path / "film.dcm")
    corners = {"x_min": 10, "y_min": 20, "x_max": 15, "y_max": 26}
    found = FoundBox.model_validate({"label": "fracture", "score": 0.1, "reached": {"p": False}, **corners})
    pages = [draw_overlay(one.stream, one.sidecar, record(boxes=boxes), [], POINTS) for boxes in ((found,), ())]
    assert np.array_equal(*(np.asarray(page) for page in pages))


def test_colour_is_drawn_only_where_the_heat_map_is_high() -> None:
    grey = np.full((120, 80), 100, np.uint8)
    values = np.zeros((6, 4), np.float32)
    values[1, 3] = 5
    off = np.abs(blend_heat_map(grey, values).astype(int) - 100).sum(axis=-1)
    assert np.unravel_index(off.argmax(), off.shape)[0] // 20 == 1
    assert np.unravel_index(off.argmax(), off.shape)[1] // 20 == 3
    assert not off[60:].any()
    assert not np.abs(blend_heat_map(grey, np.zeros((6, 4), np.float32)).astype(int) - 100).any()


def test_the_scale_bar_has_its_stated_length(tmp_path: Path) -> None:
    one = film(tmp_path / "film.dcm", 480, 400, PixelSpacing=[0.2, 0.2])
    page = np.asarray(draw_overlay(one.stream, one.sidecar, record(), [], POINTS))
    bare = film(tmp_path / "bare.dcm", 480, 400)
    without = np.asarray(draw_overlay(bare.stream, bare.sidecar, record(), [], POINTS))
    assert page.shape[0] > without.shape[0]
    ink = (page == np.array(INK, np.uint8)).all(axis=-1)
    line = np.flatnonzero(ink[ink.sum(axis=1).argmax()])
    # 480 rows of 0.2 mm on 960 pixels: 10 pixels a millimetre, and a bar of at most 0.2 * 960 is 1 cm
    assert line[-1] - line[0] + 1 == 100
    assert len(line) == 100
