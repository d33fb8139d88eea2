"""What is true of a film: from table, path and header in the order of the settings; differences are told."""

import csv
import io
import os
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from data_prep.archive.manifest import read_linkage, read_manifest
from data_prep.archive.stated_facts import cross_tables, read_stated
from data_prep.errors import SettingsError
from data_prep.scan.scan import scan
from data_prep.scan.scan_summary import ScanSummary
from data_prep.scan.settings import ScanSettings
from data_prep.settings import load
from tests.builders.dicom_builder import write_film

PATTERN = r"^(?P<body_part>[^/]+)/(?P<patient>[^/]+)/"
FOLDER_FIRST = {"order": ["path", "table", "header"]}
Row = dict[str, Any]


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAE_RAD_KEY", "the random secret of these tests")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Wrists and hands that the header calls HAND, a shoulder that it calls scapula, and one of each other kind."""
    films = {
        "HG_NEU/p1/a": "HAND", "HG_NEU/p1/b": "HAND", "HG_NEU/p2/c": "HANDGELENK", "HAND_NEU/p3/d": "HAND",
        "SCHULTER_NEU/p4/e": "SCHULTERBLATT", "SG_NEU/p5/f": "LSG", "KNIE_NEU/p6/g": "THORAX BETT",
        "KNIE_NEU/p6/h": None, "Verschiedenes/p7/i": "H_FTE", "LWS_NEU/p8/j": "PORTLSPINE",
    }  # fmt: skip
    for name, word in films.items():
        write_film(tmp_path / "archive" / name, patient_id=Path(name).parts[1], BodyPartExamined=word)
    return tmp_path / "archive"


def scanned(archive: Path, private: Path, **settings: Any) -> tuple[dict[str, Row], ScanSummary]:
    """Scan; name of a film → its row of the manifest."""
    summary = scan([archive], private, ScanSettings.model_validate({"workers": 1, "image_pattern": PATTERN} | settings))
    names = [Path(path).name for path in read_linkage(private)["path"].to_pylist()]
    return dict(zip(names, read_manifest(private).to_pylist(), strict=True)), summary


def parts(rows: dict[str, Row]) -> dict[str, tuple[str | None, str | None]]:
    return {name: (row["body_part"], row["body_part_from"]) for name, row in rows.items()}


def test_the_header_comes_first_and_the_path_fills_what_it_does_not_know(archive: Path, tmp_path: Path) -> None:
    rows, _ = scanned(archive, tmp_path / "private")
    assert parts(rows) == {
        "a": ("HAND", "header"), "b": ("HAND", "header"), "c": ("WRIST", "header"), "d": ("HAND", "header"),
        "e": ("SCAPULA", "header"), "f": ("ANKLE", "path"), "g": ("CHEST", "header"), "h": ("KNEE", "path"),
        "i": ("HIP", "header"), "j": ("LSPINE", "header"),
    }  # fmt: skip
    assert {name for name, row in rows.items() if row["body_part_doubtful"]} == {"g", "j"}


def test_with_folders_first_every_region_is_that_of_its_folder(archive: Path, tmp_path: Path) -> None:
    rows, _ = scanned(archive, tmp_path / "private", facts=FOLDER_FIRST)
    by_folder = dict.fromkeys("abc", "WRIST") | {"d": "HAND", "e": "SHOULDER", "f": "ANKLE", "g": "KNEE", "h": "KNEE"}
    by_folder |= {"j": "LSPINE"}
    assert parts(rows) == {name: (part, "path") for name, part in by_folder.items()} | {"i": ("HIP", "header")}
    assert not any(row["body_part_doubtful"] for row in rows.values())


def test_a_source_that_is_left_out_is_never_used_but_kept(archive: Path, tmp_path: Path) -> None:
    rows, _ = scanned(archive, tmp_path / "private", facts={"order": ["path"]})
    assert rows["i"]["body_part"] is None and rows["a"]["body_part"] == "WRIST"
    stated = read_stated(tmp_path / "private" / "facts.parquet")
    assert stated is not None and stated["body_part_by_header"].to_pylist().count("HAND") == 3


