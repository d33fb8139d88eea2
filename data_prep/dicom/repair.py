"""Read what is whole in a DICOM file whose prefix or sequences are damaged.

Some writers leave out the end of a sequence, state a wrong length of it, or write other bytes than the prefix; viewers
show such films. The elements before the damage and the pixel data are kept, and what lies between them is left out.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

_PREFIX, _PREAMBLE = b"DICM", 128
_MAX_BYTES_BEFORE = 1024
"""Bytes before the preamble in which it is looked for."""
_META_GROUP = b"\x02\x00"
_PIXEL_DATA, _ITEM = b"\xe0\x7f\x10\x00", b"\xfe\xff\x00\xe0"
_OPEN = 0xFFFFFFFF
_MIN_PIXEL_BYTES = 128
_MAX_TRIES, _MAX_OCCURRENCES = 8, 1000


def dicom_start(head: bytes) -> int:
    """Offset at which a DICOM file begins: 0, behind a wrong prefix, or at a preamble behind other bytes; -1 if none.

    Args:
        head: first bytes of a file.
    """
    found = head.find(_PREFIX, _PREAMBLE, _MAX_BYTES_BEFORE + _PREAMBLE)
    if found >= 0 and head[found + 4 : found + 6] == _META_GROUP:
        return found - _PREAMBLE
    behind = _PREAMBLE + len(_PREFIX)
    if (
        head[behind : behind + 2] == _META_GROUP
        and head[behind + 4 : behind + 6] == b"UL"
        and not any(head[:_PREAMBLE])
    ):
        return behind
    return -1


def without_damage(data: bytes, sequences: Sequence[int], read: Callable[[bytes], T]) -> T:
    """Read a file whose sequences are damaged, without the damaged part.

    Args:
        data: the file.
        sequences: offsets of the top-level sequences that were begun, in order.
        read: reads a file; raises an exception if it is damaged.

    Raises:
        EOFError: no part could be left out so that the rest is sound.
    """
    pixels = _last_pixel_data(data)
    for start in [offset for offset in reversed(sequences) if offset < pixels][:_MAX_TRIES]:
        try:
            return read(data[:start] + data[pixels:])
        except Exception:  # the next sequence
            continue
    raise EOFError


def _last_pixel_data(data: bytes) -> int:
    """Offset of the last element Pixel Data of little endian; -1 if there is none."""
    return next((offset for offset in _occurrences_from_end(data) if _is_pixel_data(data, offset)), -1)


def _occurrences_from_end(data: bytes) -> Iterator[int]:
    end = len(data)
    for _ in range(_MAX_OCCURRENCES):
        end = data.rfind(_PIXEL_DATA, 0, end)
        if end < 0:
            return
        yield end


def _is_pixel_data(data: bytes, offset: int) -> bool:
    """Whether an element with a plausible length stands here: it lies in the file, or items follow."""
    explicit = data[offset + 4 : offset + 6] in (b"OW", b"OB", b"UN")
    value = offset + (12 if explicit else 8)
    if value > len(data):
        return False
    (length,) = struct.unpack("<I", data[value - 4 : value])
    if length == _OPEN:
        return data[value : value + 4] == _ITEM
    return bool(_MIN_PIXEL_BYTES <= length <= len(data) - value)
