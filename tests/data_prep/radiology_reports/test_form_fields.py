"""Form fields and check boxes of a sentence."""

import pytest

from data_prep.radiology_reports.form_fields import split_fields


def read(text: str) -> list[tuple[str, str]]:
    parts = [
        (text[field.start : field.stop].strip(" ,;:/.\n"), field.answer) for field in split_fields(text, 0, len(text))
    ]
    return [part for part in parts if part[0]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no fracture.", [("no fracture", "")]),
        ("fracture: no", [("fracture", "absent")]),
        ("fracture? no.", [("fracture", "absent")]),
        ("fraktur: ja, fremdkörper: nein", [("fraktur", "present"), ("fremdkörper", "absent")]),
        ("fracture = no / foreign body = no", [("fracture", "absent"), ("foreign body", "absent")]),
        ("schrittmacher - ja; drainage - nein", [("schrittmacher", "present"), ("drainage", "absent")]),
        ("fraktur (j/n): n", [("fraktur", "absent")]),
        ("fraktur, luxation: nein", [("fraktur, luxation", "absent")]),
        ("pacemaker left, tubes: none", [("pacemaker left", ""), ("tubes", "absent")]),
        ("fraktur: nicht beurteilbar", [("fraktur", "not_mentioned")]),
        ("fraktur: nicht disloziert", [("fraktur: nicht disloziert", "")]),
    ],
)
def test_a_field_is_read_with_its_answer(text: str, expected: list[tuple[str, str]]) -> None:
    assert read(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[ ] fracture  [x] no fracture", [("no fracture", "")]),
        ("☐ fracture ☒ foreign body", [("foreign body", "")]),
        ("fracture: [ ] yes [x] no", [("fracture", "absent")]),
        ("fracture: yes [ ] no [x]", [("fracture", "absent")]),
        ("fraktur [x] luxation [ ]", [("fraktur", "")]),
        ("fraktur: ( ) ja ( ) nein", [("fraktur", "not_mentioned")]),
        ("fraktur: (x) ja (x) nein", [("fraktur", "uncertain")]),
        (
            "fracture: yes [ ] no [x] foreign body: yes [x] no [ ]",
            [("fracture", "absent"), ("foreign body", "present")],
        ),
    ],
)
def test_ticked_boxes_are_read_and_empty_ones_say_nothing(text: str, expected: list[tuple[str, str]]) -> None:
    assert read(text) == expected
