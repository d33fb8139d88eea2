"""Mentions of findings in a report, and what the report asserts of them.

Definitions: ``tests/data_prep/radiology_reports/DEFINITIONS.md``.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from data_prep.radiology_reports.cue_scope import CUES, Clause, Cue
from data_prep.radiology_reports.finding_words import (
    FINDINGS,
    FRACTURE,
    PERMANENT_OBJECTS,
    FoundTerm,
    Qualifier,
    find_places,
    find_qualifiers,
    finding_filter,
    terms_of_finding,
)
from data_prep.radiology_reports.language import Language, sentence_language
from data_prep.radiology_reports.phrases import lowered
from data_prep.radiology_reports.readable_text import ReadableText, make_readable
from data_prep.radiology_reports.sections import Kind, Sentence, split_sentences
from data_prep.radiology_reports.side_answers import find_side_answers, without_answers


class Assertion(StrEnum):
    """What a report asserts of a finding."""

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
        finding: one of FINDINGS.
        assertion: what the report asserts of it.
        start, stop: characters of the report.
        section: of the report.
        side: L, R or B; None where the sentence states none.
        acuity: acute or old, of fractures; None where it is not stated.
        places: body parts (DICOM codes) whose films show it; empty where no place is stated.
        own_film: whether the mention stands under a heading with these body parts, so it describes their films.
        likely: whether an uncertain finding is called probable, not only possible.
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
    """Find all mentions of findings in a report.

    Args:
        text: of the report.
        language: of the report.

    Returns:
        Mentions in the order of the text; none from the sections comparison, technique and title.
    """
    readable = make_readable(text)
    text_lower = lowered(readable.text)
    mentions: list[Mention] = []
    for sentence in split_sentences(readable.text):
        if sentence.section in ("comparison", "technique", "title"):
            continue
        quote = text_lower[sentence.start : sentence.stop]
        if finding_filter().may_match(quote):
            mentions += _sentence_mentions(text_lower, sentence, sentence_language(quote, language))
    mentions = [_in_report(mention, readable) for mention in mentions]
    return sorted(mentions, key=lambda mention: (mention.start, mention.stop, mention.finding))


def _in_report(mention: Mention, readable: ReadableText) -> Mention:
    """The mention with its offsets in the report."""
    start, stop = readable.original_span(mention.start, mention.stop)
    return mention if (start, stop) == (mention.start, mention.stop) else replace(mention, start=start, stop=stop)


def _sentence_mentions(text_lower: str, sentence: Sentence, language: Language) -> list[Mention]:
    answers = find_side_answers(text_lower, sentence.start, sentence.stop)
    text_lower = without_answers(text_lower, answers)
    terms = [
        (finding, term)
        for finding in FINDINGS
        for term in terms_of_finding(finding, language).find(text_lower, sentence.start, sentence.stop)
    ]
    if not terms:
        return []
    context = _Context.of(text_lower, sentence, language)
    mentions = [_mention(context, finding, term) for finding, term in _without_titles(text_lower, terms)]
    return mentions + [
        replace(mention, side=answer.side, assertion=Assertion.PRESENT if answer.is_present else Assertion.ABSENT)
        for answer in answers
        for mention in mentions
        if mention.side != answer.side
    ]


def _without_titles(text_lower: str, terms: list[tuple[str, FoundTerm]]) -> list[tuple[str, FoundTerm]]:
    """The terms without those before a colon that the text behind it names again: "Fracture: no acute fracture"."""
    return [
        (finding, term)
        for finding, term in terms
        if text_lower[term.stop : term.stop + 2].strip(" s")[:1] != ":"
        or not any(other == finding and later.start > term.stop for other, later in terms)
    ]


@dataclass(frozen=True)
class _Context:
    """What a sentence tells of all its findings."""

    sentence: Sentence
    clause: Clause
    places: list[Qualifier]
    qualifiers: list[Qualifier]
    topic_places: list[str]
    topic_side: Qualifier | None

    @classmethod
    def of(cls, text_lower: str, sentence: Sentence, language: Language) -> "_Context":
        """Read the sentence."""
        places = find_places(text_lower, sentence.start, sentence.stop)
        qualifiers = find_qualifiers(text_lower, sentence.start, sentence.stop)
        topic_sides = _sides(find_qualifiers(sentence.topic, 0, len(sentence.topic)))
        return cls(
            sentence,
            Clause(text_lower, sentence.start, sentence.stop, language, places, _sides(qualifiers)),
            places,
            qualifiers,
            [code for topic in find_places(sentence.topic, 0, len(sentence.topic)) for code in topic.values],
            topic_sides[0] if topic_sides else None,
        )


def _mention(context: _Context, finding: str, term: FoundTerm) -> Mention:
    clause, sides = context.clause, _sides(context.qualifiers)
    part = clause.find_part(term.start, term.stop)
    side = _nearest(sides, term, part) or _nearest(sides, term, None) or context.topic_side
    place = _nearest(context.places, term, part) or _nearest(context.places, term, None)
    ages = _ages(context.qualifiers) if finding == FRACTURE else []
    age = _nearest(ages, term, clause.extend_to_short_end(part))
    kind = _assertion_kind(clause, finding, term, part)
    if not (term.is_certain or clause.names_failure(term.start, term.stop)):
        kind = _with_answer(kind, context.sentence.answer)
    return Mention(
        finding=finding,
        assertion=_in_section(Assertion("uncertain" if kind == "likely" else kind), context.sentence.section),
        start=term.start,
        stop=term.stop,
        section=context.sentence.section,
        side=side.values[0] if side else None,
        acuity=age.values[0] if age else None,
        places=_combined_places(place.values if place else term.places, context.topic_places),
        own_film=bool(context.topic_places),
        likely=kind == "likely",
    )


def _assertion_kind(clause: Clause, finding: str, term: FoundTerm, part: tuple[int, int]) -> str:
    """The kind of cue that decides the assertion; present where there is none."""
    cues = clause.select_cues(term.start, term.stop)
    if mark := clause.find_question_mark(term.start, term.stop):
        cues.append(mark)
    kinds = {cue.kind for cue in cues if not _is_irrelevant(clause, cue, term)}
    if finding in PERMANENT_OBJECTS and "history" in kinds:
        kinds -= {"history", "hypothetical"}
    if clause.is_visible(part):
        kinds.discard("history")
    return next((kind for kind in CUES if kind in kinds), "present")


def _with_answer(kind: str, answer: str) -> str:
    """The kind of cue of a field's name and its answer; "no fracture: no" is not understood, so uncertain."""
    if answer in ("", "present"):
        return kind
    if answer == "absent":
        return "uncertain" if kind == "absent" else "absent"
    return "hypothetical" if answer == "not_mentioned" else answer


