"""Reports label the films of their study; the public folder holds only labels of them."""

import csv
import stat
from pathlib import Path
from time import process_time

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from data_prep.cli.main import main
from data_prep.errors import ArchiveError, LabelError, SecretError, UserError
from data_prep.labels.write_labels import LabelFiles, write_labels
from data_prep.radiology_reports.film_values import LABELS
from data_prep.radiology_reports.label_reports import (
    MENTIONS_FILE,
    PROBLEMS_FILE,
    REPORTS_FILE,
    ReportSummary,
    label_from_reports,
)
from data_prep.radiology_reports.review_page import REVIEW_FILE
from data_prep.shard_format.label_schema import LABELS_SCHEMA
from data_prep.shard_format.label_tables import read_labels
from tests.builders.report_folders import FILMS, Film, write_folders


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return write_folders(tmp_path)


def run(folders: tuple[Path, Path], table: str, **more: object) -> ReportSummary:
    path = folders[0].parent / "reports.csv"
    path.write_text(table, encoding="utf-8")
    return label_from_reports(folders[0], [path], folders[1], **more)  # type: ignore[arg-type]


def labels(folders: tuple[Path, Path]) -> dict[tuple[str, str], str]:
    rows = read_labels(folders[1]).to_pylist()
    return {(row["key"], row["label"]): row["value"] for row in rows if row["value"] != "not_mentioned"}


