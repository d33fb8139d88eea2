"""Many texts looked for in many bytes at once: original identifiers in everything that is public."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

LONG = 8
"""Bytes from which a text is looked for anywhere; shorter ones would be found by chance in compressed films, and are
looked for as whole words of texts."""
SHORT = 4
_BITS = 24
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Needles:
    """Texts to be found, in any case of ASCII letters.

    Attributes:
        long: the first LONG bytes → texts that begin so.
        short: whole words.
        sieve: [2**24] which hashes of eight bytes some text begins with.
        count: texts that are looked for.
    """

    long: dict[bytes, tuple[bytes, ...]]
    short: frozenset[str]
    sieve: NDArray[np.bool_] = field(repr=False)
    count: int = 0

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Needles":
        """Texts shorter than SHORT are left out, since any public text holds them."""
        long: dict[bytes, set[bytes]] = {}
        short = set()
        wanted = {text for text in texts if len(text) >= SHORT}
        for text in wanted:
            cases = (text, text.lower(), text.upper())
            forms = {case.encode("utf-8", "replace").lower() for case in cases}
            forms |= {case.encode("latin-1").lower() for case in cases if _is_latin(case)}
            for form in forms:
                if len(form) >= LONG:
                    long.setdefault(form[:LONG], set()).add(form)
            if len(text) < LONG:
                short.add(text.lower())
        sieve = np.zeros(2**_BITS, dtype=np.bool_)
        if long:
            sieve[_hashed(np.frombuffer(b"".join(long), "<u8"))] = True
        return cls({start: tuple(sorted(found)) for start, found in long.items()}, frozenset(short), sieve, len(wanted))

    def in_bytes(self, data: bytes) -> int:
        """How many long texts occur in ``data``."""
        if len(data) < LONG or not self.long:
            return 0
        lower = data.lower()
        found = set()
        for shift in range(min(LONG, len(lower) - LONG + 1)):
            windows = np.frombuffer(lower, "<u8", (len(lower) - shift) // LONG, shift)
            for place in np.flatnonzero(self.sieve[_hashed(windows)]):
                start = shift + LONG * int(place)
                for needle in self.long.get(lower[start : start + LONG], ()):
                    if lower.startswith(needle, start):
                        found.add(needle)
        return len(found)

    def in_text(self, text: str) -> int:
        """How many texts occur in ``text``: long ones anywhere, short ones as words."""
        words = set(_WORD.findall(text.lower()))
        return self.in_bytes(text.encode("utf-8", "replace")) + len(self.short & words)


def _is_latin(text: str) -> bool:
    return not text.isascii() and all(ord(letter) < 256 for letter in text)


def _hashed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        return (words * _MULTIPLIER) >> np.uint64(64 - _BITS)
