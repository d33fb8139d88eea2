"""The header of a DICOM file up to its pixels, read within bounds: what is hostile or damaged ends soon.

Bounds of one file: elements on the top level, reads in all (elements of nested sequences are read one by one), bytes
of a value, and bytes that a deflated file unpacks. Together they keep a header below a gigabyte and some seconds,
whatever the file claims. A depth that Python cannot follow ends as any other damage.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pydicom.dataset import FileDataset
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag

from data_prep.dicom.deflated import inflated, may_be_deflated

MOST_ELEMENTS = 10_000
"""A file whose rest was never written is all zeros, and reads as millions of empty elements."""
MOST_READS = 300_000
"""Two or three an element: a hundred times the header of a film, and some seconds."""
_PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
"""Float, Double Float and plain Pixel Data (PS3.3 C.7.6.3, C.7.6.24, C.7.6.25)."""
_UNDEFINED_LENGTH = 0xFFFFFFFF
_LONGEST_VALUE = 2**20
"""Bytes; longer values (reports, waveforms) are skipped, none of them is a fact of a film."""
_LONGEST_INFLATED = 2**24
"""Bytes of a deflated data set that are unpacked: far more than any header, far less than a bomb."""


class Header(NamedTuple):
    """The facts of a header.

    Attributes:
        facts: the elements that count, and the file meta information.
        pixels: length of the pixels that follow; None where the file ends before any.
        deflated: whether the data set is compressed as a whole.
    """

    facts: FileDataset
    pixels: int | None
    deflated: bool


class _Bounded:
    """A file that gives up after so many reads."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > MOST_READS:
            raise EOFError
        return bytes(super().read(size))  # type: ignore[misc]


class _Bytes(_Bounded, io.BytesIO):
    """… in memory."""


class _File(_Bounded, io.BufferedReader):
    """… on the disk."""


def header_of(path: Path, head: bytes, size: int, tags: Sequence[BaseTag]) -> Header:
    """Everything before the pixels that is of ``tags``; the file is opened only where ``head`` ends before them.

    Raises:
        OSError: with a number, the disk.
        EOFError: the file ends inside an element of the header, or the header goes beyond the bounds.
        Exception: whatever pydicom raises on damaged files.
    """
    if len(head) < size:
        try:
            header = _read(_Bytes(head), size, tags)
        except Exception:  # it goes on behind the head
            header = None
        if header is not None and header.pixels is not None:
            return header
        with _File(io.FileIO(path)) as file:
            return _read(file, size, tags)
    return _read(_Bytes(head), size, tags)


def _read(file: _Bytes | _File, size: int, tags: Sequence[BaseTag]) -> Header:
    pixels: int | None = None
    end = elements = 0

    def at_pixels(tag: int, _: str | None, length: int) -> bool:
        nonlocal pixels, end, elements
        if tag in _PIXEL_TAGS:
            pixels = length
            return True
        end = size if length == _UNDEFINED_LENGTH else source.tell() + length
        elements += 1
        if elements > MOST_ELEMENTS:
            raise EOFError
        return False

    source: BinaryIO = file
    start = file.read(_HEAD_BYTES)
    deflated = False
    if may_be_deflated(start):
        plain, _ = inflated(start + file.read(), _LONGEST_INFLATED)
        deflated = plain[: len(start)] != start
        if deflated:
            source, size = _Bytes(plain), len(plain)
    source.seek(0)
    facts = read_partial(source, at_pixels, defer_size=_LONGEST_VALUE, force=True, specific_tags=list(tags))
    if pixels is None and end != size:  # pydicom takes a shortened last value as it is
        raise EOFError
    return Header(facts, pixels, deflated)


_HEAD_BYTES = 2**12
"""Holds the file meta information, which says whether the rest is deflated."""
