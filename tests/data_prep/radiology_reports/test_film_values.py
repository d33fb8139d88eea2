"""Values of labels for a film of one body part and side, from the mentions of a report."""

import pytest

from data_prep.radiology_reports.film_values import (
    CONTRADICTED_CONFIDENCE,
    LIKELY_CONFIDENCE,
    FilmValue,
    label_values,
    select_mentions_on_film,
)
from data_prep.radiology_reports.language import Language
from data_prep.radiology_reports.mentions import find_mentions


def values_on(text: str, body_part: str | None = None, side: str | None = None, language: Language = "de",
       study_body_parts: tuple[str, ...] = ()) -> dict[str, FilmValue]:  # fmt: skip
    return label_values(select_mentions_on_film(find_mentions(text, language), body_part, side, study_body_parts))


def values(text: str, *where: str | None, **more: object) -> dict[str, str]:
    found = values_on(text, *where, **more)  # type: ignore[arg-type]
    return {label: film_value.value for label, film_value in found.items() if film_value.value != "not_mentioned"}


@pytest.mark.parametrize(
    ("text", "fracture"),
    [
        ("Fraktur des Radius.", "present"),
        ("Bekannte Fraktur, unverändert.", "present"),
        ("Keine Fraktur.", "absent"),
        ("V.a. Fraktur.", "uncertain"),
        ("Wahrscheinlich Fraktur.", "present"),
        ("Z.n. Fraktur.", "uncertain"),
        ("Z.n. Fraktur. Keine Fraktur.", "absent"),
        ("Z.n. Fraktur. Keine frische Fraktur.", "uncertain"),
        ("Fraktur?", "not_mentioned"),
        ("Befund: Fragliche Fraktur. Beurteilung: Keine Fraktur.", "absent"),
        ("Befund: Keine Fraktur. Beurteilung: V.a. Fraktur.", "uncertain"),
        ("Befund: Alte Fraktur. Beurteilung: Keine frische Fraktur.", "present"),
        ("Klinische Angaben: Fraktur. Befund: Unauffällig.", "uncertain_or_none"),
        ("Klinische Angaben: Z.n. Fraktur. Befund: Keine Fraktur.", "absent"),
    ],
)
def test_the_strongest_assertion_counts_and_a_denial_in_the_impression_resolves_doubt(text: str, fracture: str) -> None:
    if fracture == "uncertain_or_none":
        assert values_on(text)["fracture"].value == "not_mentioned"
    else:
        assert values_on(text)["fracture"].value == fracture


def test_labels_of_age_exist_only_where_the_report_states_the_age() -> None:
    assert values("Alte Fraktur. Keine frische Fraktur.") == {
        "fracture": "present", "fracture_old": "present", "fracture_acute": "absent"
    }  # fmt: skip
    assert values("Fraktur.") == {"fracture": "present"}


def test_foreign_object_is_a_label_in_addition_to_its_kind() -> None:
    assert values("Platte in situ. Kein Fremdkörper.") == {
        "implant": "present", "retained_object": "absent", "foreign_object": "present"
    }  # fmt: skip
    absent = values_on("Kein Fremdkörper.")["foreign_object"]
    assert absent.value == "absent" and absent.confidence < values_on("Kein Fremdkörper.")["retained_object"].confidence


def test_a_mention_with_a_place_applies_to_the_films_that_show_it() -> None:
    text = "Distale Radiusfraktur. Die Hand ist unauffällig."
    study = ("WRIST", "KNEE")
    assert values(text, "WRIST", None, study_body_parts=study) == {"fracture": "present"}
    assert values(text, "KNEE", None, study_body_parts=study) == {}
    assert values(text, None, None, study_body_parts=study) == {"fracture": "present"}


def test_a_mention_applies_to_a_neighbouring_film_where_no_film_shows_its_place() -> None:
    text = "Clips im Oberbauch."
    assert "implant" in values(text, "CHEST", None, study_body_parts=("CHEST",))
    assert "implant" not in values(text, "CHEST", None, study_body_parts=("CHEST", "ABDOMEN"))
    assert "implant" not in values(text, "HAND", None, study_body_parts=("HAND",))


def test_a_mention_under_the_heading_of_a_film_applies_to_that_film_alone() -> None:
    text = "Thorax: Kein Erguss.\n\nRechte Schulter: Fraktur der Klavikula."
    assert values(text, "CHEST", None, study_body_parts=("CHEST",)) == {}
    assert values(text, "SHOULDER", "R", study_body_parts=("CHEST", "SHOULDER")) == {"fracture": "present"}


def test_a_mention_of_the_other_side_does_not_apply() -> None:
    text = "Fraktur des linken Radius."
    assert values(text, "WRIST", "L") == {"fracture": "present"}
    assert values(text, "WRIST", "R") == {}
    assert values(text, "WRIST", None) == values(text, "WRIST", "B") == {"fracture": "present"}


def test_confidence_falls_with_doubt_and_contradiction() -> None:
    stated = values_on("Fraktur.")["fracture"].confidence
    assert values_on("Wahrscheinlich Fraktur.")["fracture"].confidence == LIKELY_CONFIDENCE < stated
    contradicted = values_on("Befund: Fraktur. Beurteilung: Keine Fraktur.")["fracture"]
    assert contradicted.contradicted and contradicted.confidence == CONTRADICTED_CONFIDENCE < stated
    assert not values_on("Fraktur. Keine frische Fraktur.")["fracture"].contradicted


def test_offsets_point_at_the_mention_that_gives_the_value() -> None:
    text = "Befund: Aufhellung, Fraktur.\n\nBeurteilung: Radiusfraktur."
    value = values_on(text)["fracture"]
    assert text[value.start : value.stop] == "Radiusfraktur"
    assert (values_on(text)["implant"].start, values_on(text)["implant"].stop) == (0, 0)
