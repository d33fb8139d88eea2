"""The archive as a hospital keeps it: folders, pseudonyms, headers, defects; every documented step reads it."""

import csv
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from data_prep.cli.exit_codes import BAD_INPUT
from data_prep.cli.main import main
from data_prep.errors import ArchiveError, Reason
from data_prep.phantom.hospital_archive import pseudonym
from data_prep.phantom.hospital_defects import Defect
from data_prep.phantom.hospital_regions import HOSPITAL, REGIONS, folder_of_study, header_word
from data_prep.phantom.random_draws import draw_patient
from data_prep.phantom.write_archive import write_archive
from data_prep.radiology_reports.sections import states_findings
from data_prep.shard_format.index import read_index
from data_prep.shard_format.label_tables import read_labels

PATIENTS, SEED = 14, 4
FOLDERS = {
    "KNIE_NEU",
    "SCHULTER_NEU",
    "SG_NEU",
    "ELLENBOGEN_NEU",
    "FUSS_NEU",
    "HG_NEU",
    "HAND_NEU",
    "HWS_NEU",
    "CLAVICULA_NEU",
    "BWS_NEU",
    "LWS_NEU",
    "DX_Schädel_Neu",
    "DX_RIPPEN",
    "SCAPULA_NEU",
}
REPORTS = r"reports.pattern=Befund__?(?P<study>[\w-]{11})\.txt"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hospital") / "new"
    write_archive(folder, patients=PATIENTS, seed=SEED, workers=1, scale=0.2, level="clear", layout="hospital")
    return folder


def truth(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "truth" / "truth.jsonl").read_text("utf-8").splitlines()]


def films(out: Path) -> list[dict[str, Any]]:
    return [row for row in truth(out) if row["kind"] == "film"]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_films_lie_in_folders_of_body_part_patient_examination_and_series(out: Path) -> None:
    assert {row["path"].split("/")[0] for row in films(out)} == FOLDERS
    for row in films(out):
        folder, patient, examination, series, name = row["path"].split("/")
        assert folder == REGIONS[row["folder_region"]].folder and row["region"] == row["folder_region"]
        assert re.fullmatch(r"[\w-]{11}", patient) and re.fullmatch(r"[\w-]{11}", examination) and series.isdigit()
        assert name == row["sop_instance_uid"] and name.startswith("1.2.840.113654.2.70.1.") and len(name) <= 64
    files = {path.relative_to(out / "archive").as_posix() for path in (out / "archive").rglob("*") if path.is_file()}
    assert files == {row["path"] for row in truth(out)}
    first = {pseudonym(seed, "patient", 0)[0] for seed in range(600)}
    assert {"-", "_"} < first and len(first) == 64


def test_headers_say_what_the_console_was_set_to_in_the_proportions_of_the_archive(out: Path) -> None:
    for row in films(out):
        dataset = pydicom.dcmread(out / "archive" / row["path"])
        assert dataset.BodyPartExamined == row["header"] in REGIONS[row["region"]].words
        assert dataset.BitsAllocated == 16 and dataset.BitsStored in (12, 15)
        assert "STITCHED" in dataset.ImageType or not row["stitched"]
    assert {row["scanner"]["bits"] for row in films(out)} == {12, 15}
    regions = list(REGIONS)
    drawn = {name: Counter(header_word(7, k, 0, name) for k in range(regions.index(name), 700, 14)) for name in regions}
    for name, region in REGIONS.items():
        for word, count in region.words.items():
            assert drawn[name][word] / 50 == pytest.approx(count / sum(region.words.values()), abs=0.04), (name, word)
    assert 0.7 < drawn["WRIST"]["HAND"] / 50 < 0.78 and drawn["RIB"]["CHEST"] > 42


def test_an_eighth_of_the_films_is_stored_inverted() -> None:
    patients = [draw_patient(SEED, k, 400, kind=HOSPITAL) for k in range(400)]
    inverted = [film.inverted for patient in patients for study in patient.studies for film in study.films]
    assert np.mean(inverted) == pytest.approx(0.129, abs=0.025)
    assert Counter(patient.studies[0].body_part for patient in patients[:14]) == dict.fromkeys(REGIONS, 1)


def test_every_defect_is_there_and_a_long_film(out: Path) -> None:
    kinds = Counter(row["kind"] for row in truth(out))
    assert set(kinds) == {"film"} | {kind.name.lower() for kind in Defect}
    for row in truth(out):
        path = out / "archive" / row["path"]
        if row["kind"] in ("copy", "second_copy"):
            assert path.read_bytes() == path.with_name(re.sub(r"\[\d]$", "", path.name)).read_bytes()
        elif row["kind"] == "working_copy":
            assert row["path"].startswith("__")
        elif row["kind"] == "drawing":
            page = pydicom.dcmread(path)
            assert (
                page.Columns == 650 and "DRAWING" in page.ImageType and page.SOPClassUID.startswith("1.2.840.10008.5")
            )
    (long, *_) = [row for row in films(out) if row["stitched"]]
    assert long["rows"] > 3 * long["columns"] and long["folder_region"] == "KNEE"