def problems(folders: tuple[Path, Path]) -> list[tuple[str, str, str]]:
    with (folders[0] / PROBLEMS_FILE).open(newline="") as file:
        return [(row["problem"], Path(row["file"]).name, row["line"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    "table",
    [
        "accession,text\nACCA,Radiusfraktur rechts.\n",
        "Auftragsnummer;Befund;Beurteilung\nACCA;Aufhellung.;Radiusfraktur rechts.\n",
        "StudyInstanceUID,report\n1.2.826.77.65,Radiusfraktur rechts.\n",
        "path,text\nMARNOSCH_A/IM0000.dcm,Radiusfraktur rechts.\n",
        r"file,text" + "\n" + r"X:\MARNOSCH_A\IM0001.dcm,".replace("X:\\", "") + "Radiusfraktur rechts.\n",
        "SOP Instance UID,text\n1.2.826.1,Radiusfraktur rechts.\n",
        "patient,text\nMRN-A,Radiusfraktur rechts.\n",
        "accession,patient id,text\nACCA,MRN-A,Radiusfraktur rechts.\n",
    ],
)
def test_a_report_labels_all_films_of_its_study(folders: tuple[Path, Path], table: str) -> None:
    summary = run(folders, table)
    assert labels(folders) == {("a1", "fracture"): "present", ("a2", "fracture"): "present"}
    assert (summary.read, summary.used, summary.films) == (1, 1, 2)
    assert summary.values["fracture"] == {"present": 2}


def test_report_files_are_assigned_to_studies_by_their_names(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "texts" / "deeper").mkdir(parents=True)
    (tmp_path / "texts" / "ACCA.txt").write_bytes("Radiusfraktur. Kein Fremdkörper.".encode("cp1252"))
    (tmp_path / "texts" / "deeper" / "1.2.826.77.66.xml").write_text(
        "<r><MeSH>Fractures</MeSH><AbstractText Label='INDICATION'>Rib fracture?</AbstractText>"
        "<AbstractText Label='FINDINGS'>PICC in place.</AbstractText></r>"
    )
    (tmp_path / "texts" / "IM0003.xml").write_text(
        '<ClinicalDocument xmlns="urn:hl7-org:v3"><section><title>Befund</title><text>Knie-TEP <b>in situ</b>.</text>'
        "</section></ClinicalDocument>"
    )
    (tmp_path / "texts" / "broken.xml").write_text("<r>")
    (tmp_path / "texts" / "scan.pdf").write_text("x")
    label_from_reports(folders[0], [tmp_path / "texts"], folders[1])
    assert labels(folders) == {
        ("a1", "fracture"): "present",
        ("a2", "fracture"): "present",
        ("a1", "retained_object"): "absent",
        ("a2", "retained_object"): "absent",
        ("a1", "foreign_object"): "absent",
        ("a2", "foreign_object"): "absent",
        ("b1", "tube_line"): "present",
        ("b1", "foreign_object"): "present",
        ("c1", "implant"): "present",
        ("c1", "foreign_object"): "present",
    }
    assert {problem[:2] for problem in problems(folders)} == {
        ("read_as_windows_1252", "ACCA.txt"), ("xml_not_valid", "broken.xml"), ("no_report_file", "scan.pdf")
    }  # fmt: skip


def test_reports_without_study_or_film_are_listed_with_their_line(folders: tuple[Path, Path]) -> None:
    table = """accession,patient,text
ACCA,,Keine Fraktur.
ACCX,,Radiusfraktur.
ACCD,,Rippenfraktur.
ACCA,MRN-B,Radiusfraktur.
,MRN-B,Rippenfraktur.
,,Radiusfraktur.
ACCB,,
ACCA,,Keine Fraktur.
ACCC,,Kein Erguss. Rippenfraktur.
ACCE,,Fraktur. Insgesamt keine Fraktur.
ACCA2,,o.B.
"""
    summary = run(folders, table)
    assert problems(folders) == [
        ("unknown_study", "reports.csv", "3"),
        ("identifiers_disagree", "reports.csv", "5"),
        ("several_studies", "reports.csv", "6"),
        ("no_identifier", "reports.csv", "7"),
        ("empty_report", "reports.csv", "8"),
        ("repeated_report", "reports.csv", "9"),
        ("unknown_study", "reports.csv", "11"),
        ("language_not_told", "reports.csv", "12"),
        ("study_not_in_shards", "reports.csv", "4"),
        ("place_on_no_film", "reports.csv", "10"),
    ]
    assert labels(folders) == {("a1", "fracture"): "absent", ("a2", "fracture"): "absent"}
    assert (summary.read, summary.used) == (10, 3)
    assert summary.read + 1 == table.count("\n") - 1  # the empty one


def test_a_report_that_contradicts_itself_is_listed(folders: tuple[Path, Path]) -> None:
    run(folders, "accession,text\nACCA,Radiusfraktur. Insgesamt keine Fraktur.\n")
    assert problems(folders) == [("present_and_absent", "reports.csv", "2")]


def test_several_reports_identified_by_the_patient_alone_are_not_used(folders: tuple[Path, Path]) -> None:
    with pytest.raises(LabelError, match="2 several_reports_by_patient_alone"):
        run(folders, "patient,text\nMRN-A,Radiusfraktur.\nMRN-A,Keine Fraktur.\n")
    assert len(problems(folders)) == 2 and not (folders[1] / "labels.parquet").exists()


def test_an_addendum_is_joined_to_its_report(folders: tuple[Path, Path]) -> None:
    run(folders, "accession,text\nACCA,Keine Fraktur.\nACCA,Nachtrag: K-Draht in situ.\n")
    values = labels(folders)
    assert values["a1", "fracture"] == "absent" and values["a1", "implant"] == "present"
    private = pq.read_table(folders[0] / REPORTS_FILE).to_pylist()
    assert [Path(where).name for where in private[0]["read_from"]] == ["reports.csv:2", "reports.csv:3"]


def test_place_and_side_of_a_mention_select_the_films(folders: tuple[Path, Path]) -> None:
    run(folders, "accession,text\nACCA,Fraktur des Kleinfingers. Links alte Fraktur des Radius.\n")
    assert labels(folders) == {("a2", "fracture"): "present"}


def test_offsets_find_the_mention_in_the_private_report(folders: tuple[Path, Path]) -> None:
    run(folders, 'accession,text\nACCB,"Befund: ZVK in situ. Beurteilung:\r\nKeine Rippenfraktur."\n')
    text = {row["study"]: row["text"] for row in pq.read_table(folders[0] / REPORTS_FILE).to_pylist()}["studyB"]
    assert {(row["start"], row["stop"]) for row in read_labels(folders[1]).to_pylist()} == {(0, 0)}  # not where in it
    mentions = pq.read_table(folders[0] / MENTIONS_FILE).to_pylist()
    assert [text[one["start"] : one["stop"]] for one in mentions] == ["ZVK", "Rippenfraktur"]
    assert [(one["finding"], one["assertion"], one["section"]) for one in mentions] == [
        ("tube_line", "present", "findings"), ("fracture", "absent", "impression")
    ]  # fmt: skip


def test_the_table_has_the_schema_of_labels(folders: tuple[Path, Path]) -> None:
    run(folders, "accession,text\nACCA,Keine Fraktur.\n")
    table = read_labels(folders[1])
    assert table.schema.equals(LABELS_SCHEMA)
    assert set(table["source"].to_pylist()) == {"report"} and table["reader"].null_count == len(table)
    assert pc.min(table["confidence"]).as_py() > 0 and pc.max(table["confidence"]).as_py() <= 1
    assert set(table["label"].to_pylist()) == set(LABELS) - {"fracture_acute", "fracture_old"}
    assert table.sort_by([("key", "ascending"), ("label", "ascending")]).equals(table)


def test_nothing_of_a_report_reaches_the_public_folder(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run(folders, "accession,patient,text\nACCA,MRN-A,Frau Marnosch: Radiusfraktur rechts am 3.4.2020.\n")
    written = b"".join(path.read_bytes() for path in folders[1].iterdir())
    assert not [text for text in (b"ACCA", b"MRN", b"Marnosch", b"2020", b"Radius", b"reports.csv") if text in written]
    assert "Radius" not in capsys.readouterr().err
    for name in (REPORTS_FILE, MENTIONS_FILE, PROBLEMS_FILE, REVIEW_FILE):
        assert stat.S_IMODE((folders[0] / name).stat().st_mode) == 0o600


def test_earlier_labels_from_reports_are_replaced_and_all_others_are_kept(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    expert = tmp_path / "expert.csv"
    expert.write_text("sop_instance_uid,label,value\n1.2.826.0,fracture,absent\n1.2.826.2,implant,present\n")
    write_labels(folders[0], folders[1], LabelFiles([expert]))
    foreign = read_labels(folders[1]).slice(0, 1).to_pylist()[0] | {"key": "of another scan", "start": 3, "stop": 5}
    both = pa.concat_tables([read_labels(folders[1]), pa.Table.from_pylist([foreign], LABELS_SCHEMA)])
    pq.write_table(both, folders[1] / "labels.parquet")
    run(folders, "accession,text\nACCA,Radiusfraktur.\nACCB,Clip.\n")
    run(folders, "accession,text\nACCA,V.a. Radiusfraktur.\n", language="de")
    rows = read_labels(folders[1]).to_pylist()
    assert {(r["key"], r["value"], r["source"]) for r in rows if r["label"] == "fracture"} == {
        ("a1", "absent", "expert"), ("a1", "uncertain", "report"), ("a2", "uncertain", "report"),
        ("of another scan", "absent", "expert"),
    }  # fmt: skip
    assert [r["source"] for r in rows if r["key"] == "b1"] == ["expert"]
    write_labels(folders[0], folders[1], LabelFiles([expert]))
    again = {(row["key"], row["label"], row["source"], row["value"]) for row in read_labels(folders[1]).to_pylist()}
    assert again == {(row["key"], row["label"], row["source"], row["value"]) for row in rows}


def test_the_same_reports_give_the_same_bytes_from_any_number_of_processes(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = "accession,text\nACCA,Radiusfraktur.\nACCB,ZVK in situ.\n"
    names = [folders[1] / "labels.parquet", folders[0] / REVIEW_FILE, folders[0] / MENTIONS_FILE]
    run(folders, table)
    before = [path.read_bytes() for path in names]
    monkeypatch.setattr("data_prep.radiology_reports.label_reports._MIN_STUDIES_FOR_POOL", 1)
    run(folders, table, workers=2)
    assert [path.read_bytes() for path in names] == before


def test_invalid_input_raises_one_clear_error_and_changes_nothing(folders: tuple[Path, Path], tmp_path: Path) -> None:
    private, public = folders
    run(folders, "accession,text\nACCA,Radiusfraktur.\n")
    before = (public / "labels.parquet").read_bytes()
    for table, message in (
        ("accession,remark\nACCA,x\n", "no column of texts .*line 1"),
        ("befund,name\nx,y\n", "no column of studies .*line 1"),
        ("accession,accession number,text\nA,B,x\n", "two columns hold accession"),
        ("accession,text\nACCX,Radiusfraktur.\n", "none of 1 reports is about a film .*1 unknown_study"),
    ):
        with pytest.raises(LabelError, match=message):
            run(folders, table)
    with pytest.raises(LabelError, match="do not exist"):
        label_from_reports(private, [tmp_path / "no"], public)
    with pytest.raises(ArchiveError):
        label_from_reports(tmp_path / "no", [tmp_path], public)
    (tmp_path / "latin.csv").write_bytes(b"accession,text\nACCA,K\xf6rper\n")
    with pytest.raises(UserError, match="CSV UTF-8"):
        label_from_reports(private, [tmp_path / "latin.csv"], public)
    assert (public / "labels.parquet").read_bytes() == before
    card = public / "dataset.json"
    card.write_text(card.read_text().replace('"fp"', '"another"'))
    with pytest.raises(SecretError):
        run(folders, "accession,text\nACCA,Radiusfraktur.\n")


def test_the_command_labels_from_tables_and_reports(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "experts.csv").write_text("sop_instance_uid,label,value\n1.2.826.0,fracture,absent\n")
    (tmp_path / "reports.csv").write_text("accession,text\nACCA,Radiusfraktur.\n")
    arguments = ["label", folders[0], "--labels", tmp_path / "experts.csv", "--reports", tmp_path / "reports.csv"]
    assert main([str(argument) for argument in [*arguments, "--language", "de", "--out", folders[1]]]) == 0
    assert "fracture: 2 present" in capsys.readouterr().out
    sources = {row["source"] for row in read_labels(folders[1]).to_pylist()}
    assert sources == {"expert", "report"}


def test_all_frames_of_a_file_get_the_same_labels(tmp_path: Path) -> None:
    folders = write_folders(tmp_path, [*FILMS, Film("a3", "A", "WRIST", "R")])
    summary = run(folders, "accession,text\nACCA,Radiusfraktur.\n")
    assert summary.films == 3 and labels(folders)["a3", "fracture"] == "present"


@pytest.mark.parametrize("text", ["no fracture and " * 60_000, "(" * 200_000 + "fracture" + ")" * 200_000])
def test_a_report_without_end_is_listed_and_not_read(folders: tuple[Path, Path], tmp_path: Path, text: str) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "ACCA.txt").write_text(text)
    start = process_time()
    with pytest.raises(LabelError, match="1 report_too_long"):
        label_from_reports(folders[0], [tmp_path / "texts"], folders[1])
    assert process_time() - start < 10
    assert problems(folders) == [("report_too_long", "ACCA.txt", "0")]
