"""Reads the header of a DICOM file up to its pixels within limits, so that damaged or hostile files fail early.

Limits per file: elements of the top level, read calls (elements of nested sequences are read one by one), bytes of a
value, and bytes of an inflated data set. Together they limit a header to less than a gigabyte and a few seconds.
Nesting beyond the recursion limit of Python fails as any other damage.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pydicom.dataset import FileDataset
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag

from data_prep.dicom.deflated import inflate_dataset, may_be_deflated

MAX_ELEMENTS = 10_000
"""Elements of the top level; a file that was not fully written ends in zeros, which read as millions of elements."""
MAX_READS = 300_000
"""Read calls, two or three per element: a hundred times those of a normal header, a few seconds."""
_PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
"""Float Pixel Data, Double Float Pixel Data and Pixel Data (PS3.3 C.7.6.3, C.7.6.24, C.7.6.25)."""
_UNDEFINED_LENGTH = 0xFFFFFFFF
_MAX_VALUE_BYTES = 2**20
"""Longer values (reports, waveforms) are skipped; no fact of a film is as long."""
_MAX_INFLATED_BYTES = 2**24
"""Bytes of a data set that are inflated: more than any header, less than a decompression bomb."""


class Header(NamedTuple):
    """Requested elements of a header.

    Attributes:
        facts: the requested elements, and the file meta information.
        pixels: length of the pixel data that follow, bytes; None if the file has none.
        deflated: whether the data set is deflated.
    """

    facts: FileDataset
    pixels: int | None
    deflated: bool


class _ReadLimit:
    """Makes a file raise EOFError after MAX_READS read calls."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > MAX_READS:
            raise EOFError
        return bytes(super().read(size))  # type: ignore[misc]


class _LimitedBytes(_ReadLimit, io.BytesIO):
    """A file in memory with limited read calls."""


class _LimitedFile(_ReadLimit, io.BufferedReader):
    """A file on disk with limited read calls."""


def read_header_elements(path: Path, head: bytes, size: int, tags: Sequence[BaseTag]) -> Header:
    """Read the elements ``tags`` of the header.

    Args:
        path: the file; it is opened only if ``head`` ends before the pixels begin.
        head: first bytes of the file.
        size: bytes of the file.
        tags: elements to read.

    Raises:
        OSError: the disk fails (``errno`` is set).
        EOFError: the file ends inside an element of the header, or the header exceeds a limit.
        Exception: pydicom fails on a damaged file.
    """
    if len(head) < size:
        try:
            header = _read(_LimitedBytes(head), size, tags)
        except Exception:  # the header continues after ``head``
            header = None
        if header is not None and header.pixels is not None:
            return header
        with _LimitedFile(io.FileIO(path)) as file:
            return _read(file, size, tags)
    return _read(_LimitedBytes(head), size, tags)


def _read(file: _LimitedBytes | _LimitedFile, size: int, tags: Sequence[BaseTag]) -> Header:
    pixels: int | None = None
    end = elements = 0

    def is_pixel_data(tag: int, _: str | None, length: int) -> bool:
        nonlocal pixels, end, elements
        if tag in _PIXEL_TAGS:
            pixels = length
            return True
        end = size if length == _UNDEFINED_LENGTH else source.tell() + length
        elements += 1
        if elements > MAX_ELEMENTS:
            raise EOFError
        return False

    source: BinaryIO = file
    first_bytes = file.read(_HEAD_BYTES)
    deflated = False
    if may_be_deflated(first_bytes):
        inflated, _ = inflate_dataset(first_bytes + file.read(), _MAX_INFLATED_BYTES)
        deflated = inflated[: len(first_bytes)] != first_bytes
        if deflated:
            source, size = _LimitedBytes(inflated), len(inflated)
    source.seek(0)
    facts = read_partial(source, is_pixel_data, defer_size=_MAX_VALUE_BYTES, force=True, specific_tags=list(tags))
    if pixels is None and end != size:  # pydicom accepts a truncated last value
        raise EOFError
    return Header(facts, pixels, deflated)


_HEAD_BYTES = 2**12
"""Contains the file meta information, which names the transfer syntax."""
