"""What a report meant: broken, divided, confused and misspelt words."""

import pytest

from data_prep.radiology_reports.mentions import find_mentions
from data_prep.radiology_reports.readable_text import make_readable


@pytest.mark.parametrize(
    ("text", "readable"),
    [
        ("No frac-\nture or", "No fracture or"),
        ("Hüft-\nTEP und Radius-\nund Ulna", "Hüft-TEP und Radius-\nund Ulna"),
        ("No fractu re.", "No fracture."),
        ("k e i n e Fraktur", "keine Fraktur"),
        ("KeineFraktur", "keine fraktur"),
        ("Kelne Fral<tur, N0 fracture", "Keine Fraktur, no fracture"),
        ("Mehrfragmentfrakur, Schrittmaher, pacemkaer", "mehrfragmentfraktur, Schrittmacher, pacemaker"),
        ("Fremdko\u0308rper", "Fremdkörper"),
        ("Fracture ...... no", "Fracture: no"),
        ("Greenstick # of the radius, # base", "Greenstick fracture of the radius, fracture base"),
        ("# Findings\nNormal", "# Findings\nNormal"),
    ],
)
def test_words_are_put_right(text: str, readable: str) -> None:
    assert make_readable(text).text.lower() == readable.lower()


@pytest.mark.parametrize(
    "text", ["Kleine Kontraktur, Strukturen", "Traction, contracture, fraction", "Weber B", "visibly"]
)
def test_words_that_are_right_stay_as_they_are(text: str) -> None:
    assert make_readable(text).text == text


@pytest.mark.parametrize(
    ("text", "quote"),
    [
        ("Keine Frak-\ntur.", "Frak-\ntur"),
        ("K e i n e  F r a k t u r .", "F r a k t u r"),
        ("No #.", "#"),
        ("No frcture", "frcture"),
    ],
)
def test_mentions_keep_the_offsets_of_the_report(text: str, quote: str) -> None:
    (mention,) = find_mentions(text, "en" if "No" in text else "de")
    assert text[mention.start : mention.stop] == quote and mention.assertion == "absent"


def test_letters_without_end_are_no_word() -> None:
    assert len(make_readable("a" * 100_000).text) == 1
