"""What the mentions of a report come to for one film: one value per label.

Mentions of another side, or of a place that films of this body part do not show, are not about the film. Of the others
the strongest counts: present, uncertain, absent; but what the findings doubt and the impression denies is absent.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from data_prep.radiology_reports.finding_words import FINDINGS, FRACTURE, OBJECTS, neighbours
from data_prep.radiology_reports.mentions import Assertion, Mention, on_side

FOREIGN_OBJECT = "foreign_object"
AGES = {"fracture_acute": "acute", "fracture_old": "old"}
"""Labels that are given only where the report tells the age of a fracture."""
LABELS = (*FINDINGS, FOREIGN_OBJECT, *AGES)

EVERYWHERE = frozenset({"EXTREMITY", "WHOLEBODY"})
"""Body parts of films that may show any place."""

CONFIDENCE = {"present": 0.9, "absent": 0.9, "uncertain": 0.5, "not_mentioned": 0.5}
"""How far a label of a report is trusted; a rough order, not calibrated."""
CONTRADICTED, LIKELY, ONLY_FRESH_DENIED, ONLY_HISTORY, ONLY_A_KIND_DENIED = 0.6, 0.6, 0.8, 0.3, 0.6
"""… present that another sentence denies, or that is only probable; absent where only fresh fractures are denied;
uncertain since only history is told; no foreign object, where only some kinds are denied."""

_VALUES = {
    Assertion.PRESENT: "present",
    Assertion.FOLLOW_UP: "present",
    Assertion.UNCERTAIN: "uncertain",
    Assertion.ABSENT: "absent",
    Assertion.HISTORY: "history",
}


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The value of one label, and the mention it stands on: text[start:stop], empty where nothing is mentioned."""

    value: str
    confidence: float
    start: int = 0
    stop: int = 0
    contradicted: bool = False


NOTHING = Conclusion("not_mentioned", CONFIDENCE["not_mentioned"])


def on_film(
    mentions: Iterable[Mention], body_part: str | None, side: str | None, others: Collection[str | None] = ()
) -> list[Mention]:
    """The mentions that are about a film.

    Args:
        body_part, side: of the film; None where they are not known.
        others: body parts of all films of the study; what one of them shows best is not on its neighbour.
    """
    return [
        told
        for mention in mentions
        if _shows(body_part, mention, others) and (told := on_side(mention, side)).assertion in _VALUES
    ]


def _shows(body_part: str | None, mention: Mention, others: Collection[str | None]) -> bool:
    places = mention.places
    if not places or body_part is None or body_part in EVERYWHERE or body_part in places:
        return True
    if mention.own_film or any(other in places for other in others):
        return False
    return not neighbours(body_part).isdisjoint(places)


def conclusions(mentions: Sequence[Mention]) -> dict[str, Conclusion]:
    """Label → value, of the mentions that are about a film."""
    out = {finding: _conclusion([one for one in mentions if one.finding == finding]) for finding in FINDINGS}
    out[FOREIGN_OBJECT] = _any([out[kind] for kind in OBJECTS])
    for label, acuity in AGES.items():
        told = [one for one in mentions if one.finding == FRACTURE and one.acuity == acuity]
        if told and (conclusion := _conclusion(told)) is not NOTHING:
            out[label] = conclusion
    return out


def _conclusion(mentions: Sequence[Mention]) -> Conclusion:
    by_value: dict[str, list[Mention]] = {}
    for mention in mentions:
        by_value.setdefault(_VALUES[mention.assertion], []).append(mention)
    present, uncertain, absent, history = (by_value.get(v, []) for v in ("present", "uncertain", "absent", "history"))
    if present:
        denied = any(one.acuity != "acute" and not set(one.places) - set(present[0].places) for one in absent)
        return _of(present, "present", CONTRADICTED if denied else CONFIDENCE["present"], contradicted=denied)
    likely = [one for one in uncertain if one.likely]
    if likely and not absent:
        return _of(likely, "present", LIKELY)
    if uncertain and not (_impressed(absent) and not _impressed(uncertain)):
        return _of(uncertain, "uncertain", CONFIDENCE["uncertain"])
    if history and all(one.acuity == "acute" for one in absent):
        return _of(history, "uncertain", ONLY_HISTORY)
    if absent:
        fresh = all(one.acuity == "acute" for one in absent)
        return _of(absent, "absent", ONLY_FRESH_DENIED if fresh else CONFIDENCE["absent"])
    return NOTHING


def _impressed(mentions: Sequence[Mention]) -> bool:
    return any(one.section == "impression" for one in mentions)


def _of(mentions: Sequence[Mention], value: str, confidence: float, contradicted: bool = False) -> Conclusion:
    """The impression is quoted first."""
    best = next((one for one in mentions if one.section == "impression"), mentions[0])
    return Conclusion(value, confidence, best.start, best.stop, contradicted)


def _any(kinds: Sequence[Conclusion]) -> Conclusion:
    """Any foreign object."""
    for value in ("present", "uncertain", "absent"):
        told = [kind for kind in kinds if kind.value == value]
        if told:
            best = max(told, key=lambda kind: kind.confidence)
            confidence = min(best.confidence, ONLY_A_KIND_DENIED) if value == "absent" else best.confidence
            return Conclusion(value, confidence, best.start, best.stop)
    return NOTHING
