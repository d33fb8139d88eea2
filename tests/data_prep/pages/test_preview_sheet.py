"""The preview draws the right films with the right display."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep.cli.exit_codes import BAD_INPUT
from data_prep.cli.main import main
from data_prep.errors import ShardFormatError
from data_prep.pages.box_overlay import assign_colours, draw_boxes
from data_prep.pages.contact_sheet import PAPER, LegendEntry, draw_legend
from data_prep.pages.preview_sheet import FILM_SIDE, _select_rows, write_preview
from data_prep.sharding.shard import shard
from tests.builders.private_builder import make_private, settings


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("preview")
        shard(make_private(folder, patch), folder / "public", settings())
    return folder / "public"


def test_films_come_evenly_from_all_body_parts(public: Path) -> None:
    import pyarrow.parquet as pq

    index = pq.read_table(public / "index.parquet")  # 8 chests, 4 hands, 2 without a body part
    drawn = [row["body_part"] for row in _select_rows(index, 7)]
    assert sorted(drawn, key=str) == ["CHEST"] * 3 + ["HAND"] * 2 + [None] * 2
    assert len({row["key"] for row in _select_rows(index, 100)}) == 14


def test_boxes_are_drawn_at_their_coordinates() -> None:
    picture = Image.new("RGB", (100, 50))  # of a film of 200 rows and 400 columns
    box = {"label": "coin", "x_min": 40.0, "y_min": 80.0, "x_max": 120.0, "y_max": 160.0}
    draw_boxes(picture, [box], (200, 400), {"coin": (255, 0, 0)})
    rows, columns = np.nonzero(np.asarray(picture)[:, :, 0])
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == (10, 20, 29, 39)
    assert not np.asarray(picture)[25, 15].any()


def test_every_label_is_legible_on_a_sheet_of_one_film(public: Path, tmp_path: Path) -> None:
    names = {f"finding_{number}": [{"label": f"finding_{number}"}] for number in range(16)}
    assert len(set(assign_colours(names).values())) == 16
    colours = {f"a_rather_long_finding_{number}": (255, 200 + number, 0) for number in range(28)}
    (drawn,) = draw_legend([LegendEntry(label, colour) for label, colour in colours.items()], 600)
    picture = np.asarray(drawn)
    assert picture.shape[1] == 600
    assert set(colours.values()) <= {tuple(pixel) for pixel in picture.reshape(-1, 3)}
    assert (picture[:, -1] == PAPER).all(), "a label is cut off"
    write_preview(public, tmp_path / "sheet.png", films=1, split=None)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 3 * FILM_SIDE


def test_a_folder_without_boxes_is_an_error(public: Path, tmp_path: Path) -> None:
    with pytest.raises(ShardFormatError, match="has no boxes to show"):
        write_preview(public, tmp_path / "sheet.png", films=9, split=None, boxes=True)


def test_sheet_shows_films_and_outlines(public: Path, tmp_path: Path) -> None:
    write_preview(public, tmp_path / "sheet.png", films=9, split=None)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape[1] > 8 * FILM_SIDE and sheet.shape[0] > 2 * FILM_SIDE
    bright = (sheet.min(axis=2) > 120).mean()
    assert 0.05 < bright < 0.6
    outline = (sheet[:, :, 0] > 150) & (sheet[:, :, 2] < 110)
    assert outline.any(), "no outline of the content"


def test_sheet_of_one_split(public: Path, tmp_path: Path) -> None:
    write_preview(public, tmp_path / "val.png", films=100, split="val")
    assert (tmp_path / "val.png").stat().st_size > 1000


def test_user_errors_are_reported(public: Path, tmp_path: Path) -> None:
    with pytest.raises(ShardFormatError, match="does not exist"):
        write_preview(tmp_path / "nothing", tmp_path / "sheet.png", films=9, split=None)
    with pytest.raises(ShardFormatError, match="cannot be written"):
        write_preview(public, tmp_path / "no folder" / "sheet.png", films=9, split=None)
    with pytest.raises(ShardFormatError, match="no films"):
        write_preview(public, tmp_path / "sheet.png", films=0, split="test")


def test_a_sheet_in_the_public_folder_is_refused(public: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["preview", str(public), "--out", str(public / "sheet.png")]) == BAD_INPUT
    assert "lies in a public folder" in capsys.readouterr().err and not (public / "sheet.png").exists()
