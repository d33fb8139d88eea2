"""The map of the embeddings: films under the pointer, within bounds, nothing loaded, nobody named."""

import base64
import hashlib
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mae_rad.data.shard_reader import FilmUnreadableError
from mae_rad.evaluation.figures import map_page
from mae_rad.evaluation.figures.embedding_map import principal
from mae_rad.evaluation.figures.map_page import MAX_FILMS, sampled_films, without_empty, write_map_page

FILMS = 60
EVIL = "</script><script>alert(1)</script>"
PATIENTS = np.arange(FILMS) // 2
UNREADABLE = 7


def _vectors(seed=0):
    return np.random.default_rng(seed).standard_normal((FILMS, 12)).astype(np.float32)


def _film(position):
    if position == UNREADABLE:
        raise FilmUnreadableError("damaged")
    return np.full((200, 100), 1000 * position, np.uint16)


def _colourings():
    parts = np.array(["HAND"] * 30 + ["CHEST"] * 28 + ["SKULL", ""], dtype=object)
    return {"body_part": parts, "finding": np.array([EVIL, "absent"] * (FILMS // 2), dtype=object)}


@pytest.fixture
def page(tmp_path):
    encoders = {"mae": _vectors(), EVIL: _vectors(1)}
    path = write_map_page(encoders, _colourings(), PATIENTS, _film, tmp_path, min_patients=10)
    assert path == tmp_path / "map.html"
    return path.read_text(encoding="utf-8")


def _data(page):
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(text)


def test_every_point_lies_at_its_principal_components(page):
    one = _data(page)["maps"]["mae"]
    projected, explained = principal(_vectors())
    assert len(one["x"]) == FILMS and min(one["x"]) == 0 and max(one["x"]) == 2000
    for places, column, sign in ((one["x"], 0, 1), (one["y"], 1, -1)):
        assert np.corrcoef(places, projected[:, column])[0, 1] == pytest.approx(sign, abs=1e-5)
    assert one["percent"] == [round(100 * share, 1) for share in explained.tolist()]


def test_every_film_has_its_thumbnail(page):
    thumbnails = _data(page)["thumbnails"]
    assert [number for number, one in enumerate(thumbnails) if one is None] == [UNREADABLE]
    for number in (1, 59):
        picture = Image.open(io.BytesIO(base64.b64decode(thumbnails[number])))
        assert picture.size == (56, 112) and picture.mode == "L" and picture.format == "JPEG"
        assert abs(np.asarray(picture).mean() - 1000 * number / 257) < 3


def test_values_of_few_patients_are_not_named(page):
    part = _data(page)["colourings"]["body part"]
    assert part["values"] == ["HAND", "CHEST", "rare"]
    assert part["codes"][0] == 0 and part["codes"][30] == 1 and part["codes"][-2:] == [2, -1]
    assert "SKULL" not in page


def test_the_page_loads_nothing_and_runs_only_its_own_script(page):
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    (allowed,) = re.findall(r"script-src ([^;]*)", policy)
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert [f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in scripts] == [
        allowed
    ]
    assert policy.startswith("default-src 'none'; img-src data:") and "connect-src" not in policy
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    assert not re.findall(r"<(?:link|img|iframe|object|form|base)\b", page)
    assert "<script>alert" not in page and page.count("</script>") == 2


def test_the_largest_map_of_the_noisiest_films_stays_below_20_mb():
    noise = np.random.default_rng(0).integers(0, 65536, (400, 400)).astype(np.uint16)
    thumbnail = map_page._thumbnail(lambda _: noise, 0)
    assert thumbnail is not None
    codes = 40 * MAX_FILMS  # some ten encoders and colourings
    assert MAX_FILMS * (len(thumbnail) + 3) + codes < 20e6
    assert Image.open(io.BytesIO(base64.b64decode(thumbnail))).size == (112, 112)


def test_few_films_have_no_map_and_an_earlier_one_goes(tmp_path: Path):
    (tmp_path / "map.html").write_text("of an earlier comparison")
    few = slice(0, 2)
    colourings = {name: values[few] for name, values in _colourings().items()}
    assert write_map_page({"mae": _vectors()[few]}, colourings, PATIENTS[few], _film, tmp_path, min_patients=1) is None
    assert not (tmp_path / "map.html").exists()


def test_films_are_sampled_the_same_each_time_and_empty_colourings_are_left_out():
    rows = np.arange(100, 200)
    chosen = sampled_films(rows, 10)
    assert len(chosen) == 10 and np.array_equal(chosen, sampled_films(rows, 10)) and set(chosen) <= set(rows)
    assert np.array_equal(sampled_films(rows, 1000), rows)
    colourings = {"a": np.array(["", ""], dtype=object), "b": np.array(["", "x"], dtype=object)}
    assert list(without_empty(colourings)) == ["b"]


def test_vectors_that_are_all_equal_leave_a_map_that_can_be_read(tmp_path):
    encoders = {"mae": _vectors(), "collapsed": np.ones((FILMS, 12), np.float32)}
    path = write_map_page(encoders, _colourings(), PATIENTS, _film, tmp_path, min_patients=10)
    assert not re.search(r"\bNaN\b", path.read_text(encoding="utf-8"))
