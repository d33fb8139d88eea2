"""Digests of what names a person, so that labels and public files can be searched for it without its clear text.

The linkage table of a scan holds, for every film, digests of the folded parts of the patient's name (three letters and
more, also joined in pairs) and of the usual spellings of the dates of birth and study. Their key is derived from the
secret and stands in the metadata of that table, which stays in the private folder.
"""

import hashlib
import hmac
import re
import unicodedata
from collections.abc import Iterable, Iterator
from datetime import date
from functools import cache
from importlib import resources
from itertools import permutations

from data_prep.deidentify.vocabulary import vocabulary

MIN_LETTERS = 3
_DIGITS = 16
"""Hexadecimal digits of a digest: enough to compare, and no more."""
_MAX_PARTS = 6
"""Parts of a name that are joined, and words of a label."""
_MIN_LETTERS_OF_REST, _EXTRA_LETTERS = 5, 2
"""Letters of a name that is joined to a common word; shorter ones are parts of many words. Letters put before it."""
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "æ": "ae", "ø": "oe", "å": "aa"})
_DATE_FORMS = ("%Y%m%d", "%d%m%Y", "%m%d%Y", "%y%m%d", "%d%m%y", "%m%d%y")


def person_digest(key: bytes, text: str) -> str:
    """Digest of a folded part of a name, or of the digits of a date."""
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:_DIGITS]


def name_digests(key: bytes, name: str) -> list[str]:
    """Digests of all parts of a name and of two of them joined in either order, sorted."""
    texts: set[str] = set()
    for folded in _folded(name):
        parts = [part for part in re.findall("[a-z]+", folded) if len(part) > 1][:_MAX_PARTS]
        texts.update(parts)
        texts.update(first + second for first, second in permutations(parts, 2))
    return sorted(person_digest(key, text) for text in texts if len(text) >= MIN_LETTERS)


def date_digests(key: bytes, days: Iterable[date | None]) -> list[str]:
    """Digests of the usual spellings of dates as digits, sorted."""
    texts = {day.strftime(form) for day in days if day is not None for form in _DATE_FORMS}
    return sorted(person_digest(key, text) for text in texts)


def words_of_label(label: str) -> Iterator[str]:
    """The words of a label, neighbouring ones joined, and the rest of one that is joined to a common word.

    Those of nothing but common words of radiology are left out.
    """
    words = re.findall("[a-z]+", label.lower())
    common = _common_words()
    for first in range(len(words)):
        for last in range(first + 1, min(first + _MAX_PARTS, len(words)) + 1):
            text = "".join(words[first:last])
            if len(text) >= MIN_LETTERS and not all(word in common for word in words[first:last]):
                yield text
                yield from _without_common_word(text, common)


def _without_common_word(text: str, common: frozenset[str]) -> Iterator[str]:
    """What is left of a text without a common word, or one or two letters, at an end."""
    for place in range(1, len(text)):
        for rest, left_out in ((text[:place], text[place:]), (text[place:], text[:place])):
            if len(rest) >= _MIN_LETTERS_OF_REST and (len(left_out) <= _EXTRA_LETTERS or left_out in common):
                yield rest


def _folded(name: str) -> set[str]:
    """A name in small letters without accents, with both spellings of umlauts."""
    small = name.casefold()
    return {
        unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
        for text in (small, small.translate(_UMLAUTS))
    }


@cache
def _common_words() -> frozenset[str]:
    text = resources.files("data_prep.deidentify").joinpath("words", "label.txt").read_text(encoding="utf-8")
    words = {word for line in text.splitlines() if not line.startswith("#") for word in line.split()}
    for name in ("body_part", "view"):
        for spelling, term in vocabulary(name).spellings.items():
            words.update(spelling.split(), term.lower().replace("_", " ").split())
    return frozenset(words)