def _is_irrelevant(clause: Clause, cue: Cue, term: FoundTerm) -> bool:
    """Whether a cue does not affect the assertion: the object is certain, or only its failure is denied."""
    if cue.kind in ("absent", "uncertain", "likely", "hypothetical"):
        return (
            term.is_certain
            or clause.denies_failure(cue, term.start, term.stop)
            or clause.denies_another(cue, term.start)
        )
    return False


def _in_section(assertion: Assertion, section: Kind) -> Assertion:
    """The assertion in its section: the clinical indication does not describe the film."""
    if section != "indication" or assertion is Assertion.OTHER_SIDE:
        return assertion
    known = (Assertion.HISTORY, Assertion.FOLLOW_UP)
    return Assertion.HISTORY if assertion in known else Assertion.HYPOTHETICAL


def _combined_places(stated: tuple[str, ...], topic: list[str]) -> tuple[str, ...]:
    """Body parts of a mention under a topic: those that mention and topic share, else those of the topic."""
    return tuple(code for code in stated if code in topic) or tuple(topic) or stated


def _sides(qualifiers: list[Qualifier]) -> list[Qualifier]:
    return [qualifier for qualifier in qualifiers if qualifier.values[0] in "LRB"]


def _ages(qualifiers: list[Qualifier]) -> list[Qualifier]:
    return [qualifier for qualifier in qualifiers if qualifier.values[0] in ("acute", "old")]


def _nearest(qualifiers: list[Qualifier], term: FoundTerm, part: tuple[int, int] | None) -> Qualifier | None:
    """The qualifier nearest to a mention within ``part`` (start, stop): overlapping, then after, then before it."""
    inside = [
        qualifier
        for qualifier in qualifiers
        if part is None or (part[0] <= qualifier.start and qualifier.stop <= part[1])
    ]
    return min(inside, key=lambda qualifier: _distance(qualifier, term), default=None)


def _distance(qualifier: Qualifier, term: FoundTerm) -> float:
    if qualifier.start < term.stop and term.start < qualifier.stop:
        return -1
    return qualifier.start - term.stop if qualifier.start >= term.stop else term.start - qualifier.stop + 0.5


def mention_for_side(mention: Mention, side: str | None) -> Mention:
    """Return the mention as it applies to a film.

    Args:
        mention: of the report.
        side: of the film: L, R, B, or None where unknown.

    Returns:
        The mention; with the assertion OTHER_SIDE if it is of the opposite side.
    """
    if side in ("L", "R") and mention.side in ("L", "R") and mention.side != side:
        return replace(mention, assertion=Assertion.OTHER_SIDE)
    return mention
