"""The text of a report as it was meant: without line ends in words, lost spaces, confused and misspelt letters.

Only words of ``words/spelling.txt`` are put right: words that decide what a report says. A word that is itself in any
word list stays as it is. The readable text remembers where each of its characters stands in the report.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from data_prep.radiology_reports.phrases import WORDS, lowered, read_word_list

_LETTER = r"[^\W\d_]"
_CHARACTERS = re.compile(rf"{_LETTER}[\u0300-\u036f]+|[\ufb00-\ufb06\u00a0\u2007\u2011\u202f\u200b-\u200f\u00ad\ufeff]")
"""Letters with accents of their own, ligatures, spaces and hyphens that do not break, characters without width."""
_WORD_BREAK = re.compile(rf"(?<={_LETTER})[-‐¬][ \t]*\n[ \t]*(?={_LETTER})(?!(?:und|oder|bzw|and|or)\b)")
_LEADER = re.compile(r"(?<![.·_ \t])[ \t]*(?:[.·_]{3,}|…)[ \t]*(?=[^\W_])")
"""The dots or lines between a field of a form and its answer."""
_SPACED_WORD = re.compile(rf"(?<![^\W_])(?:{_LETTER}[ ]){{4,40}}{_LETTER}(?![^\W_])")
_NO_WORD = re.compile(r"(?<![^\W_])[^\W_]{60,}")
"""Letters without end: no word of any language, and slow to search."""
_FRACTURE_SIGN = re.compile(rf"(?<![#\w])#(?=[ ]?{_LETTER}|[ ]*(?:[.,;)\n]|$))")
_TOKEN = re.compile(r"[^\W_](?:[^\W_]|[<|!](?=[^\W_]))*")
_PAIR = re.compile(rf"({_LETTER}+)[ ](?=({_LETTER}+))")
_KEPT_HYPHEN = frozenset({"left", "right", "k", "follow", "well", "in", "hüft", "knie"})
"""Words whose hyphen stays when the line that ends with it is joined to the next."""
_SYLLABLE_OF_CAPITALS = re.compile(r"(?=.*[AEIOUYÄÖÜ])[^\W\d_a-zäöüß]{3,}")
"""A part of a divided word in capitals ("FRAC-"), not an abbreviation ("MRT-")."""

_CONFUSED = (("l<", "k"), ("rn", "m"), ("vv", "w"), *zip("01!|lj5cq", "oiiiiiseg", strict=True))
"""Characters that a scanner confuses → the one that stands for all of them."""
_MIN_LETTERS, _MAX_LETTERS = 4, 40
_MIN_LETTERS_BEHIND_FIRST = 7
"""Letters of a word that is recognised though its first letter is wrong."""
_DENIALS = ("keinen", "keine", "kein", "ohne", "without", "no")


@dataclass(frozen=True)
class ReadableText:
    """A readable text.

    Attributes:
        text: to be read.
        origins: for each character its offset in the report.
    """

    text: str
    origins: Sequence[int]

    def original_span(self, start: int, stop: int) -> tuple[int, int]:
        """Return the characters of the report that text[start:stop] stands for."""
        return self.origins[start], self.origins[stop - 1] + 1

    def replace(self, pattern: re.Pattern[str], replacement: Callable[[re.Match[str]], str]) -> "ReadableText":
        """Replace what ``pattern`` matches; the last new character stands for the last old one."""
        parts: list[str] = []
        origins: list[int] = []
        last = 0
        for match in pattern.finditer(self.text):
            new = replacement(match)
            if new == match[0]:
                continue
            old = self.origins[match.start() : match.end()]
            parts += (self.text[last : match.start()], new)
            origins += self.origins[last : match.start()]
            origins += [old[min(k, len(old) - 1)] if k < len(new) - 1 else old[-1] for k in range(len(new))]
            last = match.end()
        if not parts:
            return self
        return ReadableText("".join([*parts, self.text[last:]]), [*origins, *self.origins[last:]])


def make_readable(text: str) -> ReadableText:
    """Put the characters, line ends and words of a report right.

    Args:
        text: of the report.

    Returns:
        Its readable text.
    """
    readable = ReadableText(text, range(len(text)))
    readable = readable.replace(_CHARACTERS, _plain_characters)
    readable = readable.replace(_NO_WORD, lambda match: "-")
    readable = readable.replace(_WORD_BREAK, _joined_hyphen)
    readable = readable.replace(_LEADER, lambda match: ": ")
    readable = readable.replace(_SPACED_WORD, lambda match: match[0].replace(" ", ""))
    readable = readable.replace(_FRACTURE_SIGN, lambda match: "fracture" if _is_fracture_sign(match) else "#")
    if " " in readable.text:
        readable = readable.replace(_PAIR, lambda match: match[1] if _is_split(match[1], match[2]) else match[0])
    return readable.replace(_TOKEN, lambda match: _right_spelling(match[0]))


def _plain_characters(match: re.Match[str]) -> str:
    plain = unicodedata.normalize("NFKC", match[0])
    return "".join(c for c in plain if unicodedata.category(c) != "Cf")


def _joined_hyphen(match: re.Match[str]) -> str:
    start, end = match.span()
    before, after = match.string[max(start - 12, 0) : start].split()[-1:], match.string[end : end + 2]
    is_name = after[:1].isupper() and not (after.isupper() and before and _SYLLABLE_OF_CAPITALS.fullmatch(before[0]))
    return "-" if is_name or (before and lowered(before[0]) in _KEPT_HYPHEN) else ""


def _is_fracture_sign(match: re.Match[str]) -> bool:
    """Whether "#" stands for a fracture ("# base of 5th metatarsal"), not for a heading ("# Findings")."""
    line = match.string[match.end() :].partition("\n")[0].strip(" :#")
    at_line_start = not match.string[: match.start()].rpartition("\n")[2].strip()
    return not at_line_start or (len(line.split()) > 1 and not line.endswith(":"))


@cache
def _is_split(first: str, second: str) -> bool:
    """Whether a space divides a word: "fractu re"."""
    first, second = lowered(first), lowered(second)
    for head in _splits().get(second, ()):
        if first == head or (len(head) > 2 and first.endswith(head) and first not in _known_words()):
            return True
    return False


@lru_cache(2**17)
def _right_spelling(token: str) -> str:
    """The word that ``token`` was meant to be; itself where it is right, or nothing near it is known."""
    word = lowered(token)
    if word in _known_words() or not _MIN_LETTERS <= len(word) <= _MAX_LETTERS:
        return _CONFUSED_SHORT.get(word, token)
    if any(stem in word for stem in _stems()):
        return _divided(word) or token
    right = _confused_words().get(_skeleton(word)) or _word_near(word) or _compound_near(word) or _divided(word)
    if right is None:
        return token
    return right.capitalize() if token[0].isupper() else right


_CONFUSED_SHORT = {"n0": "no", "n0t": "not", "nо": "no"}


def _skeleton(word: str) -> str:
    for confused, standing in _CONFUSED:
        word = word.replace(confused, standing)
    return word


def _word_near(word: str) -> str | None:
    near = {right for right in _words_by_start().get(word[0], ()) if _is_one_edit(word, right)}
    if len(word) >= _MIN_LETTERS_BEHIND_FIRST:
        near |= _words_by_rest().get(word[1:], set())
    return min(near, key=lambda right: (abs(len(right) - len(word)), right), default=None)


def _compound_near(word: str) -> str | None:
    """A word that begins or ends with a misspelt stem: "Mehrfragmentfrakur"."""
    for stem in _stems():
        for size in (len(stem), len(stem) + 1, len(stem) - 1):
            if size < len(word):
                if word[-size] == stem[0] and _is_one_edit(word[-size:], stem):
                    return word[:-size] + stem
                if word[0] == stem[0] and _is_one_edit(word[:size], stem):
                    return stem + word[size:]
    return None


def _divided(word: str) -> str | None:
    """Two words that lost their space: "keinefraktur"."""
    for denial in _DENIALS:
        rest = word.removeprefix(denial)
        if rest != word and (rest in _words() or any(rest.startswith(stem) for stem in _stems())):
            return f"{denial} {rest}"
    return None


def _is_one_edit(first: str, second: str) -> bool:
    """Whether one letter more, less or other, or two that changed places, is all the difference."""
    if abs(len(first) - len(second)) > 1:
        return False
    start = 0
    while start < min(len(first), len(second)) and first[start] == second[start]:
        start += 1
    first, second = first[start:], second[start:]
    while first and second and first[-1] == second[-1]:
        first, second = first[:-1], second[:-1]
    return max(len(first), len(second)) == 1 or (len(first) == 2 and first == second[::-1])


@cache
def _words() -> frozenset[str]:
    return frozenset(word for entry in read_word_list("spelling") if entry.key == "word" for word in entry.phrases)


@cache
def _stems() -> tuple[str, ...]:
    return tuple(stem for entry in read_word_list("spelling") if entry.key == "stem" for stem in entry.phrases)


@cache
def _known_words() -> frozenset[str]:
    """The words of all lists, and those that are right though they look like one of ``words/spelling.txt``."""
    return frozenset(
        word
        for name in _LISTS
        for entry in read_word_list(name)
        for phrase in entry.phrases
        for word in WORDS.findall(phrase)
    )


_LISTS = (
    *("spelling", "assertion_en", "assertion_de", "assertion_both", "languages", "sections", "answers", "places"),
    *("qualifiers", "fracture", "implant", "tube_line", "electrode_lead", "jewellery_clothing", "retained_object"),
)


@cache
def _words_by_start() -> dict[str, tuple[str, ...]]:
    starts = {word[0] for word in _words()}
    return {start: tuple(word for word in sorted(_words()) if word[0] == start) for start in starts}


@cache
def _words_by_rest() -> dict[str, set[str]]:
    by_rest: dict[str, set[str]] = {}
    for word in _words():
        by_rest.setdefault(word[1:], set()).add(word)
    return by_rest


@cache
def _confused_words() -> dict[str, str]:
    return {_skeleton(word): word for word in sorted(_words() | set(_stems()))}


@cache
def _splits() -> dict[str, tuple[str, ...]]:
    """Second part of a divided word → its first parts."""
    splits: dict[str, list[str]] = {}
    for word in sorted(_words() | set(_stems())):
        for k in range(1, len(word)):
            splits.setdefault(word[k:], []).append(word[:k])
    splits.setdefault("o", []).append("n")  # "N o fracture"
    return {second: tuple(firsts) for second, firsts in splits.items()}
