"""What is looked for: findings, places, sides, age. The words are in ``words/*.txt``."""

import re
from dataclasses import dataclass
from functools import cache

from data_prep.radiology_reports.language import LANGUAGES, Language
from data_prep.radiology_reports.phrases import WORDS, Entry, Triggers, pattern, word_list

FRACTURE = "fracture"
OBJECTS = ("implant", "tube_line", "electrode_lead", "jewellery_clothing", "retained_object")
"""Foreign objects by kind."""
FINDINGS = (FRACTURE, *OBJECTS)
STAYING = frozenset({"implant", "tube_line", "electrode_lead"})
"""Put in by somebody to stay: having been put in, they are there until their removal is told."""


@dataclass(frozen=True)
class FoundTerm:
    """A phrase at text[start:stop]; ``there``: the thing is there, whatever is said of it."""

    start: int
    stop: int
    there: bool
    places: tuple[str, ...]


class FindingWords:
    """The phrases of one finding in one language."""

    def __init__(self, finding: str, language: Language) -> None:
        entries = [entry for entry in word_list(finding) if entry.key.split()[0] in (language, "both")]
        self.phrases = [phrase for entry in entries if "not" not in entry.key for phrase in entry.phrases]
        self._patterns = [(_kind(entry), entry.places, pattern(entry.phrases)) for entry in entries]

    def find(self, low: str, start: int, stop: int) -> list[FoundTerm]:
        """Mentions in low[start:stop] (lower case); the longest of several, and none that only looks like one."""
        hits = [
            (match.start(), match.end(), kind, places)
            for kind, places, one in self._patterns
            for match in one.finditer(low, start, stop)
        ]
        hits.sort(key=lambda hit: (hit[2] != "there", hit[0] - hit[1], hit[2] != "not"))
        taken: list[tuple[int, int, str, tuple[str, ...]]] = []
        for hit in hits:
            if all(hit[1] <= other[0] or hit[0] >= other[1] for other in taken):
                taken.append(hit)
        return [FoundTerm(a, b, kind == "there", places) for a, b, kind, places in sorted(taken) if kind != "not"]


def _kind(entry: Entry) -> str:
    return entry.key.partition(" ")[2]


@cache
def finding_words(finding: str, language: Language) -> FindingWords:
    """The phrases of a finding."""
    return FindingWords(finding, language)


@cache
def triggers(language: Language) -> Triggers:
    """Whether a text may mention any finding at all."""
    return Triggers(phrase for finding in FINDINGS for phrase in finding_words(finding, language).phrases)


@dataclass(frozen=True)
class Qualifier:
    """A word for a side, an age or a place at text[start:stop]."""

    start: int
    stop: int
    values: tuple[str, ...]


def places_in(low: str, start: int, stop: int) -> list[Qualifier]:
    """Anatomy named in low[start:stop]: the body parts whose films show it."""
    return _longest(low, start, stop, _places())


def qualifiers_in(low: str, start: int, stop: int) -> list[Qualifier]:
    """Sides (L, R, B) and ages (acute, old) named in low[start:stop]."""
    return [one for one in _longest(low, start, stop, _qualifiers()) if one.values != ("not",)]


def names_a_place(low: str) -> bool:
    """Whether a text names anatomy or a side, and no finding."""
    if _may_mention(low):
        return False
    return bool(places_in(low, 0, len(low))) or any(one.values[0] in "LRB" for one in qualifiers_in(low, 0, len(low)))


def is_only_a_place(low: str) -> bool:
    """Whether a sentence is nothing but anatomy, as "2. Right shoulder and clavicle."."""
    words = WORDS.findall(low)
    if len(words) > _TOPIC_WORDS or not all(word in _FILLERS or _place_triggers().fire(word) for word in words):
        return False
    if _may_mention(low) or not places_in(low, 0, len(low)):
        return False
    for one in (*places_in(low, 0, len(low)), *qualifiers_in(low, 0, len(low))):
        low = low[: one.start] + " " * (one.stop - one.start) + low[one.stop :]
    return all(word in _FILLERS for word in WORDS.findall(low))


def _may_mention(low: str) -> bool:
    return any(triggers(language).fire(low) for language in LANGUAGES)


@cache
def _place_triggers() -> Triggers:
    return Triggers(
        phrase for name in ("places", "qualifiers") for entry in word_list(name) for phrase in entry.phrases
    )


_TOPIC_WORDS = 5
_FILLERS = frozenset({"and", "the", "und", "der", "die", "das", "of"})


@cache
def neighbours(body_part: str) -> frozenset[str]:
    """What the borders of a film of ``body_part`` also show."""
    return frozenset(
        code
        for entry in word_list("neighbours")
        if entry.key == body_part
        for one in entry.phrases
        for code in one.split()
    )


def _longest(
    low: str, start: int, stop: int, patterns: tuple[tuple[tuple[str, ...], re.Pattern[str]], ...]
) -> list[Qualifier]:
    hits = [
        Qualifier(match.start(), match.end(), values)
        for values, one in patterns
        for match in one.finditer(low, start, stop)
    ]
    hits.sort(key=lambda hit: hit.start - hit.stop)
    taken: list[Qualifier] = []
    for hit in hits:
        if all(hit.stop <= other.start or hit.start >= other.stop for other in taken):
            taken.append(hit)
    return sorted(taken, key=lambda hit: hit.start)


@cache
def _places() -> tuple[tuple[tuple[str, ...], re.Pattern[str]], ...]:
    return tuple((tuple(entry.key.split()), pattern(entry.phrases)) for entry in word_list("places"))


@cache
def _qualifiers() -> tuple[tuple[tuple[str, ...], re.Pattern[str]], ...]:
    return tuple(((entry.key,), pattern(entry.phrases)) for entry in word_list("qualifiers"))
