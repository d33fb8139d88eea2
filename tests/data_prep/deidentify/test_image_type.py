"""Image Type becomes a closed vocabulary; pages that are no exposure are known by name."""

import pytest

from data_prep.deidentify.image_type import image_type, is_image_type, is_page


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], None),
        (["", ""], None),
        (["ORIGINAL", "PRIMARY"], "ORIGINAL/PRIMARY"),
        (["ORIGINAL", "PRIMARY", ""], "ORIGINAL/PRIMARY"),
        (["derived"], "DERIVED"),
        (["DERIVED", "SECONDARY", "", "CSA RESAMPLED"], "DERIVED/SECONDARY/CSA_RESAMPLED"),
        (["DERIVED", "PRIMARY", "POST_PROCESSED", "", "", "100000"], "DERIVED/PRIMARY/POST_PROCESSED/other"),
        (["DERIVED", "PRIMARY", "Müller", "Zwiebel", "BONE", "BONE"], "DERIVED/PRIMARY/other/BONE"),
        (["Zwiebel^Anna", "19610203"], "other/other"),
        (["", "PRIMARY"], "other/PRIMARY"),
        (["DERIVED", "SECONDARY", "LINE DRAWINGS"], "DERIVED/SECONDARY/DRAWING"),
    ],
)
def test_values_are_those_of_a_closed_vocabulary(values: list[str], expected: str | None) -> None:
    assert image_type(values) == expected
    assert expected is None or is_image_type(expected)


@pytest.mark.parametrize(
    "value",
    [
        None,
        3,
        "",
        "ZWIEBEL",
        "ORIGINAL/ZWIEBEL",
        "ORIGINAL/PRIMARY/ZWIEBEL",
        "ORIGINAL/PRIMARY/BONE/BONE",
        "PRIMARY",
        "ORIGINAL/",
    ],
)
def test_other_values_are_not_allowed(value: object) -> None:
    assert not is_image_type(value)


@pytest.mark.parametrize("name", ["DRAWING", "drawing", "LINE_DRAWING", "Zeichnung", "FORM", "Formular", "HISTOGRAM"])
def test_pages_are_known_by_name(name: str) -> None:
    assert is_page(["DERIVED", "SECONDARY", name]) and is_page([name])


@pytest.mark.parametrize("name", ["WITHDRAWN", "PERFORMED", "PLATFORM", "POST_PROCESSED", "CONTEXT", "PROFORMA", ""])
def test_words_that_only_contain_such_a_name_are_no_pages(name: str) -> None:
    assert not is_page(["DERIVED", "SECONDARY", name])
