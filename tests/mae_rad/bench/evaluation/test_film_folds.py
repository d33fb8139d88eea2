"""Films of one group share a fold, which does not depend on other films."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from data_prep.errors import UserError
from mae_rad.bench.evaluation.film_folds import divide, main, only_one

SPLITS = ("train", "train", "val", "test", "test")
FILMS = [{"film": f"{number:04}.jpg"} for number in range(1000)]


def test_films_of_a_group_share_a_fold_and_its_split() -> None:
    pairs = {f"{number:04}.jpg": str(number // 2) for number in range(200)}
    rows = {row["film"]: row for row in divide(FILMS, "film", pairs, SPLITS)}
    for number in range(0, 200, 2):
        first, second = rows[f"{number:04}.jpg"], rows[f"{number + 1:04}.jpg"]
        assert (first["group"], first["fold"]) == (second["group"], second["fold"])
    assert len({row["group"] for row in rows.values()}) == 900
    assert all(row["split"] == SPLITS[int(row["fold"])] for row in rows.values())
    shares = Counter(row["fold"] for row in rows.values())
    assert min(shares.values()) > 150


def test_a_fold_does_not_depend_on_other_films() -> None:
    whole = {row["film"]: row["fold"] for row in divide(FILMS, "film", {}, SPLITS)}
    half = {row["film"]: row["fold"] for row in divide(FILMS[::2], "film", {}, SPLITS)}
    assert half == {name: whole[name] for name in half}


def test_the_column_of_flags_is_empty_unless_one_alone_is_set() -> None:
    assert only_one({"a": "1", "b": "0"}, ["a", "b"]) == "a"
    assert only_one({"a": "1", "b": "1"}, ["a", "b"]) == ""
    assert only_one({"a": "0", "b": "0"}, ["a", "b"]) == ""


def test_the_command_writes_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    films, groups, out = tmp_path / "films.csv", tmp_path / "groups.csv", tmp_path / "folds.csv"
    films.write_text("film,frontal,lateral\n" + "".join(f"{n}.jpg,{n % 2},{1 - n % 2}\n" for n in range(50)))
    groups.write_text("group,film\n1,3.jpg\n1,4.jpg\n")
    words = [films, "--file", "film", "--groups", groups, "--out", out, "--one_of", "view=frontal,lateral"]
    assert main([str(word) for word in words]) == 0
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["view"] for row in rows[:2]] == ["lateral", "frontal"]
    assert rows[3]["fold"] == rows[4]["fold"]
    assert "fold 4 (test)" in capsys.readouterr().out


def test_a_film_named_twice_and_a_missing_column_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="named twice, first row 5") as refused:
        divide([*FILMS, FILMS[3]], "film", {}, SPLITS)
    assert FILMS[3]["film"] not in str(refused.value)
    (tmp_path / "films.csv").write_text("name\nx\n")
    with pytest.raises(UserError, match="no column film"):
        main([str(tmp_path / "films.csv"), "--file", "film", "--out", str(tmp_path / "out.csv")])
