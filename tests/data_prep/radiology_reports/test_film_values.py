"""What the mentions of a report come to for a film of one body part and side."""

import pytest

from data_prep.radiology_reports.film_values import CONTRADICTED, LIKELY, Conclusion, conclusions, on_film
from data_prep.radiology_reports.language import Language
from data_prep.radiology_reports.mentions import find_mentions


def on(text: str, body_part: str | None = None, side: str | None = None, language: Language = "de",
       others: tuple[str, ...] = ()) -> dict[str, Conclusion]:  # fmt: skip
    return conclusions(on_film(find_mentions(text, language), body_part, side, others))


def values(text: str, *where: str | None, **more: object) -> dict[str, str]:
    told = on(text, *where, **more)  # type: ignore[arg-type]
    return {label: one.value for label, one in told.items() if one.value != "not_mentioned"}


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
def test_the_strongest_word_counts_and_the_impression_settles_doubts(text: str, fracture: str) -> None:
    if fracture == "uncertain_or_none":
        assert on(text)["fracture"].value == "not_mentioned"
    else:
        assert on(text)["fracture"].value == fracture


def test_age_has_labels_of_its_own_only_where_it_is_told() -> None:
    assert values("Alte Fraktur. Keine frische Fraktur.") == {
        "fracture": "present", "fracture_old": "present", "fracture_acute": "absent"
    }  # fmt: skip
    assert values("Fraktur.") == {"fracture": "present"}


def test_any_foreign_object_is_told_beside_its_kind() -> None:
    assert values("Platte in situ. Kein Fremdkörper.") == {
        "implant": "present", "retained_object": "absent", "foreign_object": "present"
    }  # fmt: skip
    denied = on("Kein Fremdkörper.")["foreign_object"]
    assert denied.value == "absent" and denied.confidence < on("Kein Fremdkörper.")["retained_object"].confidence


def test_a_place_goes_to_the_films_that_show_it() -> None:
    text = "Distale Radiusfraktur. Die Hand ist unauffällig."
    study = ("WRIST", "KNEE")
    assert values(text, "WRIST", None, others=study) == {"fracture": "present"}
    assert values(text, "KNEE", None, others=study) == {}
    assert values(text, None, None, others=study) == {"fracture": "present"}


def test_a_neighbour_shows_a_place_where_no_film_shows_it_better() -> None:
    text = "Clips im Oberbauch."
    assert "implant" in values(text, "CHEST", None, others=("CHEST",))
    assert "implant" not in values(text, "CHEST", None, others=("CHEST", "ABDOMEN"))
    assert "implant" not in values(text, "HAND", None, others=("HAND",))


def test_what_stands_under_the_name_of_a_film_is_on_that_film_alone() -> None:
    text = "Thorax: Kein Erguss.\n\nRechte Schulter: Fraktur der Klavikula."
    assert values(text, "CHEST", None, others=("CHEST",)) == {}
    assert values(text, "SHOULDER", "R", others=("CHEST", "SHOULDER")) == {"fracture": "present"}


def test_the_other_side_is_on_no_film_of_this_side() -> None:
    text = "Fraktur des linken Radius."
    assert values(text, "WRIST", "L") == {"fracture": "present"}
    assert values(text, "WRIST", "R") == {}
    assert values(text, "WRIST", None) == values(text, "WRIST", "B") == {"fracture": "present"}


def test_confidence_falls_with_doubt_and_contradiction() -> None:
    sure = on("Fraktur.")["fracture"].confidence
    assert on("Wahrscheinlich Fraktur.")["fracture"].confidence == LIKELY < sure
    contradicted = on("Befund: Fraktur. Beurteilung: Keine Fraktur.")["fracture"]
    assert contradicted.contradicted and contradicted.confidence == CONTRADICTED < sure
    assert not on("Fraktur. Keine frische Fraktur.")["fracture"].contradicted


def test_offsets_point_at_the_words_the_label_stands_on() -> None:
    text = "Befund: Aufhellung, Fraktur.\n\nBeurteilung: Radiusfraktur."
    told = on(text)["fracture"]
    assert text[told.start : told.stop] == "Radiusfraktur"
    assert (on(text)["implant"].start, on(text)["implant"].stop) == (0, 0)
