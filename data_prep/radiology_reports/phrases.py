"""Phrases of the word lists as regular expressions; their syntax is in ``words/README.md``.

Text is matched in lower case, with offsets unchanged: :func:`lowered`.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources

_LETTERS = r"[^\W\d_]"
_GAP = r"[\s\-–/]+"
_FEW_WORDS = rf"(?:(?!(?:nicht|kein\w*|not|no)\b)[^\s,;:.!?]+{_GAP}){{0,6}}?"
_SPELLINGS = {"ä": "(?:ä|ae|a)", "ö": "(?:ö|oe|o)", "ü": "(?:ü|ue|u)", "ß": "(?:ß|ss)", "*": f"{_LETTERS}*"}
_SPELLINGS |= {"$": r"(?=\s*(?:[.,;:!?]|$))", "-": r"[\s\-–]?", "(": "(?:", ")": ")", "|": "|", "?": "?", " ": _GAP}
_OPTIONAL = re.compile(r"\([^()]*\)\?")
_TOKENS = re.compile(r"\s+(?![^()]*\))")
"""White space outside of brackets."""
WORDS = re.compile(rf"{_LETTERS}+")


@dataclass(frozen=True)
class Entry:
    """One line of a word list: ``key [PLACES]: phrases``."""

    key: str
    places: tuple[str, ...]
    phrases: tuple[str, ...]


@cache
def read_word_list(name: str) -> tuple[Entry, ...]:
    """Read the lines of ``words/<name>.txt``."""
    text = resources.files("data_prep.radiology_reports").joinpath("words", f"{name}.txt").read_text(encoding="utf-8")
    entries = []
    for line in text.splitlines():
        key, colon, listed = line.partition(":")
        if not colon or line.startswith("#"):
            continue
        key, _, places = key.partition("[")
        phrases = tuple(phrase.strip() for phrase in listed.split(",") if phrase.strip())
        entries.append(Entry(key.strip(), tuple(places.rstrip(" ]").split()), phrases))
    return tuple(entries)


def lowered(text: str) -> str:
    """Return ``text`` in lower case, each character at the same offset."""
    low = text.lower()
    return low if len(low) == len(text) else "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


def compile_phrases(phrases: Iterable[str]) -> re.Pattern[str]:
    """Compile a pattern that matches any of the phrases as whole words, the longest first."""
    return re.compile(rf"(?<![^\W_])(?:{phrase_expression(phrases)})")


def phrase_expression(phrases: Iterable[str]) -> str:
    """Return the expression of any of the phrases, the longest first; whole words at its end, not at its start."""
    ordered = sorted(set(phrases), key=lambda phrase: (-len(phrase), phrase))
    return "|".join(map(_expression, ordered))


def _expression(phrase: str) -> str:
    expression, prefix = "", ""
    for token in _TOKENS.split(phrase):
        if token == "…":
            prefix += _FEW_WORDS
        elif _OPTIONAL.fullmatch(token):
            word = _with_spellings(token[:-1])
            if expression and phrase.endswith(token):
                expression += f"(?:{_GAP}{word})?"
            else:
                prefix += f"(?:{word}{_GAP})?"
        else:
            expression += f"{_GAP if expression else ''}{prefix}{_with_spellings(token)}"
            prefix = ""
    return expression if phrase.endswith((".", "$")) else rf"{expression}(?![^\W_])"


def _with_spellings(token: str) -> str:
    return "".join(_SPELLINGS.get(character, re.escape(character)) for character in token)


class KeywordFilter:
    """Fast test whether a text may contain any of many phrases, by one obligatory word of each phrase."""

    def __init__(self, phrases: Iterable[str]) -> None:
        self._words = re.compile("|".join(sorted({_longest_word(phrase) for phrase in phrases})))
        self._is_keyword: dict[str, bool] = {}

    def may_match(self, text: str) -> bool:
        """Whether a word of ``text`` (lower case) is the obligatory word of some phrase."""
        cached = self._is_keyword
        for word in WORDS.findall(text):
            is_keyword = cached.get(word)
            if is_keyword is None:
                if len(cached) >= _MAX_CACHED_WORDS:
                    cached.clear()
                is_keyword = cached[word] = self._words.fullmatch(word) is not None
            if is_keyword:
                return True
        return False


_MAX_CACHED_WORDS = 2**18
"""Distinct words whose result is cached."""


def _selectivity(token: str) -> tuple[bool, int]:
    """How selective a token is: the letters that every match has; of bracketed words those of the shortest."""
    if "." in token:
        return False, 0
    letters = len(_BRACKETS.sub("", token).replace("*", ""))
    choices = [len(word) for word in token.strip("()?*").split("|")]
    return letters >= 3, letters or min(choices, default=0)


_BRACKETS = re.compile(r"\([^()]*\)\??")


def _longest_word(phrase: str) -> str:
    tokens = [token for token in _TOKENS.split(phrase) if token != "…" and not _OPTIONAL.fullmatch(token)]
    token = max(tokens, key=_selectivity)
    if "-" not in _BRACKETS.sub("", token):
        return _with_spellings(token)
    piece = max(_pieces(token), key=_selectivity)
    return f"{_LETTERS}*{_with_spellings(piece)}{_LETTERS}*"


def _pieces(token: str) -> Iterator[str]:
    """Split a token at hyphens outside of brackets."""
    depth, piece = 0, ""
    for character in token:
        depth += (character == "(") - (character == ")")
        if character == "-" and not depth:
            yield piece
            piece = ""
        else:
            piece += character
    yield piece
