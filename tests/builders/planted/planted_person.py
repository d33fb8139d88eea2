"""Fictitious people, one per place of an archive, and the search for them in public bytes.

What is found is named by the place it was planted in. A person is searched for as names (in either order and spelling),
numbers (also in groups), UIDs and dates of birth, in the usual encodings, in any case.
"""

import base64
import random
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import numpy as np
import pyarrow.parquet as pq

from data_prep.shard_format.film_codec import decode_film

_CODES = ("utf-8", "latin-1", "utf-16-le", "utf-16-be")
_DATES = ("%Y%m%d", "%d.%m.%Y", "%Y-%m-%d", "%d/%m/%Y", "%d%m%Y", "%m%d%Y")
_LEAST = 8
"""Bytes that do not occur in compressed films by chance."""


class Person(NamedTuple):
    """Who is planted in one place; all people are different.

    Attributes:
        place: where.
        family: twelve letters, one of them an umlaut.
        given: eleven letters.
        number: nine digits, none of them 0.
        uid: that ends with the number.
        birth: date.
    """

    place: str
    family: str
    given: str
    number: str
    uid: str
    birth: date

    @property
    def name(self) -> str:
        """As DICOM writes it."""
        return f"{self.family}^{self.given}"

    @property
    def text(self) -> str:
        """All that identifies the person, in one line."""
        return f"{self.name} {self.number} {self.birth:%d.%m.%Y} {self.uid}"


@cache
def person(place: str) -> Person:
    """The person of a place."""
    draw = random.Random(f"person in {place}")
    letters = [draw.choice("bdfgklmnprtvz") + draw.choice("aeiou") for _ in range(10)]
    number = "".join(draw.choice("123456789") for _ in range(9))
    family = "Zwü" + "".join(letters[:4]) + "x"
    given = "Qy" + "".join(letters[4:8]) + "h"
    birth = date(1931, 2, 13) + timedelta(draw.randrange(14_000))
    return Person(place, family, given, number, f"2.25.19{number}77{number}", birth)


@cache
def needles(place: str) -> tuple[bytes, ...]:
    """What the person of a place is searched for, in small letters."""
    who = person(place)
    family = {who.family, who.family.replace("ü", "ue"), who.family.replace("ü", "u")}
    number = who.number
    groups = {f"{number[:3]}{separator}{number[3:6]}{separator}{number[6:]}" for separator in "-. /_"}
    texts = {*family, who.given, number, *groups, who.uid, who.uid.replace(".", ""), who.uid.replace(".", "_")}
    texts |= {f"{who.birth:{form}}" for form in _DATES}
    found = {text.encode(code) for text in texts for code in _CODES}
    found |= {text.casefold().encode(code) for text in texts for code in _CODES}  # also Ü, which bytes.lower keeps
    found |= {text.upper().encode(code) for text in texts for code in _CODES}
    found |= {encoded for value in list(found) for encoded in encodings_of(value)}
    found |= {int(number).to_bytes(8, "little"), int(number).to_bytes(8, "big")}
    found |= {np.float64(number).tobytes(), np.float32(number).tobytes() * 2}
    return tuple(sorted({value.lower() for value in found if len(value) >= _LEAST}))


def encodings_of(value: bytes) -> set[bytes]:
    """Encode a value as hexadecimal digits, base64 at each of three alignments, percent signs and escapes."""
    found = {value.hex().encode(), quote(value).encode(), repr(value)[2:-1].encode()}
    for shift in range(3):
        text = base64.b64encode(bytes(shift) + value)
        found.add(text[-(-8 * shift // 6) : len(text) - 4])  # without the characters that adjacent bytes share
    return {encoded for encoded in found if len(encoded) >= _LEAST}


class Released:
    """What may be shown, ready for the search.

    Args:
        parts: name of a part → its bytes.
    """

    def __init__(self, parts: Mapping[str, bytes]) -> None:
        self.parts = {name: data.lower() for name, data in parts.items()}
        all_bytes = b"\0".join(sorted(set(self.parts.values()))) + bytes(_LEAST)
        starts = (np.frombuffer(all_bytes, "<u8", (len(all_bytes) - shift) // 8, shift) for shift in range(_LEAST))
        self._windows = np.unique(np.concatenate(list(starts)))

    def names_with(self, place: str) -> list[str]:
        """Names of the parts that hold the person of a place."""
        wanted = needles(place)
        begins = np.array([int.from_bytes(needle[:_LEAST], "little") for needle in wanted], np.uint64)
        near = self._windows[np.minimum(np.searchsorted(self._windows, begins), len(self._windows) - 1)]
        likely = [needle for needle, is_there in zip(wanted, near == begins, strict=True) if is_there]
        return [name for name, data in self.parts.items() if any(needle in data for needle in likely)]


def released_bytes(folder: Path) -> dict[str, bytes]:
    """Read a folder: names, bytes, members of tars, tables, pixels, and base64 texts decoded."""
    paths = sorted(folder.rglob("*"))
    found = {"names of files": "\n".join(str(path.relative_to(folder)) for path in paths).encode()}
    for path in paths:
        if path.is_file() and not path.is_symlink():
            name = str(path.relative_to(folder))
            found |= {f"{name}{part}": data for part, data in _parts(path)}
    for name, data in list(found.items()):
        packed = re.findall(rb"[A-Za-z0-9+/]{40,}={0,2}", data)
        if unpacked := b"\0".join(map(_unpacked, packed)):
            found[f"{name}, unpacked"] = unpacked
    return found


def _parts(path: Path) -> Iterator[tuple[str, bytes]]:
    yield "", path.read_bytes()
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        yield " read", repr((table.schema.metadata, table.to_pydict())).encode()
    if path.suffix == ".tar":
        with tarfile.open(path) as tar:
            members = tar.getmembers()
            yield " headers", repr([member.get_info() for member in members]).encode()
            films = (tar.extractfile(member) for member in members if member.name.endswith(".j2c"))
            pixels = [decode_film(film.read(), bits=16) for film in films if film is not None]
        yield " pixels", b"\0".join(values.tobytes() for values in pixels)
        for shift in (0, 4, 7, 8):  # of a byte in the words; 16-bit films are shifted right by one
            parts = ((values >> shift).astype(np.uint8).tobytes() for values in pixels)
            yield f" pixels from bit {shift}", b"\0".join(parts)


def _unpacked(text: bytes) -> bytes:
    try:
        plain = base64.b64decode(text + b"=" * (-len(text) % 4))
    except ValueError:
        return b""
    try:
        return plain + zlib.decompress(plain)
    except zlib.error:
        return plain