def test_all_that_was_stated_is_kept_with_its_words(archive: Path, tmp_path: Path) -> None:
    rows, _ = scanned(archive, tmp_path / "private", facts=FOLDER_FIRST)
    stated = read_stated(tmp_path / "private" / "facts.parquet")
    assert stated is not None
    row = {row["key"]: row for row in stated.to_pylist()}[rows["f"]["key"]]
    names = ("body_part_by_header", "body_part_word_by_header", "body_part_by_path", "body_part_word_by_path")
    assert [row[name] for name in names] == [None, "LSG", "ANKLE", "SG_NEU"]
    assert row["body_part_by_table"] is None and row["row"] == rows["f"]["row"]


def test_differences_are_counted_and_listed(archive: Path, tmp_path: Path) -> None:
    rows, summary = scanned(archive, tmp_path / "private", facts=FOLDER_FIRST)
    assert summary.differing == {"body_part": 4}
    (table,) = summary.cross
    assert (table.fact, table.first, table.second, table.differing) == ("body_part", "header", "path", 4)
    assert table.films == {
        ("HAND", "WRIST"): 2, ("WRIST", "WRIST"): 1, ("HAND", "HAND"): 1, ("SCAPULA", "SHOULDER"): 1,
        ("unknown word", "ANKLE"): 1, ("CHEST", "KNEE"): 1, ("not stated", "KNEE"): 1, ("HIP", "unknown word"): 1,
        ("LSPINE", "LSPINE"): 1,
    }  # fmt: skip
    text = str(summary)
    assert "body_part by path, and what the header states (4 films differ)" in text
    assert "  WRIST                  3  HAND 2, WRIST 1" in text
    listed = list(csv.DictReader(io.StringIO((tmp_path / "private" / "differences.csv").read_text(encoding="utf-8"))))
    assert {Path(row["path"]).name for row in listed} == set("abeg")
    first = next(row for row in listed if row["key"] == rows["a"]["key"])
    assert (first["field"], first["by_header"], first["by_path"], first["by_table"]) == (
        "body_part",
        "HAND",
        "WRIST",
        "",
    )
    assert (first["used"], first["from"]) == ("WRIST", "path")
    assert (tmp_path / "private" / "differences.csv").stat().st_mode & 0o777 == 0o600


def test_doubtful_words_are_listed_in_the_summary(archive: Path, tmp_path: Path) -> None:
    _, summary = scanned(archive, tmp_path / "private")
    assert summary.doubtful == {("LSG", ""): 1, ("THORAXBETT", "CHEST"): 1, ("PORTLSPINE", "LSPINE"): 1}
    for line in ("doubtful LSG  ", "has several meanings: not read", "doubtful THORAXBETT", "read as CHEST"):
        assert line in str(summary)
    words = (tmp_path / "private" / "unmapped.csv").read_text(encoding="utf-8").splitlines()
    assert words == ["field,word,films", "body_part,LSG,1", "body_part,Verschiedenes,1"]


def test_words_of_the_user_are_read(archive: Path, tmp_path: Path) -> None:
    words = {"lsg": "ANKLE", "Verschiedenes": "HAND"}
    rows, summary = scanned(archive, tmp_path / "private", facts={"words": words})
    assert parts(rows)["f"] == ("ANKLE", "header") and parts(rows)["i"] == ("HIP", "header")
    assert summary.unmapped == {} and ("LSG", "") not in summary.doubtful


def test_another_order_or_word_reads_no_header_again(archive: Path, tmp_path: Path) -> None:
    for path in archive.rglob("*"):
        os.utime(path, (time.time() - 60,) * 2)
    scanned(archive, tmp_path / "private")
    _, summary = scanned(archive, tmp_path / "private", facts=FOLDER_FIRST | {"words": {"LSG": "ANKLE"}})
    assert summary.changes is not None and (summary.changes.read_again, summary.changes.unchanged) == (0, 10)