def test_the_table_of_the_experts_is_one_of_another_machine(out: Path) -> None:
    table = rows(out / "experts.csv")
    assert list(table[0]) == ["", "path", "fracture", "foreignmaterial", "bodypart", "bodypart_original"]
    by_uid = {row["sop_instance_uid"]: row for row in films(out)}
    assert len(table) == len(by_uid) and {row["fracture"] for row in table} <= {"YES", "NO", "Unsure", ""}
    for row in table:
        *_, patient, examination, _, uid = row["path"].split("/")
        assert row["path"].split("/").index(patient) == 6 and f"/{patient}/{examination}/" in by_uid[uid]["path"]
        if row["fracture"] in ("YES", "NO"):
            assert (row["fracture"] == "YES") == bool(by_uid[uid]["fracture"])


def test_the_documented_steps_read_it(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAE_RAD_KEY", "0123456789abcdef0123456789abcdef")
    private, public = str(tmp_path / "private"), str(tmp_path / "public")
    assert main(["scan", str(out / "archive"), "--out", private, "workers=1"]) == 0
    assert main(["shard", private, "--out", public, "runtime.workers=1", "runtime.max_reject_fraction=1"]) == 0
    expected = Counter(row["expected_reason"] for row in truth(out) if row["kind"] not in ("film", "drawing"))
    card = json.loads((tmp_path / "public" / "dataset.json").read_text())
    assert Counter(card["reasons"]) - Counter(["no_exposure"] * 99) == expected
    pages = sum(row["kind"] == "drawing" for row in truth(out)) * ("no_exposure" not in set(Reason))
    assert len(read_index(tmp_path / "public", ["key"])) == len(films(out)) + pages
    command = ["label", private, "--labels", str(out / "experts.csv"), "--reports", str(out / "Befundexport")]
    assert main([*command, REPORTS, "reports.study_folder=2", "--out", public]) == 0
    problems = Counter(row["problem"] for row in rows(tmp_path / "private" / "report_problems.csv"))
    reports = [path.read_text("utf-8") for path in (out / "Befundexport").rglob("*.txt")]
    assert len(reports) == len({row["examination"] for row in films(out)})
    assert problems["empty_report"] == sum(not states_findings(report) for report in reports) > 0
    assert not problems.keys() & {"unknown_study", "several_studies", "name_without_study"}
    labels = [row for row in read_labels(tmp_path / "public").to_pylist() if row["source"] == "expert"]
    words = Counter(row["fracture"] for row in rows(out / "experts.csv") if row["fracture"])
    values = {"YES": "present", "NO": "absent", "Unsure": "uncertain"}
    found = Counter(row["value"] for row in labels if row["label"] == "fracture")
    assert found == {values[word]: count for word, count in words.items()}
    assert {row["label"] for row in labels} == {"fracture", "foreignmaterial"}


def test_bytes_depend_on_the_seed_alone_and_misfiled_studies_are_told(tmp_path: Path) -> None:
    for name, workers in (("one", 1), ("two", 2)):
        write_archive(
            tmp_path / name, patients=3, seed=SEED, workers=workers, scale=0.1, layout="hospital", misfiled=0.5
        )
    one, two = (
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in ("one", "two")
    )
    assert one == two
    regions = rows(tmp_path / "one" / "truth" / "regions.csv")
    by_uid = {row["sop_instance_uid"]: row["path"] for row in films(tmp_path / "one")}
    for row in regions:
        assert by_uid[row["sop_instance_uid"]].startswith(f"{REGIONS[row['folder_region']].folder}/")
        assert row["header"] in REGIONS[row["region"]].words
    assert any(row["region"] != row["folder_region"] for row in regions)
    misfiled = [folder_of_study(SEED, k, 0, "KNEE", 0.1) != "KNEE" for k in range(1000)]
    assert np.mean(misfiled) == pytest.approx(0.1, abs=0.03)


def test_misfiled_needs_the_layout(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ArchiveError, match="needs --layout hospital"):
        write_archive(tmp_path / "out", patients=1, seed=0, workers=1, misfiled=0.1)
    arguments = ["--patients", "1", "--seed", "0", "--layout", "hospital", "--misfiled", "0.7"]
    assert main(["phantom", str(tmp_path / "out"), *arguments]) == BAD_INPUT
    assert "--misfiled is 0.7" in capfd.readouterr().err and not (tmp_path / "out").exists()
