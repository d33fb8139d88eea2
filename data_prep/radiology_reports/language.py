"""The language of a report, by its frequent words."""

from functools import cache
from typing import Literal

from data_prep.radiology_reports.phrases import WORDS, lowered, read_word_list

Language = Literal["de", "en"]
LANGUAGES: tuple[Language, ...] = ("de", "en")


def language_of(text: str) -> Language | None:
    """Return the language with more of its words in the text; None if there are equally many or none."""
    words = WORDS.findall(lowered(text))
    counts = {name: sum(word in known for word in words) for name, known in _distinctive_words().items()}
    if counts["de"] == counts["en"]:
        return None
    return "de" if counts["de"] > counts["en"] else "en"


def sentence_language(sentence: str, report: Language) -> Language:
    """Return the language of a sentence: that of its report, unless only words of the other are in it, two at least.

    Args:
        sentence: in lower case.
        report: language of its report.
    """
    words, known = WORDS.findall(sentence), _distinctive_words()
    other: Language = "en" if report == "de" else "de"
    if not known[report].isdisjoint(words):
        return report
    return other if sum(word in known[other] for word in words) > 1 else report


@cache
def _distinctive_words() -> dict[Language, frozenset[str]]:
    lists: dict[Language, set[str]] = {name: set() for name in LANGUAGES}
    for entry in read_word_list("languages"):
        lists["de" if entry.key == "de" else "en"].update(entry.phrases)
    shared = lists["de"] & lists["en"]
    return {name: frozenset(words - shared) for name, words in lists.items()}
