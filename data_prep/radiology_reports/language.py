"""The language of a report, told by its frequent words."""

from functools import cache
from typing import Literal

from data_prep.radiology_reports.phrases import WORDS, lowered, word_list

Language = Literal["de", "en"]
LANGUAGES: tuple[Language, ...] = ("de", "en")


def language_of(text: str) -> Language | None:
    """The language with more of its words in the text; None where no word tells."""
    found = WORDS.findall(lowered(text))
    counts = {name: sum(word in words for word in found) for name, words in _words().items()}
    if counts["de"] == counts["en"]:
        return None
    return "de" if counts["de"] > counts["en"] else "en"


@cache
def _words() -> dict[Language, frozenset[str]]:
    lists: dict[Language, set[str]] = {name: set() for name in LANGUAGES}
    for entry in word_list("languages"):
        lists["de" if entry.key == "de" else "en"].update(entry.phrases)
    both = lists["de"] & lists["en"]
    return {name: frozenset(words - both) for name, words in lists.items()}