def test_all_five_facts_may_come_from_the_path_of_any_kind_of_file(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    write_film(archive / "Knie_seitlich_links_w_047Y" / "film", PatientSex="M", ViewPosition="AP", PatientAge="030Y")
    write_film(archive / "Hand_pa_re_männlich_12" / "silent")
    (archive / "Hand_pa_R_M_12.4").mkdir()
    Image.new("L", (9, 7)).save(archive / "Hand_pa_R_M_12.4" / "image.png")
    pattern = r"^(?P<body_part>[^_]+)_(?P<view>[^_]+)_(?P<laterality>[^_]+)_(?P<sex>[^_]+)_(?P<age>[^/]+)/"
    rows, summary = scanned(archive, tmp_path / "private", image_pattern=pattern, facts={"order": ["path", "header"]})
    facts = ("body_part", "view", "laterality", "sex", "age_years")
    assert [rows["film"][name] for name in facts] == ["KNEE", "LATERAL", "L", "F", 47]
    assert [rows["silent"][name] for name in facts] == ["HAND", "PA", "R", "M", 12]
    assert [rows["image.png"][name] for name in facts] == ["HAND", "PA", "R", "M", 12]
    assert summary.differing == {"view": 1, "sex": 1, "age_years": 1}
    assert {row[f"{name}_from"] for row in rows.values() for name in facts} == {"path"}


def test_tables_and_headers_are_compared_too(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "films.csv").write_text("name;region;sex\nHG_NEU/p1/a;WRIST;w\nHG_NEU/p1/b;nonsense;m\n")
    columns = {"films": tmp_path / "films.csv", "file": "name", "facts": {"body_part": "region", "sex": "sex"}}
    values = {"layout": "table", "columns": columns, "facts": {"order": ["table", "header"]}, "image_pattern": None}
    rows, summary = scanned(archive, tmp_path / "private", **values)
    assert parts(rows)["a"] == ("WRIST", "table") and parts(rows)["b"] == ("HAND", "header")
    assert [rows[name]["sex"] for name in "abc"] == ["F", "M", None]
    assert summary.differing == {"body_part": 1} and summary.unmapped["body_part"] == 2  # LSG and nonsense
    assert {(table.first, table.second) for table in summary.cross} == {("header", "table")}
    stated = read_stated(tmp_path / "private" / "facts.parquet")
    assert stated is not None and [(table.first, table.second) for table in cross_tables(stated)] == [
        ("header", "table")
    ]


def test_the_patient_of_a_silent_header_comes_from_the_path(tmp_path: Path) -> None:
    for name, patient in (
        ("HG_NEU/p1/a", None),
        ("HG_NEU/p1/b", None),
        ("HG_NEU/p2/c", "4711"),
        ("HG_NEU/p3/d", "4711"),
    ):
        write_film(tmp_path / "archive" / name, patient_id=patient, study=name)
    rows, _ = scanned(tmp_path / "archive", tmp_path / "private")
    assert all(row["patient_known"] for row in rows.values())
    of_film = {name: row["patient"] for name, row in rows.items()}
    assert of_film["a"] == of_film["b"] != of_film["c"] == of_film["d"]
    plain, _ = scanned(tmp_path / "archive", tmp_path / "plain", image_pattern=None)
    assert not plain["a"]["patient_known"] and plain["c"]["patient"] == of_film["c"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("facts.order=[path, path]", "twice"),
        ("facts.order=[folder]", "facts.order"),
        ("facts.order=[]", "facts.order"),
        ("facts.words={LSG: ANKEL}", "is it ANKLE"),
        ("facts.words={L: ANKLE}", "two letters"),
        ("facts.words={LSG: ANKLE, L-SG: FOOT}", "two meanings"),
        ("facts.word={}", "facts.word"),
    ],
)
def test_wrong_settings_are_refused(override: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load(ScanSettings, None, [override])
