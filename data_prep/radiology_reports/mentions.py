"""Mentions of findings in a report and what is asserted of them: DEFINITIONS.md beside this package's tests."""

from dataclasses import dataclass, replace
from enum import StrEnum

from data_prep.radiology_reports.cue_scope import CUES, Clause, Cue
from data_prep.radiology_reports.finding_words import (
    FINDINGS,
    FRACTURE,
    STAYING,
    FoundTerm,
    Qualifier,
    finding_words,
    places_in,
    qualifiers_in,
    triggers,
)
from data_prep.radiology_reports.language import Language
from data_prep.radiology_reports.phrases import lowered
from data_prep.radiology_reports.sections import Kind, Sentence, sentences


class Assertion(StrEnum):
    """What a report says of a finding."""

    PRESENT = "present"
    FOLLOW_UP = "follow_up"
    UNCERTAIN = "uncertain"
    ABSENT = "absent"
    HISTORY = "history"
    HYPOTHETICAL = "hypothetical"
    OTHER_SIDE = "other_side"
    NOT_MENTIONED = "not_mentioned"


@dataclass(frozen=True, slots=True)
class Mention:
    """One mention of a finding at text[start:stop].

    Attributes:
        section: what part of the report it stands in.
        side: L, R or B where the sentence tells.
        acuity: acute or old, of fractures, where it is told.
        places: body parts whose films show it; empty where no place is told.
        own_film: the report has a part of its own for these body parts, so that it was read off their films.
        likely: uncertain, but said to be probable rather than possible.
    """

    finding: str
    assertion: Assertion
    start: int
    stop: int
    section: Kind
    side: str | None
    acuity: str | None
    places: tuple[str, ...]
    own_film: bool = False
    likely: bool = False


def find_mentions(text: str, language: Language) -> list[Mention]:
    """All mentions of findings in a report, in their order; not under "comparison", "technique" or the title."""
    low = lowered(text)
    out: list[Mention] = []
    for sentence in sentences(text):
        if sentence.section in ("comparison", "technique", "title"):
            continue
        if triggers(language).fire(low[sentence.start : sentence.stop]):
            out += _in_sentence(low, sentence, language)
    return sorted(out, key=lambda mention: (mention.start, mention.stop, mention.finding))


def _in_sentence(low: str, sentence: Sentence, language: Language) -> list[Mention]:
    found = [
        (finding, one)
        for finding in FINDINGS
        for one in finding_words(finding, language).find(low, sentence.start, sentence.stop)
    ]
    if not found:
        return []
    places = places_in(low, sentence.start, sentence.stop)
    clause = Clause(low, sentence.start, sentence.stop, language, places)
    qualifiers = qualifiers_in(low, sentence.start, sentence.stop)
    topic_places = places_in(sentence.topic, 0, len(sentence.topic))
    topic_sides = _sides(qualifiers_in(sentence.topic, 0, len(sentence.topic)))
    out = []
    for finding, one in found:
        part = clause.part(one.start, one.stop)
        side = _nearest(_sides(qualifiers), one, part) or _nearest(_sides(qualifiers), one, None)
        side = side or (topic_sides[0] if topic_sides else None)
        place = _nearest(places, one, part) or _nearest(places, one, None)
        age = _nearest(_ages(qualifiers), one, clause.with_afterthought(part)) if finding == FRACTURE else None
        told = _both(place.values if place else one.places, [code for one in topic_places for code in one.values])
        acuity = age.values[0] if age else None
        kind = _asserted(clause, finding, one, part)
        assertion = _in_section(Assertion("uncertain" if kind == "likely" else kind), sentence.section)
        side_value = side.values[0] if side else None
        where = (one.start, one.stop, sentence.section, side_value, acuity, told, bool(topic_places), kind == "likely")
        out.append(Mention(finding, assertion, *where))
    return out


def _asserted(clause: Clause, finding: str, one: FoundTerm, part: tuple[int, int]) -> str:
    """The kind of cue that counts; present without one."""
    cues = clause.cues_of(one.start, one.stop)
    if question := clause.question(one.start, one.stop):
        cues.append(question)
    kinds = {cue.kind for cue in cues if not _is_void(clause, cue, one)}
    if finding in STAYING and "history" in kinds:
        kinds -= {"history", "hypothetical"}
    if clause.is_seen(part):
        kinds.discard("history")
    return next((kind for kind in CUES if kind in kinds), "present")


def _is_void(clause: Clause, cue: Cue, one: FoundTerm) -> bool:
    """Whether a cue says nothing of the thing itself."""
    if cue.kind in ("absent", "uncertain", "likely", "hypothetical"):
        return one.there or clause.is_trouble(cue, one.start, one.stop)
    return False


def _in_section(assertion: Assertion, section: Kind) -> Assertion:
    """Under the clinical question nothing is read off the film."""
    if section != "indication" or assertion is Assertion.OTHER_SIDE:
        return assertion
    known = (Assertion.HISTORY, Assertion.FOLLOW_UP)
    return Assertion.HISTORY if assertion in known else Assertion.HYPOTHETICAL


def _both(told: tuple[str, ...], topic: list[str]) -> tuple[str, ...]:
    """Where a mention is seen that stands under a topic: there, where both agree; on the topic's films otherwise."""
    return tuple(code for code in told if code in topic) or tuple(topic) or told


def _sides(qualifiers: list[Qualifier]) -> list[Qualifier]:
    return [one for one in qualifiers if one.values[0] in "LRB"]


def _ages(qualifiers: list[Qualifier]) -> list[Qualifier]:
    return [one for one in qualifiers if one.values[0] in ("acute", "old")]


def _nearest(words: list[Qualifier], one: FoundTerm, part: tuple[int, int] | None) -> Qualifier | None:
    """The word nearest to a mention, in ``part`` of the sentence: one inside of it first, then one behind it."""
    inside = [word for word in words if part is None or (part[0] <= word.start and word.stop <= part[1])]
    return min(inside, key=lambda word: _distance(word, one), default=None)


def _distance(word: Qualifier, one: FoundTerm) -> float:
    if word.start < one.stop and one.start < word.stop:
        return -1
    return word.start - one.stop if word.start >= one.stop else one.start - word.stop + 0.5


def on_side(mention: Mention, side: str | None) -> Mention:
    """The mention as it stands to a film of ``side`` (L, R, or None where it is not known)."""
    if side in ("L", "R") and mention.side in ("L", "R") and mention.side != side:
        return replace(mention, assertion=Assertion.OTHER_SIDE)
    return mention
