"""Sections, sentences and topics of reports, with their offsets."""

import pytest

from data_prep.radiology_reports.sections import split_sentences, states_findings


def read(text: str) -> list[tuple[str, str]]:
    for sentence in split_sentences(text):
        assert text[sentence.start : sentence.stop] == text[sentence.start : sentence.stop].strip() != ""
    return [(sentence.section, text[sentence.start : sentence.stop]) for sentence in split_sentences(text)]


def test_headings_of_both_languages_start_sections() -> None:
    german = "Klinische Angaben: Sturz.\n\nBefund:\nKeine Fraktur.\nBeurteilung\nUnauffällig."
    assert read(german) == [("indication", "Sturz."), ("findings", "Keine Fraktur."), ("impression", "Unauffällig.")]
    english = "INDICATION: Fall. FINDINGS: No fracture. IMPRESSION: 1. Normal. 2. Old healed fracture."
    assert read(english) == [
        ("indication", "Fall."),
        ("findings", "No fracture."),
        ("impression", "1. Normal."),
        ("impression", "2. Old healed fracture."),
    ]
    assert read("Keine Fraktur. Kein Befund einer Luxation.")[0] == ("findings", "Keine Fraktur.")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Z.n. Radiusfraktur. Keine Luxation.", ["Z.n. Radiusfraktur.", "Keine Luxation."]),
        ("V. a. Fraktur der 5. Rippe. Kein Pneu.", ["V. a. Fraktur der 5. Rippe.", "Kein Pneu."]),
        ("Fraktur der 3., 4. und 5. Rippe. Kein Pneu.", ["Fraktur der 3., 4. und 5. Rippe.", "Kein Pneu."]),
        ("Sinterung LWK 1. Keine Fraktur.", ["Sinterung LWK 1.", "Keine Fraktur."]),
        ("Basis des Os metacarpale V. Fremdkörper.", ["Basis des Os metacarpale V.", "Fremdkörper."]),
        ("Vergleich mit 12.03.2019. Spalt 2 mm. Ende", ["Vergleich mit 12.03.2019.", "Spalt 2 mm.", "Ende"]),
        ("Fracture? No.", ["Fracture"]),
        ("- Keine Fraktur\n- Keine Luxation", ["- Keine Fraktur", "- Keine Luxation"]),
        ("1. Keine Fraktur\n2. Clip", ["1. Keine Fraktur", "2. Clip"]),
    ],
)  # fmt: skip
def test_sentence_ends_are_detected(text: str, expected: list[str]) -> None:
    assert [quote for _, quote in read(text)] == expected


def test_a_wrapped_line_is_joined_and_a_short_line_ends_a_sentence() -> None:
    wrapped = "Es zeigt sich kein Anhalt für eine frische\nFraktur des dargestellten Unterarms im Verlauf"
    assert len(read(wrapped)) == 1
    assert len(read("Keine Fraktur\nPlatte in situ, achsgerechte Stellung des Radius")) == 2


def test_anatomy_alone_is_the_topic_of_the_following_sentences() -> None:
    text = "Right hand: No fracture. Clip.\n\nNormal.\n1. Left shoulder. Old fracture.\n2. Normal."
    topics = {text[sentence.start : sentence.stop]: sentence.topic for sentence in split_sentences(text)}
    assert topics == {
        "No fracture.": "right hand",
        "Clip.": "right hand",
        "Normal.": "",
        "Old fracture.": "1. left shoulder.",
        "2. Normal.": "",
    }
    assert [sentence.topic for sentence in split_sentences("Rippenfraktur: nein.")] == [""]


@pytest.mark.parametrize("letter", list("abdefhijklmnopqrstuvwxyzäöü"))
def test_a_word_shortened_to_one_small_letter_ends_no_sentence(letter: str) -> None:
    text = f"Kein Anhalt {letter}. Fx. Keine Luxation."
    assert [quote for _, quote in read(text)] == [f"Kein Anhalt {letter}. Fx.", "Keine Luxation."]
    assert [quote for _, quote in read(f"Kein Anhalt {letter}.\nFx.")] == [f"Kein Anhalt {letter}.\nFx."]
    assert [quote for _, quote in read(f"Kein Hinweis ({letter}. Fx).")] == [f"Kein Hinweis ({letter}. Fx)."]


@pytest.mark.parametrize(
    "text", ["Spalt 5 m. Keine Fraktur.", "Fraktur Typ b. Kein Pneu.", "Sinterung 3b. Keine Fraktur.", "Keine Fx."]
)
def test_a_letter_that_is_a_unit_or_a_class_ends_a_sentence(text: str) -> None:
    first, *rest = text.split(". ")
    assert [quote for _, quote in read(text)] == ([f"{first}.", *rest] if rest else [text])


@pytest.mark.parametrize(
    "heading", ["Röntgen linkes Knie in 2 Ebenen:\n", "**Knie links:**\n", "Röntgen linkes Knie: "]
)
def test_text_below_an_unknown_heading_is_text_of_the_report(heading: str) -> None:
    before = "Klinische Angaben: Sturz.\n\n"
    assert states_findings(f"{before}{heading}Keine Fraktur.")
    assert states_findings(f"{before}{heading}Keine Fraktur.\n\nBeurteilung:\n")
    assert not states_findings(f"{before}{heading}") and not states_findings(f"{before}{heading}\nBefund:\n-\n")


def test_a_paragraph_below_a_place_is_findings() -> None:
    text = "Klinische Angaben: Sturz.\n\nRöntgen linke Hand in 2 Ebenen:\nKeine Fraktur.\n\nVergleich: 2019."
    assert read(text) == [("indication", "Sturz."), ("findings", "Keine Fraktur."), ("comparison", "2019.")]
    assert split_sentences(text)[1].topic == "röntgen linke hand in 2 ebenen"
    knee = text.replace("linke Hand", "linkes Knie")
    assert ("findings", "Keine Fraktur.") in read(knee)
    other = "Klinische Angaben: Sturz.\n\nVorerkrankungen:\nRadiusfraktur."
    assert {section for section, _ in read(other)} == {"indication"}


def test_clinical_data_alone_state_no_findings() -> None:
    assert not states_findings(
        "Klinische Angaben: Sturz.\n\nFragestellung: Fraktur?\n\nUntersuchung:\n\nKnie: 2 Ebenen"
    )
    assert not states_findings("Klinische Angaben:\nSturz um 12:30 Uhr.\n\nUntersuchung um 14:10 Uhr.")
