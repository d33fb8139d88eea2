"""OCR flags text on films: lines that count, films ranked, what it reads is kept nowhere."""

import csv
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from data_prep.errors import UserError
from data_prep.pages import burned_in_text
from data_prep.pages.border_sheets import write_border_sheets
from data_prep.pages.burned_in_text import find_text
from tests.builders.shard_builder import film, noise, write_public

SHAPE = (300, 240)


class Engine:
    """Reads what it is told, wherever the picture has its brightest value."""

    def __init__(self, *lines: tuple[str, float]) -> None:
        self.lines, self.shapes = lines, list[tuple[int, ...]]()

    def __call__(self, picture: NDArray[np.uint8], **_: Any) -> Any:
        self.shapes.append(picture.shape)
        if picture.max() < 255:
            return SimpleNamespace(txts=None, scores=None, boxes=None)
        corners = np.array([[24, 30], [120, 30], [120, 60], [24, 60]], dtype=np.float32)
        texts, scores = zip(*self.lines, strict=True)
        return SimpleNamespace(txts=texts, scores=scores, boxes=[corners] * len(texts))


def use(monkeypatch: pytest.MonkeyPatch, engine: Any) -> Any:
    monkeypatch.setattr(burned_in_text, "_engine", lambda: engine)
    return engine


def displayed(brightest: int) -> NDArray[np.uint16]:
    values = np.zeros(SHAPE, np.uint16)
    values[40:50, 30:100] = brightest
    return values


def test_lines_of_three_letters_that_were_surely_read_count(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Engine(("MÜLLER, 1953", 0.9), ("R", 0.99), ("L -", 0.99), ("unsure", 0.3), ("ABC", 0.7)))
    text = find_text(displayed(65535))
    assert [(line.letters, line.confidence) for line in text.lines] == [(10, 0.9), (3, 0.7)]
    assert text.letters == 13
    assert text.lines[0].box == pytest.approx((0.1, 0.1, 0.5, 0.2))
    assert find_text(displayed(30000)).lines == ()


def test_a_large_film_is_searched_at_the_size_of_the_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = use(monkeypatch, Engine(("ABC", 0.9)))
    find_text(np.zeros((3000, 1000), np.uint16))
    find_text(np.zeros(SHAPE, np.uint16))
    assert engine.shapes == [(1536, 512, 3), (*SHAPE, 3)]


@pytest.fixture
def public(tmp_path: Path) -> Path:
    """Four films; every second one has a value brighter than the others."""
    films = []
    for number in range(4):
        values = noise(*SHAPE, seed=number) // 2 + 500
        if number % 2:
            values[100:110, 60:200] = 4095
        films.append(film(f"f{number}", values, manufacturer="Agfa"))
    write_public(tmp_path / "public", films)
    return tmp_path / "public"


def test_films_with_text_are_listed_most_letters_first(
    public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, Engine(("SECRETNAME 1953", 0.9), ("ABCD", 0.8)))
    monkeypatch.setattr("data_prep.pages.border_sheets.check_ocr_installed", lambda: None)
    out = tmp_path / "borders"
    summary = write_border_sheets(public, out, films=2, ocr_films=10)
    assert (summary.searched, summary.with_text) == (4, 2)
    assert "OCR: text on 2 of 4 films" in str(summary)
    with (out / "text_suspects.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["rank"] for row in rows] == ["1", "2"]
    assert {(row["letters"], row["lines"], row["confidence"], row["verdict"]) for row in rows} == {
        ("18", "2", "0.90", "")
    }
    assert (rows[0]["maker"], rows[0]["x_min"], rows[0]["y_max"]) == ("Agfa", "24", "60")
    assert (out / "text_suspects.png").stat().st_size > 1000
    assert not any(b"SECRETNAME" in path.read_bytes() for path in out.iterdir())


def test_without_text_there_is_a_table_and_no_sheet(
    public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, Engine(("R", 0.9)))
    monkeypatch.setattr("data_prep.pages.border_sheets.check_ocr_installed", lambda: None)
    out = tmp_path / "borders"
    summary = write_border_sheets(public, out, films=2, ocr_films=1)
    assert (summary.searched, summary.with_text) == (1, 0)
    assert len((out / "text_suspects.csv").read_text().splitlines()) == 1
    assert not (out / "text_suspects.png").exists()


def test_without_the_extra_it_is_refused_before_anything_is_written(
    public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(UserError, match=r"pip install 'mae_rad\[ocr\]'"):
        write_border_sheets(public, tmp_path / "borders", ocr_films=3)
    assert not (tmp_path / "borders").exists()
    write_border_sheets(public, tmp_path / "borders", films=1)
    assert not (tmp_path / "borders" / "text_suspects.csv").exists()


def test_real_networks_find_a_name_and_no_text_in_noise() -> None:
    pytest.importorskip("rapidocr", reason="the extra [ocr] is not installed")
    values = np.random.default_rng(0).normal(9000, 900, (700, 560)).clip(0, 65535).astype(np.uint16)
    assert find_text(values).lines == ()
    letters = np.zeros(values.shape, np.uint8)
    cv2.putText(letters, "MUSTER, ERIKA 1953", (30, 650), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 255, 2)
    values[letters > 0] = 52000
    (line,) = find_text(values).lines
    assert line.letters >= 13
    assert line.box[1] < 640 / 700 < line.box[3]
