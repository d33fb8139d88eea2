"""Names, numbers and dates of patients are found in labels and columns, however they are split, joined or scaled."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from data_prep.annotations.label_entries import BoxEntry, LabelEntry, Origin
from data_prep.annotations.row_problems import Place
from data_prep.archive.identifier_screen import IdentifierScreen, read_confirmed
from data_prep.archive.manifest import (
    LINKAGE_SCHEMA,
    MANIFEST_SCHEMA,
    read_linkage,
    with_digest_key,
    with_fingerprint,
    write_manifest,
)
from data_prep.deidentify.person_digests import date_digests, name_digests
from data_prep.errors import LabelError
from data_prep.labels.screening import check_no_identifiers
from data_prep.shard_format.boxes import Box

KEY = bytes(32)
NAMES = ("Zwiebel^Anna", "Müller-Lüdenscheidt^Karl Otto", "Stein^Rolf", "Ng^Li")
FILMS = 60


@pytest.fixture(scope="module")
def linkage() -> pa.Table:
    rows = [
        {
            "row": number,
            "key": f"{number:032x}",
            "patient_id": f"PAT{100000 + number}",
            "accession": f"ACC{200000 + number}",
            "name_digests": name_digests(KEY, NAMES[number % len(NAMES)]),
            "date_digests": date_digests(KEY, [date(1961, 2, 3 + number % 20), date(2020, 3, 4)]),
        }
        for number in range(FILMS)
    ]
    return with_digest_key(pa.Table.from_pylist(rows, LINKAGE_SCHEMA), KEY)


@pytest.fixture(scope="module")
def screen(linkage: pa.Table) -> IdentifierScreen:
    return IdentifierScreen(linkage)


@pytest.mark.parametrize(
    "label",
    [
        *(
            "zwiebel",
            "zwiebel_anna3",
            "zwiebelanna3",
            "annazwiebel",
            "x_anna",
            "anna_fracture",
            "zwie_bel",
            "stein_rolf",
        ),
        *("mueller", "muller", "ludenscheidt_karl", "luedenscheidt", "muellerkarl", "otto_mueller", "ottomueller"),
        *(
            "m_ue_ll_er",
            "zw_ie_b_el",
            "xmueller",
            "zwiebelx",
            "muellerfracture",
            "fracturezwiebel",
            "no_zwiebelfracture",
        ),
    ],
)
def test_a_label_with_a_part_of_a_name_is_found(screen: IdentifierScreen, label: str) -> None:
    assert screen.names_a_person(label)


@pytest.mark.parametrize(
    "label", ["fracture", "rib_fracture", "bone_age", "foreign_object", "stein", "li", "annual", "hand"]
)
def test_a_finding_is_no_name(screen: IdentifierScreen, label: str) -> None:
    assert not screen.names_a_person(label)


@pytest.mark.parametrize(
    "label",
    [
        *("p_100007", "acc_200007", "pat100007", "x1_00007", "born_1961_02_03", "d20200304", "b03021961", "b030261"),
        *("b_61_02_03", "p_100010", "id100007x"),
    ],
)
def test_a_label_with_a_number_or_date_is_found(screen: IdentifierScreen, label: str) -> None:
    assert screen.holds_a_number(label)


@pytest.mark.parametrize("label", ["icd_s52501", "ao_23_a1", "p_999999", "grade_3", "d19000101", "tanner_12345"])
def test_another_number_is_none_of_a_patient(screen: IdentifierScreen, label: str) -> None:
    assert not screen.holds_a_number(label)


CARRIERS: dict[str, Callable[[int], float | str]] = {
    "number": lambda film: 100000.0 + film,
    "accession": lambda film: 200000.0 + film,
    "every tenth": lambda film: 200000.0 + film if film % 10 == 0 else 50.5 + film,
    "four of sixty": lambda film: 200000.0 + film if film < 4 else 50.5 + film,
    "thousandth": lambda film: (200000 + film) / 1000,
    "confidence": lambda film: (100000 + film) / 1e6,
    "edge": lambda film: f"{3 + (200000 + film) / 1e7:.7f}",
    "negative": lambda film: -100000.0 - film,
    "birth": lambda film: 19610203.0 + film % 20,
    "birth, day first": lambda film: float(f"{3 + film % 20:02d}021961"),
}


@pytest.mark.parametrize("number", CARRIERS.values(), ids=CARRIERS.keys())
def test_a_column_that_carries_the_films_own_numbers_is_found(
    screen: IdentifierScreen, number: Callable[[int], float | str]
) -> None:
    assert screen.carries_numbers((f"{film:032x}", number(film)) for film in range(FILMS))


@pytest.mark.parametrize(
    "number",
    [lambda film: 12.5 + film, lambda film: 100000.0 + (film + 7) % FILMS, lambda film: 0.1 * film, lambda film: 1e5],
)
def test_measurements_are_no_numbers_of_patients(screen: IdentifierScreen, number: Callable[[int], float]) -> None:
    assert not screen.carries_numbers((f"{film:032x}", number(film)) for film in range(FILMS))


def test_a_table_of_an_earlier_release_is_screened_by_its_numbers(linkage: pa.Table) -> None:
    screen = IdentifierScreen(linkage.drop_columns(["name_digests", "date_digests"]).replace_schema_metadata(None))
    assert screen.holds_a_number("p_100007") and not screen.names_a_person("zwiebel")


def _entry(label: str, number: float | None = None, film: int = 0) -> LabelEntry:
    value = None if number is not None else "present"
    origin = Origin("film", Place(Path("labels.csv"), 2))
    return LabelEntry(f"{film:032x}", label, value, number, "expert", 1.0, None, origin)


def test_label_refuses_and_quotes_nothing(linkage: pa.Table, tmp_path: Path) -> None:
    private = tmp_path / "private"
    write_manifest(private, with_fingerprint(MANIFEST_SCHEMA.empty_table(), "f"), linkage)
    assert read_linkage(private).schema.metadata == linkage.schema.metadata
    box = BoxEntry("0" * 32, "zwiebel_anna", Box(1, 1, 5, 5), None, _entry("x").origin)
    for labels, boxes, message in (
        ([_entry("x_zwiebel")], [], "the name of a patient"),
        ([], [box], "the name of a patient"),
        ([_entry("p_100007")], [], "a number or date of a patient"),
        ([_entry("bone_age", 100000.0 + film, film) for film in range(FILMS)], [], "number of bone_age: more than"),
    ):
        with pytest.raises(LabelError, match=message) as refused:
            check_no_identifiers(private, labels, boxes, [])
        assert "zwiebel" not in str(refused.value) and "100007" not in str(refused.value)
    check_no_identifiers(private, [_entry("fracture"), *(_entry("bone_age", 9.5, film) for film in range(9))], [], [])
    check_no_identifiers(private, [_entry("otto_shift")], [], ["otto"])  # a person has confirmed it, for the audit, too
    assert read_confirmed(private) == {"otto"}
    check_no_identifiers(private, [_entry("otto_shift")], [], [])
