"""Search for many texts at once in bytes and in texts: original identifiers in public files."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

MIN_BYTES_ANYWHERE = 8
"""Texts of so many bytes are searched for anywhere. Shorter ones occur by chance in compressed films, and are searched
for as whole words of texts."""
MIN_CHARACTERS = 4
"""Shorter texts are not searched for."""
_HASH_BITS = 24
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_WORD, _PART = re.compile(r"\w+"), re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class TextSearch:
    """Texts to search for, in any case of letters.

    Attributes:
        long: first MIN_BYTES_ANYWHERE bytes → texts that begin with them.
        short: texts that are searched for as whole words.
        is_prefix: [2**24] bool; whether a long text begins with eight bytes of this hash.
        count: number of texts.
    """

    long: dict[bytes, tuple[bytes, ...]]
    short: frozenset[str]
    is_prefix: NDArray[np.bool_] = field(repr=False)
    count: int = 0

    @classmethod
    def of(cls, texts: Iterable[str]) -> "TextSearch":
        """Prepare the search; texts shorter than MIN_CHARACTERS are left out."""
        long: dict[bytes, set[bytes]] = {}
        short = set()
        searched = {text for text in texts if len(text) >= MIN_CHARACTERS}
        for text in searched:
            cases = (text, text.lower(), text.upper())
            encodings = {case.encode("utf-8", "replace").lower() for case in cases}
            encodings |= {case.encode("latin-1").lower() for case in cases if _is_latin(case)}
            for encoded in encodings:
                if len(encoded) >= MIN_BYTES_ANYWHERE:
                    long.setdefault(encoded[:MIN_BYTES_ANYWHERE], set()).add(encoded)
            if len(text) < MIN_BYTES_ANYWHERE:
                short.add(text.lower())
        is_prefix = np.zeros(2**_HASH_BITS, dtype=np.bool_)
        if long:
            is_prefix[_hashes(np.frombuffer(b"".join(long), "<u8"))] = True
        return cls(
            {prefix: tuple(sorted(encoded)) for prefix, encoded in long.items()},
            frozenset(short),
            is_prefix,
            len(searched),
        )

    def in_bytes(self, data: bytes) -> int:
        """Count the long texts that occur in ``data``."""
        if len(data) < MIN_BYTES_ANYWHERE or not self.long:
            return 0
        lower = data.lower()
        found = set()
        for shift in range(min(MIN_BYTES_ANYWHERE, len(lower) - MIN_BYTES_ANYWHERE + 1)):
            windows = np.frombuffer(lower, "<u8", (len(lower) - shift) // MIN_BYTES_ANYWHERE, shift)
            for window in np.flatnonzero(self.is_prefix[_hashes(windows)]):
                start = shift + MIN_BYTES_ANYWHERE * int(window)
                for text in self.long.get(lower[start : start + MIN_BYTES_ANYWHERE], ()):
                    if lower.startswith(text, start):
                        found.add(text)
        return len(found)

    def in_text(self, text: str) -> int:
        """Count the texts that occur in ``text``: long ones anywhere, short ones as whole words."""
        words = {*_WORD.findall(text.lower()), *_PART.findall(text.lower())}
        return self.in_bytes(text.encode("utf-8", "replace")) + len(self.short & words)


def _is_latin(text: str) -> bool:
    """Whether the text has letters outside ASCII and all of Latin-1."""
    return not text.isascii() and all(ord(letter) < 256 for letter in text)


def _hashes(windows: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """[windows] hashes of eight bytes, in _HASH_BITS bits (Fibonacci hashing)."""
    with np.errstate(over="ignore"):
        return (windows * _MULTIPLIER) >> np.uint64(64 - _HASH_BITS)
