"""Screening of header values: known terms are mapped to standard terms, other texts to None."""

import csv
import gzip
import math
from collections import Counter
from datetime import date
from pathlib import Path

import pytest

from data_prep.deidentify import safe_header_values
from data_prep.deidentify.vocabulary import normalise, vocabulary

TABLES = Path(__file__).resolve().parents[3].parent / "shared" / "radiographs" / "tables"
NAMES = ["Doe^John", "MUELLER", "Dr. Weber", "1234567", "19700131", "O'Neil Hand^Anna", "Thorax Schmidt", "AP Meier"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CHEST", "CHEST"),
        ("Thorax", "CHEST"),
        ("PORTABLE CHEST", "CHEST"),
        ("NON GRID CHEST", "CHEST"),
        ("CHEST_PA", "CHEST"),
        ("EXTREMETY", "EXTREMITY"),
        ("C-SPINE", "CSPINE"),
        ("L SPINE AP", "LSPINE"),
        ("HWS", "CSPINE"),
        ("Schädel", "SKULL"),
        ("SCHAEDEL", "SKULL"),
        ("Becken^", "PELVIS"),
        ("Knie re.", "KNEE"),
        ("KNEE L", "KNEE"),
        ("LEFT KNEE 2 VIEWS", "KNEE"),
        ("Hüfte bds.", "HIP"),
        ("FUß", "FOOT"),
        ("TIB/FIB", "LEG"),
        ("Chest Meier", None),
        ("", None),
        ("??", None),
    ],
)
def test_body_parts_become_standard_terms(text: str, expected: str | None) -> None:
    assert safe_header_values.body_part(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("PA", "PA"),
        ("a.p.", "AP"),
        ("LL", "LATERAL"),
        ("LARGE LATERAL", "LATERAL"),
        ("seitlich", "LATERAL"),
        ("postero-anterior", "PA"),
        ("left lateral", "LATERAL"),
        ("RAO", "OBLIQUE"),
        ("schräg", "OBLIQUE"),
        ("LLD", "DECUBITUS"),
        ("AP stehend", "AP"),
        ("d.p.", None),  # back to palm or back to sole: PA of a hand, AP of a foot
        ("PA Meier", None),
    ],
)
def test_views_become_standard_terms(text: str, expected: str | None) -> None:
    assert safe_header_values.view(text) == expected


@pytest.mark.parametrize("name", ["body_part", "view"])
def test_every_standard_term_and_spelling_maps_to_the_term(name: str) -> None:
    words = vocabulary(name)
    for spelling, standard in words.spellings.items():
        assert words.match(spelling) == words.match(spelling.upper()) == standard
        assert words.match(standard) == standard
        assert spelling == normalise(spelling)


def test_no_spelling_belongs_to_two_standard_terms() -> None:
    for name in ("body_part", "view", "manufacturer"):
        file = Path(safe_header_values.__file__).parent / "words" / f"{name}.txt"
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line and line[0] not in "#-"]
        listed = Counter(normalise(word) for line in lines for word in line.partition(":")[2].split(","))
        assert [word for word, count in listed.items() if count > 1] == []


@pytest.mark.parametrize("text", NAMES)
def test_no_personal_text_passes_a_vocabulary(text: str) -> None:
    screens = (
        safe_header_values.body_part,
        safe_header_values.view,
        safe_header_values.manufacturer,
        safe_header_values.laterality,
        safe_header_values.sex,
    )
    more = (safe_header_values.photometric, safe_header_values.presentation_intent)
    assert {screen(text) for screen in (*screens, *more)} == {None}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FUJI PHOTO FILM CO. LTD.", "Fujifilm"),
        ("FUJIFILM Corporation", "Fujifilm"),
        ("Agfa-Gevaert AG", "Agfa"),
        ("GE MEDICAL SYSTEMS", "GE"),
        ('"GE Healthcare"', "GE"),
        ("Philips Medical Systems", "Philips"),
        ("SIEMENS", "Siemens"),
        ("KONICA MINOLTA", "Konica Minolta"),
        ("Canon Inc.", "Canon"),
        ("CARESTREAM HEALTH", "Carestream"),
        ("Gerhard", None),
        ("Clinic of Dr. X", None),
    ],
)
def test_manufacturers_become_canonical_names(text: str, expected: str | None) -> None:
    assert safe_header_values.manufacturer(text) == expected


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        ("047Y", 47),
        ("000Y", 0),
        ("018M", 1),
        ("011M", 0),
        ("104W", 1),
        ("105W", 2),
        ("400D", 1),
        ("089Y", 89),
        ("090Y", 90),
        ("101Y", 90),
        ("155Y", None),
        ("030", None),
        ("62", None),
        ("47Y", None),
        ("0047Y", None),
        ("04 Y", None),
        ("-04Y", None),
        ("٠٤٧Y", None),
        ("", None),
    ],
)
def test_ages_are_strict_and_capped(age: str, expected: int | None) -> None:
    assert safe_header_values.age_years(age, None, None) == expected


