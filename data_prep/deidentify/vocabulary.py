"""Vocabularies, word lists that a clinician can read; only their standard terms may enter a public file."""

import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True)
class Vocabulary:
    """Standard terms with their known spellings.

    Attributes:
        spellings: normalised spelling → standard term, in the order of the list.
        ignored: words that may be added to a spelling.
    """

    spellings: dict[str, str]
    ignored: frozenset[str]

    def match(self, text: str) -> str | None:
        """The standard term of which the whole ``text`` is a spelling; None if there is none."""
        words = normalise(text).split()
        relevant = [word for word in words if word not in self.ignored]
        without_letters = [word for word in relevant if len(word) > 1]
        spellings = (" ".join(selected) for selected in (words, relevant, without_letters))
        return next((self.spellings[spelling] for spelling in spellings if spelling in self.spellings), None)

    def find(self, text: str) -> str | None:
        """The first standard term with a spelling that occurs in ``text`` as whole words; None if there is none."""
        padded = f" {normalise(text)} "
        return next((term for spelling, term in self.spellings.items() if f" {spelling} " in padded), None)


def normalise(text: str) -> str:
    """Normalise to lower-case words of ASCII letters and digits: ``"C-SPINE_a.p."`` → ``"c spine a p"``."""
    plain = unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode()
    return " ".join(re.findall("[a-z0-9]+", plain))


@cache
def vocabulary(name: str) -> Vocabulary:
    """Read the list ``words/<name>.txt``: lines ``STANDARD: spelling, spelling`` or ``-: ignored words``."""
    spellings: dict[str, str] = {}
    ignored: set[str] = set()
    text = resources.files("data_prep.deidentify").joinpath("words", f"{name}.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        standard, _, spellings_text = line.partition(":")
        if standard == "-":
            ignored.update(spellings_text.split())
        else:
            for spelling in (standard, *spellings_text.split(",")):
                spellings.setdefault(normalise(spelling), standard)
    return Vocabulary(spellings, frozenset(ignored))
