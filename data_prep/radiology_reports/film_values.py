"""Mentions of a report → one value per label of one film.

A mention does not apply to the film if it is of the other side, or of a place that films of this body part do not
show. Of the mentions that apply the strongest counts: present, uncertain, absent; a finding that is uncertain in the
findings section and denied in the impression is absent.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from data_prep.radiology_reports.finding_words import FINDINGS, FRACTURE, OBJECTS, neighbours
from data_prep.radiology_reports.mentions import Assertion, Mention, mention_for_side

FOREIGN_OBJECT = "foreign_object"
AGES = {"fracture_acute": "acute", "fracture_old": "old"}
"""Label → acuity. These labels are written only where the report states the age of a fracture."""
LABELS = (*FINDINGS, FOREIGN_OBJECT, *AGES)

ANY_PLACE = frozenset({"EXTREMITY", "WHOLEBODY"})
"""Body parts (DICOM codes) whose films may show any place."""

CONFIDENCE = {"present": 0.9, "absent": 0.9, "uncertain": 0.5, "not_mentioned": 0.5}
"""Confidence of a value, 0 to 1; a rough order, not calibrated."""
CONTRADICTED_CONFIDENCE = 0.6
"""Of present, where another sentence denies the finding."""
LIKELY_CONFIDENCE = 0.6
"""Of present, where the finding is only probable."""
ACUTE_DENIED_CONFIDENCE = 0.8
"""Of absent, where only acute fractures are denied."""
HISTORY_CONFIDENCE = 0.3
"""Of uncertain, where the finding is only part of the history."""
KIND_DENIED_CONFIDENCE = 0.6
"""Of an absent foreign object, where not all kinds are denied."""

_VALUES = {
    Assertion.PRESENT: "present",
    Assertion.FOLLOW_UP: "present",
    Assertion.UNCERTAIN: "uncertain",
    Assertion.ABSENT: "absent",
    Assertion.HISTORY: "history",
}


@dataclass(frozen=True, slots=True)
class FilmValue:
    """The value of one label of a film.

    Attributes:
        value: present, uncertain, absent or not_mentioned.
        confidence: 0 to 1.
        start, stop: characters of the mention that gives the value; empty where nothing is mentioned.
        contradicted: whether another sentence denies a finding that is present.
    """

    value: str
    confidence: float
    start: int = 0
    stop: int = 0
    contradicted: bool = False


NOT_MENTIONED = FilmValue("not_mentioned", CONFIDENCE["not_mentioned"])


def select_mentions_on_film(
    mentions: Iterable[Mention], body_part: str | None, side: str | None, study_body_parts: Collection[str | None] = ()
) -> list[Mention]:
    """Select the mentions that apply to a film.

    Args:
        mentions: of the report.
        body_part: DICOM code of the film; None where unknown.
        side: of the film: L, R, B, or None where unknown.
        study_body_parts: body parts of all films of the study. A place that one of them shows is not assigned to
            films of neighbouring body parts.

    Returns:
        The mentions that assert something about the film.
    """
    shown = [mention for mention in mentions if _is_shown(body_part, mention, study_body_parts)]
    return [sided for mention in shown if (sided := mention_for_side(mention, side)).assertion in _VALUES]


def _is_shown(body_part: str | None, mention: Mention, study_body_parts: Collection[str | None]) -> bool:
    places = mention.places
    if not places or body_part is None or body_part in ANY_PLACE or body_part in places:
        return True
    if mention.own_film or any(other in places for other in study_body_parts):
        return False
    return not neighbours(body_part).isdisjoint(places)


def label_values(mentions: Sequence[Mention]) -> dict[str, FilmValue]:
    """Reduce the mentions that apply to a film to label → value."""
    values = {
        finding: _value_of([mention for mention in mentions if mention.finding == finding]) for finding in FINDINGS
    }
    values[FOREIGN_OBJECT] = _any_object([values[kind] for kind in OBJECTS])
    for label, acuity in AGES.items():
        mentions_of_age = [mention for mention in mentions if mention.finding == FRACTURE and mention.acuity == acuity]
        if mentions_of_age and (value := _value_of(mentions_of_age)) is not NOT_MENTIONED:
            values[label] = value
    return values


def _value_of(mentions: Sequence[Mention]) -> FilmValue:
    by_value: dict[str, list[Mention]] = {}
    for mention in mentions:
        by_value.setdefault(_VALUES[mention.assertion], []).append(mention)
    present, uncertain, absent, history = (by_value.get(v, []) for v in ("present", "uncertain", "absent", "history"))
    if present:
        is_denied = any(
            mention.acuity != "acute" and not set(mention.places) - set(present[0].places) for mention in absent
        )
        return _film_value(
            present, "present", CONTRADICTED_CONFIDENCE if is_denied else CONFIDENCE["present"], contradicted=is_denied
        )
    likely = [mention for mention in uncertain if mention.likely]
    if likely and not absent:
        return _film_value(likely, "present", LIKELY_CONFIDENCE)
    if uncertain and not (_in_impression(absent) and not _in_impression(uncertain)):
        return _film_value(uncertain, "uncertain", CONFIDENCE["uncertain"])
    if history and all(mention.acuity == "acute" for mention in absent):
        return _film_value(history, "uncertain", HISTORY_CONFIDENCE)
    if absent:
        is_acute_only = all(mention.acuity == "acute" for mention in absent)
        return _film_value(absent, "absent", ACUTE_DENIED_CONFIDENCE if is_acute_only else CONFIDENCE["absent"])
    return NOT_MENTIONED


def _in_impression(mentions: Sequence[Mention]) -> bool:
    return any(mention.section == "impression" for mention in mentions)


def _film_value(mentions: Sequence[Mention], value: str, confidence: float, contradicted: bool = False) -> FilmValue:
    """The value with the place of its first mention, in the impression if there is one."""
    best = next((mention for mention in mentions if mention.section == "impression"), mentions[0])
    return FilmValue(value, confidence, best.start, best.stop, contradicted)


def _any_object(kinds: Sequence[FilmValue]) -> FilmValue:
    """The value of foreign_object from those of its kinds: present, else uncertain, else absent if any kind is."""
    for value in ("present", "uncertain", "absent"):
        matching = [kind for kind in kinds if kind.value == value]
        if matching:
            best = max(matching, key=lambda kind: kind.confidence)
            confidence = min(best.confidence, KIND_DENIED_CONFIDENCE) if value == "absent" else best.confidence
            return FilmValue(value, confidence, best.start, best.stop)
    return NOT_MENTIONED