@pytest.mark.parametrize(
    ("birth", "study", "expected"),
    [
        ("19700501", "20200430", 49),
        ("19700501", "20200501", 50),
        ("19200101", "20200101", 90),
        ("19000101", "20200101", None),
        ("20200102", "20200101", None),
        ("", "20200101", None),
        ("19700230", "20200101", None),
    ],
)
def test_an_unusable_age_is_replaced_by_the_dates(birth: str, study: str, expected: int | None) -> None:
    assert safe_header_values.age_years("030", safe_header_values.day(birth), safe_header_values.day(study)) == expected
    assert safe_header_values.age_years("007Y", safe_header_values.day(birth), safe_header_values.day(study)) == 7


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20200229", date(2020, 2, 29)),
        ("2020.02.29", date(2020, 2, 29)),
        (" 20200229 ", date(2020, 2, 29)),
        ("20190229", None),
        ("2020.0229", None),
        ("2020", None),
        ("00000000", None),
    ],
)
def test_dates_are_strict(text: str, expected: date | None) -> None:
    assert safe_header_values.day(text) == expected


def spacing(
    pixel: str = "", imager: str = "", factor: str = "", scanned: str = ""
) -> tuple[tuple[float, float], str] | None:
    texts = ([part for part in text.split("\\") if part] for text in (pixel, imager, factor, scanned))
    return safe_header_values.pixel_spacing(*texts)


def test_spacing_is_chosen_in_the_documented_order() -> None:
    assert spacing("0.2\\0.1", "0.5\\0.5", "1.5", "0.3\\0.3") == ((0.2, 0.1), "PixelSpacing")
    assert spacing(imager="0.15\\0.15", scanned="0.3\\0.3") == ((0.15, 0.15), "ImagerPixelSpacing")
    assert spacing(scanned="0.3\\0.3") == ((0.3, 0.3), "NominalScannedPixelSpacing")
    at_patient = spacing(imager="0.15\\0.30", factor="1.2")
    assert at_patient is not None
    assert at_patient[0] == pytest.approx((0.125, 0.25))
    assert at_patient[1] == "ImagerPixelSpacing/EstimatedRadiographicMagnificationFactor"


@pytest.mark.parametrize("filler", ["0.000\\0.000", "0.2", "-1\\-1", "nan\\nan", "inf\\inf", "1e9\\1e9", "a\\b"])
def test_an_invalid_spacing_counts_as_none(filler: str) -> None:
    assert spacing(filler) is None
    assert spacing(filler, "0.1\\0.1", filler) == ((0.1, 0.1), "ImagerPixelSpacing")


def test_model_names_need_three_patients_and_plain_letters() -> None:
    shared = [("DRX-1", "a"), ("DRX-1", "b"), ("DRX-1", "c")]
    one_patient_often = [("Doe John", "a")] * 9 + [("Doe John", "b")] * 9
    assert safe_header_values.shared_model_names(shared + one_patient_often) == {"DRX-1"}
    assert safe_header_values.model_name("  DRX-1  System ") == "DRX-1 System"
    assert [
        safe_header_values.model_name(text) for text in ("", "Müller", "Doe^John", "x" * 41, "a@b.de", "A\nB\\C")
    ] == [None] * 6


@pytest.mark.shared
@pytest.mark.skipif(not TABLES.is_dir(), reason="the shared tables are not there")
def test_real_headers_are_mapped() -> None:
    with gzip.open(TABLES / "nlmcxr_dicom_metadata.csv.gz", "rt", encoding="utf-8", errors="replace") as file:
        rows = list(csv.DictReader(file))
    for column, screen in (
        ("Body Part Examined", safe_header_values.body_part),
        ("View Position", safe_header_values.view),
    ):
        words = {row[column] for row in rows if row[column]}
        assert len(words) >= 4
        assert {word for word in words if screen(word) is None} == set()
    given = [row["Imager Pixel Spacing"] for row in rows if row["Imager Pixel Spacing"]]
    for text in given:
        found = safe_header_values.pixel_spacing([], [part.strip(" '[]") for part in text.split(",")], [], [])
        assert found is not None and math.isclose(found[0][0], found[0][1])


@pytest.mark.parametrize(
    "text",
    [
        *("Zwiebel Anna 03.02.61", "Zwiebel Anna", "Kraus", "CR 0049 151 23456", "Ysio 19610203", "DX 1961-02-03"),
        *("Max Zwiebel", "CR (030) 1234567", "FCR\nZwiebel"),
    ],
)
def test_a_model_name_that_may_be_a_person_date_or_number_is_left_out(text: str) -> None:
    assert safe_header_values.model_name(text) is None


@pytest.mark.parametrize(
    "text",
    [
        *("Ysio", "AXIOM Aristos FX Plus", "Definium 8000", "DigitalDiagnost", "FCR CAPSULA", "DX-D 300", "CXDI-70C"),
        *("DRX-Evolution Plus", "Mobilett Mira Max", "Optima XR220amx", "AeroDR X70", "CR 85-X", "RADspeed Pro"),
    ],
)
def test_models_of_makers_are_kept(text: str) -> None:
    assert safe_header_values.model_name(text) == text
