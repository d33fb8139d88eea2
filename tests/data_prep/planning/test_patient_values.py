"""Values of patients from columns of films and from tables that name films, studies or patients."""

from pathlib import Path

import pyarrow as pa
import pytest

from data_prep.errors import SettingsError
from data_prep.planning.patient_values import PatientValues, shown_value

FILMS = pa.table({"patient": ["a", "a", "b", "c"], "body_part": ["HAND", "WRIST", "HAND", None]})
LINKAGE = pa.table(
    {
        "path": ["/films/HAND_NEU/1/uid1", "/films/HG_NEU/1/uid2", "/films/HAND_NEU/2/uid3", "/films/3/uid4"],
        "sop_instance_uid": ["1.1", "1.2", "1.3", "1.4"],
        "study_uid": ["9.1", "9.1", "9.2", "9.3"],
        "patient_id": ["007", "7", "8", "9"],
    }
)


def values(tmp_path: Path, text: str, column: str = "fracture") -> dict[str, set[str]]:
    (tmp_path / "labels.csv").write_text(text, encoding="utf-8")
    found = PatientValues(FILMS, LINKAGE, tmp_path / "labels.csv").of(column)
    return {patient: set(own) for patient, own in found.items()}


def test_a_column_of_the_films() -> None:
    found = PatientValues(FILMS, LINKAGE, None).of("body_part")
    assert found == {"a": {"HAND", "WRIST"}, "b": {"HAND"}}


@pytest.mark.parametrize(
    "text",
    [
        ",path,fracture\n0,/other/place/1/1.1,YES\n1,HG_NEU/1/uid2,NO\n2,/films/HAND_NEU/2/uid3,NO\n3,x/y,YES\n",
        "sop_instance_uid;fracture\n1.1;YES\n1.2;NO\n1.3;NO\n1.4;\n",
        "patient,fracture\n0007,YES\n 7,NO\n08,NO\n9,\n",
    ],
)
def test_a_table_names_films_or_patients(tmp_path: Path, text: str) -> None:
    assert values(tmp_path, text) == {"a": {"YES", "NO"}, "b": {"NO"}}


def test_a_table_names_studies(tmp_path: Path) -> None:
    assert values(tmp_path, "study,fracture\n9.1,YES\n9.2,NO\n") == {"a": {"YES"}, "b": {"NO"}}


def test_a_column_of_films_beside_a_table(tmp_path: Path) -> None:
    assert values(tmp_path, "patient,fracture\n7,YES\n", "body_part") == {"a": {"HAND", "WRIST"}, "b": {"HAND"}}


@pytest.mark.parametrize(
    ("text", "column", "problem"),
    [
        ("name,fracture\nx,YES\n", "fracture", "has none of the columns path, film"),
        ("patient,fracture\n77,YES\n", "fracture", "no row of 1 names a film, study or patient"),
        ("patient,fracture\n7,YES\n", "fractures", "no column 'fractures' of classes"),
        ("patient,fracture\n7,YES,NO\n", "fracture", "line 2: 3 cells"),
        ("patient,name\n" + "".join(f"7,{number}\n" for number in range(201)), "name", "201 different values"),
    ],
)
def test_wrong_tables_are_refused(tmp_path: Path, text: str, column: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        values(tmp_path, text, column)


def test_a_key_or_a_number_is_no_column_of_classes() -> None:
    with pytest.raises(SettingsError, match="no column 'patient' of classes"):
        PatientValues(FILMS, LINKAGE, None).of("patient")


def test_messages_repeat_no_long_number() -> None:
    assert shown_value("KNEE left, x", 3) == "KNEE left, x"
    assert shown_value("OP 20190304", 3) == "(a value of 3 patients)"
    assert shown_value("Unsure", 3) == "Unsure"
    assert shown_value("knee × fracture YES", 3) == "knee × fracture YES"
    for name in ("Huber Franz", "Meier Anna jun.", "Özdemir", "01.02.59", "E. Wrist-Miller", "..."):
        assert shown_value(name, 3) == "(a value of 3 patients)"
