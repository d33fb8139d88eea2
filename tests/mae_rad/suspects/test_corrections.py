import csv
import subprocess
import sys
from pathlib import Path

import pytest

from mae_rad.errors import EvaluationError
from mae_rad.suspects.corrections import CorrectionsSettings, write_corrections
from tests.builders.film_tables import film, hexed, write_public
from tests.builders.without_training import without_training

FILM, OTHER = hexed("film", 0), hexed("film", 1)
WORDS = {"body_part": frozenset({"HAND", "KNEE", "WRIST"})}
WRONG = [
    (f"{'0' * 32},body_part,HAND", r"line 2 column 1 \(key\): the shards have no such film"),
    (f"{FILM},manufacturer,SIEMENS", r"line 2 column 2 \(field\): neither a fact .* nor a label"),
    (f"{FILM},body_part,HANDD", r"line 2 column 3 \(value\): no value of body_part; write keep, HAND, KNEE"),
    (f"{FILM},age_years,old", r"column 3 \(value\): no value of age_years; write keep,  or a number"),
    (f"{FILM},age_years,4.5", "no value of age_years"),
    (f"{FILM},fracture,maybe", "no value of fracture; write keep, absent, not_mentioned, present"),
    (f"{FILM},fracture|implant,foreign", "no value of"),
    (f"{FILM},body_part,HAND\n{FILM},body_part,KNEE", r"line 3 column 3 \(value\): .* line 2 answers otherwise"),
    (f"{FILM},body_part", "line 2: 2 cells, but the header has 3"),
    (f"{FILM},body_part,", "no answer is given"),
    (f"{FILM},body_part,XX\n{OTHER},body_part,YY", "1 more in"),
]


@pytest.fixture
def settings(tmp_path: Path) -> CorrectionsSettings:
    films = [film(place, place, "train", body_part="HAND", sex="F", view="AP") for place in range(3)]
    labels = [(FILM, "fracture", "absent", "expert"), (OTHER, "implant", "present", "expert"),
              (OTHER, "bone_age", None, "expert", 120.0)]  # fmt: skip
    public = write_public(tmp_path / "public", films, labels)
    return CorrectionsSettings(shards=[public], out=tmp_path / "out")


def answers(folder: Path, text: str, name: str = "answers.csv") -> Path:
    path = folder / name
    path.write_text(f"key,field,value\n{text}\n")
    return path


def written(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_a_wrong_answer_is_refused_with_its_place(
    text: str, message: str, settings: CorrectionsSettings, tmp_path: Path
) -> None:
    with pytest.raises(EvaluationError, match=message):
        write_corrections([answers(tmp_path, text)], settings, WORDS)
    assert not (settings.out / "corrections.csv").exists()


def test_all_problems_are_listed(settings: CorrectionsSettings, tmp_path: Path) -> None:
    text = f"{FILM},body_part,XX\n{'1' * 32},body_part,HAND"
    with pytest.raises(EvaluationError):
        write_corrections([answers(tmp_path, text)], settings, WORDS)
    rows = written(settings.out / "corrections_problems.csv")
    assert [(row["line"], row["column"]) for row in rows] == [("2", "value"), ("3", "key")]
    write_corrections([answers(tmp_path, f"{FILM},body_part,KNEE")], settings, WORDS)
    assert not (settings.out / "corrections_problems.csv").exists()


def test_facts_and_labels_go_to_their_tables(settings: CorrectionsSettings, tmp_path: Path) -> None:
    first = answers(
        tmp_path,
        f"{FILM},body_part,wrist\n{FILM},age_years,61\n{FILM},fracture,present\n{OTHER},body_part,keep\n"
        f"{OTHER},bone_age,130.5\n{OTHER},fracture|implant,fracture",
    )
    text = write_corrections([first], settings, WORDS)
    facts = written(settings.out / "corrections.csv")
    assert [tuple(row.values()) for row in facts] == [(FILM, "body_part", "WRIST"), (FILM, "age_years", "61")]
    labels = written(settings.out / "corrected_labels.csv")
    assert [tuple(row.values()) for row in labels] == [
        (FILM, "fracture", "present", ""),
        (OTHER, "bone_age", "", "130.5"),
        (OTHER, "fracture", "present", ""),
        (OTHER, "implant", "absent", ""),
    ]
    assert text.startswith("answers: 6, of which keep: 1")
    assert "facts.corrections=" in text


def test_two_people_who_agree_count_once(settings: CorrectionsSettings, tmp_path: Path) -> None:
    tables = [answers(tmp_path, f"{FILM},body_part,KNEE", name) for name in ("anna.csv", "ben.csv")]
    write_corrections(tables, settings, WORDS)
    assert len(written(settings.out / "corrections.csv")) == 1


def test_a_spreadsheet_with_semicolons_and_byte_order_mark(settings: CorrectionsSettings, tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    path.write_text(f"\ufeffrank;key;field;value\n1;{FILM};body_part;KNEE\n", encoding="utf-8")
    write_corrections([path], settings, WORDS)
    assert written(settings.out / "corrections.csv") == [{"key": FILM, "field": "body_part", "value": "KNEE"}]


def test_the_command_works_where_the_archive_is(settings: CorrectionsSettings, tmp_path: Path) -> None:
    """Without the packages of training; a term of DICOM that these shards do not have is accepted."""
    path = answers(tmp_path, f"{FILM},body_part,ankle\n{FILM},view,LATERAL")
    words = ["corrections", str(path), f"shards={settings.shards[0]}", f"out={settings.out}"]
    start = f"import sys; from mae_rad.cli.main import main; sys.exit(main({words!r}))"
    environment = without_training(tmp_path / "start", Path(__file__).resolve().parents[3])
    done = subprocess.run(
        [sys.executable, "-c", start], env=environment, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert [row["value"] for row in written(settings.out / "corrections.csv")] == ["ANKLE", "LATERAL"]
