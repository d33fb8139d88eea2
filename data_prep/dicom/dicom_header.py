"""Read the header of a DICOM file, up to its pixel data, within limits that make damaged or hostile files fail early.

The limits of a file hold for its top-level elements, read calls (which also count elements of nested sequences), bytes
of a value, and bytes of an inflated data set. Together they limit a header to less than 1 GB and a few seconds.
Sequences nested more deeply than the recursion limit of Python fail like any other damage.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pydicom.dataset import FileDataset
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag

from data_prep.bounded_reading import read_bounded
from data_prep.dicom.deflated import inflate_dataset, may_be_deflated
from data_prep.dicom.repair import dicom_start, without_damage

MAX_ELEMENTS = 10_000
"""Top-level elements of a header. The zeros at the end of an incompletely written file read as millions of elements."""
MAX_READS = 300_000
"""Read calls, two or three per element: a hundred times those of a normal header, or a few seconds."""
_PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
"""Float Pixel Data, Double Float Pixel Data and Pixel Data (PS3.3 C.7.6.3, C.7.6.24, C.7.6.25)."""
_UNDEFINED_LENGTH = 0xFFFFFFFF
_HEAD_BYTES = 2**12
"""First bytes of a file that contain the file meta information, which states the transfer syntax."""
_MAX_VALUE_BYTES = 2**20
"""Longer values (reports, waveforms) are not read; no element that the scan needs is as long."""
_MAX_REPAIRED_BYTES = 2**28
"""Largest file that is read whole for its header, because a sequence or prefix is damaged."""
_MAX_INFLATED_BYTES = 2**24
"""Inflated bytes of a deflated data set: more than any header, less than a decompression bomb."""


class Header(NamedTuple):
    """Requested elements of a header.

    Attributes:
        elements: the requested elements, and the file meta information.
        pixel_bytes: length of the pixel data in bytes, 0xFFFFFFFF if encapsulated; None if the file has none.
        is_deflated: whether the data set is deflated.
    """

    elements: FileDataset
    pixel_bytes: int | None
    is_deflated: bool


class _ReadLimit:
    """Mixin for a file that raises EOFError after MAX_READS read calls."""

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
    """Read the requested elements of the header of a DICOM file.

    Args:
        path: DICOM file; it is opened only if ``head`` ends before the pixel data.
        head: first bytes of the file.
        size: size of the file in bytes.
        tags: elements to read.

    Returns:
        The elements that the header has, and the length of the pixel data.

    Raises:
        OSError: the disk fails (``errno`` is set).
        EOFError: the file ends inside an element of the header, or the header exceeds a limit.
        Exception: pydicom fails on a damaged file.
    """
    start = dicom_start(head)
    if start > 0:
        return _read_whole(path, head, size, tags, start)
    sequences: list[int] = []
    problem: Exception | None = None
    header: Header | None = None
    try:
        header = _read_in_place(path, head, size, tags, sequences)
        if header.pixel_bytes is not None or not sequences:
            return header
    except OSError as error:
        if error.errno is not None:
            raise
        problem = error
    except Exception as error:  # pydicom raises exceptions of any type on damaged files
        problem = error
    try:
        return _read_whole(path, head, size, tags, 0, sequences)
    except EOFError:
        if header is not None:
            return header
        raise problem or EOFError from None


def _read_whole(
    path: Path,
    head: bytes,
    size: int,
    tags: Sequence[BaseTag],
    start: int,
    sequences: Sequence[int] | None = None,
) -> Header:
    """Read a header from ``start`` on, or without one of the damaged ``sequences``."""
    data = (head if len(head) >= size else read_bounded(path, _MAX_REPAIRED_BYTES))[start:]

    def read(sound: bytes) -> Header:
        header = _read(_LimitedBytes(sound), len(sound), tags, [])
        if header.pixel_bytes is None or "SOPInstanceUID" not in header.elements:
            raise EOFError
        return header

    return read(data) if sequences is None else without_damage(data, sequences, read)


def _read_in_place(path: Path, head: bytes, size: int, tags: Sequence[BaseTag], sequences: list[int]) -> Header:
    if len(head) < size:
        try:
            header = _read(_LimitedBytes(head), size, tags, [])
        except Exception:  # the header continues after ``head``
            header = None
        if header is not None and header.pixel_bytes is not None:
            return header
        with _LimitedFile(io.FileIO(path)) as file:
            return _read(file, size, tags, sequences)
    return _read(_LimitedBytes(head), size, tags, sequences)


def _read(file: _LimitedBytes | _LimitedFile, size: int, tags: Sequence[BaseTag], sequences: list[int]) -> Header:
    """Read a header; offsets of top-level sequences are added to ``sequences``."""
    pixel_bytes: int | None = None
    end_of_last_element = element_count = 0

    def is_pixel_data(tag: int, vr: str | None, length: int) -> bool:
        nonlocal pixel_bytes, end_of_last_element, element_count
        if tag in _PIXEL_TAGS:
            pixel_bytes = length
            return True
        if vr in ("SQ", "UN", None) or length == _UNDEFINED_LENGTH:
            sequences.append(source.tell() - (8 if vr is None else 12))
        end_of_last_element = size if length == _UNDEFINED_LENGTH else source.tell() + length
        element_count += 1
        if element_count > MAX_ELEMENTS:
            raise EOFError
        return False

    source: BinaryIO = file
    first_bytes = file.read(_HEAD_BYTES)
    is_deflated = False
    if may_be_deflated(first_bytes):
        inflated, _ = inflate_dataset(first_bytes + file.read(), _MAX_INFLATED_BYTES)
        is_deflated = inflated[: len(first_bytes)] != first_bytes
        if is_deflated:
            source, size = _LimitedBytes(inflated), len(inflated)
    source.seek(0)
    # pydicom calls ``is_pixel_data`` before each top-level element, and stops where it returns True
    dataset = read_partial(source, is_pixel_data, defer_size=_MAX_VALUE_BYTES, force=True, specific_tags=list(tags))
    if pixel_bytes is None and end_of_last_element != size:  # pydicom accepts a truncated last value
        raise EOFError
    return Header(dataset, pixel_bytes, is_deflated)
