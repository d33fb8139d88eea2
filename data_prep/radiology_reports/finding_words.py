"""Search a text for findings, anatomy, sides and ages; the phrases are in ``words/*.txt``."""

import re
from dataclasses import dataclass
from functools import cache

from data_prep.radiology_reports.language import LANGUAGES, Language
from data_prep.radiology_reports.phrases import WORDS, Entry, KeywordFilter, compile_phrases, read_word_list

FRACTURE = "fracture"
OBJECTS = ("implant", "tube_line", "electrode_lead", "jewellery_clothing", "retained_object")
"""Kinds of foreign objects."""
FINDINGS = (FRACTURE, *OBJECTS)
PERMANENT_OBJECTS = frozenset({"implant", "tube_line", "electrode_lead"})
"""Objects that are placed to stay: after "status post" they are present unless the report states their removal."""


@dataclass(frozen=True)
class FoundTerm:
    """A phrase of a finding at text[start:stop].

    Attributes:
        start, stop: characters.
        is_certain: whether the phrase implies that the object is present, even under a negation.
        places: body parts (DICOM codes) whose films show the finding, where the sentence names no place.
    """

    start: int
    stop: int
    is_certain: bool
    places: tuple[str, ...]


class FindingTerms:
    """The phrases of one finding in one language."""

    def __init__(self, finding: str, language: Language) -> None:
        entries = [entry for entry in read_word_list(finding) if entry.key.split()[0] in (language, "both")]
        self.phrases = [phrase for entry in entries if _entry_kind(entry) != "not" for phrase in entry.phrases]
        self._filter = KeywordFilter(self.phrases)
        self._patterns = [(_entry_kind(entry), entry.places, compile_phrases(entry.phrases)) for entry in entries]

    def find(self, text: str, start: int, stop: int) -> list[FoundTerm]:
        """Find the phrases of the finding in text[start:stop].

        Args:
            text: in lower case.
            start, stop: characters.

        Returns:
            In the order of the text: of overlapping phrases the longest; none of an excluded term ("not" in the list).
        """
        if not self._filter.may_match(text[start:stop]):
            return []
        matches = [
            (match.start(), match.end(), kind, places)
            for kind, places, phrases in self._patterns
            for match in phrases.finditer(text, start, stop)
        ]
        matches.sort(key=lambda match: (match[2] != "there", match[0] - match[1], match[2] != "not"))
        kept: list[tuple[int, int, str, tuple[str, ...]]] = []
        for match in matches:
            if all(match[1] <= longer[0] or match[0] >= longer[1] for longer in kept):
                kept.append(match)
        return [FoundTerm(a, b, kind == "there", places) for a, b, kind, places in sorted(kept) if kind != "not"]


def _entry_kind(entry: Entry) -> str:
    return entry.key.partition(" ")[2]


@cache
def terms_of_finding(finding: str, language: Language) -> FindingTerms:
    """Read the phrases of a finding in one language (cached).

    Args:
        finding: one of FINDINGS.
        language: of the reports.

    Returns:
        Its phrases.
    """
    return FindingTerms(finding, language)


@cache
def finding_filter(language: Language | None = None) -> KeywordFilter:
    """Return the fast test for mentions of any finding, in one language or in any."""
    languages = LANGUAGES if language is None else (language,)
    return KeywordFilter(
        phrase for finding in FINDINGS for name in languages for phrase in terms_of_finding(finding, name).phrases
    )


@cache
def language_filter(language: Language) -> KeywordFilter:
    """Return the fast test for mentions in the words of one language alone."""
    entries = [entry for finding in FINDINGS for entry in read_word_list(finding)]
    return KeywordFilter(phrase for entry in entries if entry.key == language for phrase in entry.phrases)


@dataclass(frozen=True)
class Qualifier:
    """A word for a side, an age or a place at text[start:stop].

    Attributes:
        start, stop: characters.
        values: L, R or B; acute or old; or the body parts (DICOM codes) whose films show the place.
    """

    start: int
    stop: int
    values: tuple[str, ...]


def find_places(text: str, start: int, stop: int) -> list[Qualifier]:
    """Find anatomy in a part of a text.

    Args:
        text: in lower case.
        start, stop: the part, in characters.

    Returns:
        Qualifiers in the order of the text; values are the body parts (DICOM codes) whose films show the place.
    """
    return _longest_matches(text, start, stop, _places())


def find_qualifiers(text: str, start: int, stop: int) -> list[Qualifier]:
    """Find sides and ages in a part of a text.

    Args:
        text: in lower case.
        start, stop: the part, in characters.

    Returns:
        Qualifiers in the order of the text, with the values L, R, B, acute or old.
    """
    return [
        qualifier for qualifier in _longest_matches(text, start, stop, _qualifiers()) if qualifier.values != ("not",)
    ]


def names_a_place(text: str) -> bool:
    """Whether a text (lower case) names anatomy or a side, and no finding."""
    if may_name_finding(text):
        return False
    return bool(find_places(text, 0, len(text))) or any(
        qualifier.values[0] in "LRB" for qualifier in find_qualifiers(text, 0, len(text))
    )


def is_only_a_place(text: str) -> bool:
    """Whether a sentence (lower case) names anatomy and nothing else, as "2. Right shoulder and clavicle."."""
    words = WORDS.findall(text)
    if len(words) > _MAX_TOPIC_WORDS or not all(word in _FILLERS or _place_filter().may_match(word) for word in words):
        return False
    if may_name_finding(text) or not find_places(text, 0, len(text)):
        return False
    for qualifier in (*find_places(text, 0, len(text)), *find_qualifiers(text, 0, len(text))):
        text = text[: qualifier.start] + " " * (qualifier.stop - qualifier.start) + text[qualifier.stop :]
    return all(word in _FILLERS for word in WORDS.findall(text))


def may_name_finding(text: str) -> bool:
    """Whether a text (lower case) may name a finding."""
    return finding_filter().may_match(text)


@cache
def _place_filter() -> KeywordFilter:
    return KeywordFilter(
        phrase for name in ("places", "qualifiers") for entry in read_word_list(name) for phrase in entry.phrases
    )


_MAX_TOPIC_WORDS = 5
_FILLERS = frozenset({"and", "the", "und", "der", "die", "das", "of"})


@cache
def neighbours(body_part: str) -> frozenset[str]:
    """Return the body parts (DICOM codes) that the margins of a film of ``body_part`` also show."""
    return frozenset(
        code
        for entry in read_word_list("neighbours")
        if entry.key == body_part
        for codes in entry.phrases
        for code in codes.split()
    )


def _longest_matches(
    text: str, start: int, stop: int, patterns: tuple[tuple[tuple[str, ...], re.Pattern[str]], ...]
) -> list[Qualifier]:
    matches = [
        Qualifier(match.start(), match.end(), values)
        for values, phrases in patterns
        for match in phrases.finditer(text, start, stop)
    ]
    matches.sort(key=lambda match: match.start - match.stop)
    kept: list[Qualifier] = []
    for match in matches:
        if all(match.stop <= longer.start or match.start >= longer.stop for longer in kept):
            kept.append(match)
    return sorted(kept, key=lambda match: match.start)


@cache
def _places() -> tuple[tuple[tuple[str, ...], re.Pattern[str]], ...]:
    return tuple((tuple(entry.key.split()), compile_phrases(entry.phrases)) for entry in read_word_list("places"))


@cache
def _qualifiers() -> tuple[tuple[tuple[str, ...], re.Pattern[str]], ...]:
    return tuple(((entry.key,), compile_phrases(entry.phrases)) for entry in read_word_list("qualifiers"))
