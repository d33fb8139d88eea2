import csv
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.shard_format.label_schema import LABELS_SCHEMA
from mae_rad.errors import EvaluationError
from mae_rad.suspects.corrections import CorrectionsSettings, write_corrections
from mae_rad.suspects.find_suspects import PAGE, SUMMARY, TABLE, find_suspects
from mae_rad.suspects.settings import SuspectsSettings
from tests.mae_rad.suspects.planted_folder import Planted, write_planted


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return write_planted(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def out(planted: Planted) -> Path:
    folder = planted.public.parent / "out"
    find_suspects(planted.table, SuspectsSettings(shards=[planted.public], out=folder))
    return folder


def rows_of(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / TABLE).read_text().splitlines()))


def test_planted_films_are_first_and_right(planted: Planted, out: Path) -> None:
    rows = rows_of(out)
    first = rows[: len(planted.wrong)]
    assert {row["key"]: row["predicted"] for row in first} == planted.wrong
    assert [row["rank"] for row in rows] == [str(place) for place in range(1, len(rows) + 1)]
    assert all(row["stated"] != row["predicted"] and row["value"] == "" for row in rows)
    scores = [float(row["stated_probability"]) for row in rows]
    assert scores == sorted(scores)


def test_summary_tells_what_was_left_out(planted: Planted, out: Path) -> None:
    text = (out / SUMMARY).read_text()
    assert "88 films looked at" in text
    assert "left out: 1 films, no body_part" in text
    assert "left out: rare, fewer than 10 patients each: SKULL" in text
    assert "no film of the list is known to be wrong" in text
    value, low, high = (int(number) for number in re.findall(r"expected wrong: (\d+) \[(\d+), (\d+)\]", text)[0])
    assert low <= value <= high
    assert abs(value - len(planted.wrong)) <= 2


def test_page_shows_every_suspect_and_loads_nothing(planted: Planted, out: Path) -> None:
    page = (out / PAGE).read_text()
    assert [key for key in planted.wrong if f'data-key="{key}"' not in page] == []
    assert page.count("data:image/jpeg;base64,") == len(rows_of(out))
    assert "default-src 'none'" in page
    assert not re.search(r"https?://", page.replace("http-equiv", ""))
    assert str(planted.public) not in page


def test_answers_are_never_overwritten(planted: Planted, tmp_path: Path) -> None:
    settings = SuspectsSettings(shards=[planted.public], out=tmp_path, shown=0)
    find_suspects(planted.table, settings)
    find_suspects(planted.table, settings)
    table = tmp_path / TABLE
    answered = table.read_text().replace(",\n", ",keep\n", 1) if ",\n" in table.read_text() else ""
    table.write_text(answered)
    with pytest.raises(EvaluationError, match="holds answers"):
        find_suspects(planted.table, settings)
    assert table.read_text() == answered


def test_answers_become_corrections_of_the_planted_films(planted: Planted, out: Path, tmp_path: Path) -> None:
    rows = rows_of(out)
    for row in rows:
        row["value"] = planted.wrong.get(row["key"], "keep")
    answers = tmp_path / "answers.csv"
    with answers.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    write_corrections([answers], CorrectionsSettings(shards=[planted.public], out=tmp_path), {})
    written = list(csv.DictReader((tmp_path / "corrections.csv").read_text().splitlines()))
    assert {row["key"]: row["value"] for row in written} == planted.wrong
    assert {row["field"] for row in written} == {"body_part"}


def test_a_wrong_number_is_a_suspect(planted: Planted, tmp_path: Path) -> None:
    """Ages are the film's number; of one film it is written as another."""
    table = pq.read_table(planted.public / "index.parquet")
    ages = table["age_years"].to_pylist()
    ages[10] = 120
    public = tmp_path / "public"
    public.mkdir()
    for path in planted.public.iterdir():
        (public / path.name).write_bytes(path.read_bytes())
    place = table.schema.get_field_index("age_years")
    pq.write_table(table.set_column(place, "age_years", pa.array(ages, pa.int16())), public / "index.parquet")
    settings = SuspectsSettings(shards=[public], out=tmp_path / "out", fields="age_years")
    text = find_suspects(planted.table, settings)
    first = rows_of(tmp_path / "out")[0]
    assert (first["key"], first["stated"], first["probability"]) == (table["key"][10].as_py(), "120", "")
    assert float(first["deviations"]) > 3
    assert "robust standard deviations" in text


def test_labels_present_or_absent_and_exclusive_labels(planted: Planted, tmp_path: Path) -> None:
    """The label is the hand; of one hand it is said to be absent."""
    index = pq.read_table(planted.public / "index.parquet")
    parts = dict(zip(index["key"].to_pylist(), index["body_part"].to_pylist(), strict=True))
    hands = [key for key, part in parts.items() if part == "HAND" and key not in planted.wrong]
    rows = [
        {"key": key, "label": label, "value": "present" if (part == "HAND") == (label == "hand") else "absent",
         "source": "expert", "confidence": 1.0}
        for key, part in parts.items() if part in ("HAND", "KNEE", "ANKLE") for label in ("hand", "other")
    ]  # fmt: skip
    for row in rows:
        if row["key"] == hands[0]:
            row["value"] = {"present": "absent", "absent": "present"}[str(row["value"])]
    pq.write_table(pa.Table.from_pylist(rows, schema=LABELS_SCHEMA), planted.public / "labels.parquet")
    try:
        settings = SuspectsSettings(
            shards=[planted.public], out=tmp_path, fields=["hand", {"labels": ["hand", "other"]}], shown=3
        )
        find_suspects(planted.table, settings)
    finally:
        (planted.public / "labels.parquet").unlink()
    found = rows_of(tmp_path)
    for field, stated, predicted in (("hand", "absent", "present"), ("hand|other", "other", "hand")):
        of_field = [row for row in found if row["field"] == field]
        assert hands[0] in [row["key"] for row in of_field[: 2 * len(planted.wrong)]]
        row = next(row for row in of_field if row["key"] == hands[0])
        assert (row["stated"], row["predicted"]) == (stated, predicted)


def test_a_finetuned_head_tells_of_its_val_and_test_films(planted: Planted, tmp_path: Path) -> None:
    index = pq.read_table(planted.public / "index.parquet")
    films = [row for row in index.to_pylist() if row["split"] != "train"]
    struct = pa.struct([(name, pa.float64()) for name in ("ANKLE", "HAND", "KNEE")])

    def believed(row: dict[str, str]) -> dict[str, float]:
        part = planted.wrong.get(row["key"], row["body_part"])
        return {name: 0.9 if name == part else 0.05 for name in ("ANKLE", "HAND", "KNEE")}

    table = pa.table(
        {
            "key": [row["key"] for row in films],
            "split": [row["split"] for row in films],
            "label": ["body_part"] * len(films),
            "class": [row["body_part"] for row in films],
            "predicted": ["HAND"] * len(films),
            "probability": pa.array([believed(row) for row in films], struct),
        }
    )
    (tmp_path / "run" / "evaluation").mkdir(parents=True)
    pq.write_table(table, tmp_path / "run" / "evaluation" / "predictions.parquet")
    settings = SuspectsSettings(shards=[planted.public], out=tmp_path / "out", shown=0)
    text = find_suspects(tmp_path / "run", settings)
    scored = {row["key"] for row in films}
    assert {row["key"] for row in rows_of(tmp_path / "out")} == set(planted.wrong) & scored
    assert "films of val and test" in text
    assert "without a prediction" in text
