"""Word lists that a clinician can read: the only texts of a header that may reach a public file."""

import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True)
class Vocabulary:
    """Standard words, each with its known spellings.

    Attributes:
        spellings: normalised spelling → standard word, in the order of the list.
        ignored: words that may stand beside a spelling.
    """

    spellings: dict[str, str]
    ignored: frozenset[str]

    def match(self, text: str) -> str | None:
        """The standard word whose spelling ``text`` is, as a whole; None where it is none."""
        words = normalise(text).split()
        kept = [word for word in words if word not in self.ignored]
        long = [word for word in kept if len(word) > 1]
        forms = (" ".join(form) for form in (words, kept, long))
        return next((self.spellings[form] for form in forms if form in self.spellings), None)

    def find(self, text: str) -> str | None:
        """The first standard word of which a spelling occurs in ``text``, as whole words; None where none does."""
        padded = f" {normalise(text)} "
        return next((word for spelling, word in self.spellings.items() if f" {spelling} " in padded), None)


def normalise(text: str) -> str:
    """Lower-case words of ASCII letters and digits with single spaces: ``"C-SPINE_a.p."`` → ``"c spine a p"``."""
    plain = unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode()
    return " ".join(re.findall("[a-z0-9]+", plain))


@cache
def vocabulary(name: str) -> Vocabulary:
    """The list ``words/<name>.txt``: lines of ``STANDARD: spelling, spelling``, or ``-: ignored words``."""
    spellings: dict[str, str] = {}
    ignored: set[str] = set()
    text = resources.files("data_prep.deidentify").joinpath("words", f"{name}.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        standard, _, listed = line.partition(":")
        if standard == "-":
            ignored.update(listed.split())
        else:
            for spelling in (standard, *listed.split(",")):
                spellings.setdefault(normalise(spelling), standard)
    return Vocabulary(spellings, frozenset(ignored))
