"""Phrases of the word lists, which a clinician writes, as regular expressions: see ``words/README.md``.

Text is matched in lower case, and lower case must not move a character: :func:`lowered`.
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
"""Blanks outside of brackets."""
WORDS = re.compile(rf"{_LETTERS}+")


@dataclass(frozen=True)
class Entry:
    """Phrases of one line of a list: ``key [PLACES]: phrases``."""

    key: str
    places: tuple[str, ...]
    phrases: tuple[str, ...]


@cache
def word_list(name: str) -> tuple[Entry, ...]:
    """The lines of ``words/<name>.txt``."""
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
    """``text`` in lower case, character by character at the same place."""
    low = text.lower()
    return low if len(low) == len(text) else "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


def pattern(phrases: Iterable[str]) -> re.Pattern[str]:
    """Matches any of the phrases as whole words, the longest at each place."""
    ordered = sorted(set(phrases), key=lambda phrase: (-len(phrase), phrase))
    return re.compile(rf"(?<![^\W_])(?:{'|'.join(map(_expression, ordered))})")


def _expression(phrase: str) -> str:
    out, before = "", ""
    for token in _TOKENS.split(phrase):
        if token == "…":
            before += _FEW_WORDS
        elif _OPTIONAL.fullmatch(token):
            word = _spelt(token[:-1])
            if out and phrase.endswith(token):
                out += f"(?:{_GAP}{word})?"
            else:
                before += f"(?:{word}{_GAP})?"
        else:
            out += f"{_GAP if out else ''}{before}{_spelt(token)}"
            before = ""
    return out if phrase.endswith((".", "$")) else rf"{out}(?![^\W_])"


def _spelt(token: str) -> str:
    return "".join(_SPELLINGS.get(character, re.escape(character)) for character in token)


class Triggers:
    """Tells in a moment whether a text may hold any of many phrases: every phrase has a word that none can lack."""

    def __init__(self, phrases: Iterable[str]) -> None:
        self._words = re.compile("|".join(sorted({_longest_word(phrase) for phrase in phrases})))
        self._known: dict[str, bool] = {}

    def fire(self, low: str) -> bool:
        """Whether a word of ``low`` (lower case) occurs in some phrase."""
        known = self._known
        for word in WORDS.findall(low):
            hit = known.get(word)
            if hit is None:
                if len(known) >= _MOST_WORDS:
                    known.clear()
                hit = known[word] = self._words.fullmatch(word) is not None
            if hit:
                return True
        return False


_MOST_WORDS = 2**18
"""Distinct words that are remembered."""


def _literal(token: str) -> tuple[bool, int]:
    """How well a token tells a phrase: letters that every match has; of bracketed words those of the shortest."""
    if "." in token:
        return False, 0
    letters = len(_BRACKETS.sub("", token).replace("*", ""))
    choices = [len(word) for word in token.strip("()?*").split("|")]
    return letters >= 3, letters or min(choices, default=0)


_BRACKETS = re.compile(r"\([^()]*\)\??")


def _longest_word(phrase: str) -> str:
    tokens = [token for token in _TOKENS.split(phrase) if token != "…" and not _OPTIONAL.fullmatch(token)]
    token = max(tokens, key=_literal)
    if "-" not in _BRACKETS.sub("", token):
        return _spelt(token)
    piece = max(_pieces(token), key=_literal)
    return f"{_LETTERS}*{_spelt(piece)}{_LETTERS}*"


def _pieces(token: str) -> Iterator[str]:
    """Parts of a token between hyphens that stand outside of brackets."""
    depth, piece = 0, ""
    for character in token:
        depth += (character == "(") - (character == ")")
        if character == "-" and not depth:
            yield piece
            piece = ""
        else:
            piece += character
    yield piece
