"""Where the bits of a stored value lie in its word (PS3.5 section 8.1.1, PS3.3 C.7.6.3), and what headers get wrong."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.dicom.header_values import integer
from data_prep.errors import FilmReject, Reason
from data_prep.shard_format.sidecar import Provenance


def place_bits(raw: NDArray[Any], header: Any) -> tuple[NDArray[np.int16] | NDArray[np.uint16], int, list[Provenance]]:
    """Stored values and their number of bits from the words of the file or of its codec.

    Values are moved by High Bit, unused bits and embedded overlays are removed, and the sign is extended. Two
    widespread mistakes are mended: a High Bit that claims left-justified values which are not, and a Bits Stored that
    is too small for the values, which would wrap them.

    Args:
        raw: [rows, columns] integers of 8 or 16 bits.
        header: data set with Bits Stored, High Bit and Pixel Representation.

    Returns:
        int16 or uint16 [rows, columns], the bits that the values may take, and what was done.
    """
    notes: list[Provenance] = []
    stored = integer(header, "BitsStored", raw.dtype.itemsize * 8)
    if not 1 <= stored <= 16:
        raise FilmReject(Reason.PIXEL_LAYOUT)
    signed = integer(header, "PixelRepresentation", 0) == 1
    words = raw.astype(
        np.int16 if raw.dtype.kind == "i" else np.uint16, copy=False
    )  # the file's own, not to be changed
    values: NDArray[np.uint16] = words.view(np.uint16)
    spare = integer(header, "HighBit", stored - 1) + 1 - stored
    if spare > 0 and stored + spare <= 16:
        if _right_justified(values, stored, spare):
            notes.append("high_bit_ignored")
        else:
            notes.append("bits_moved")
            values = np.asarray(values >> spare, dtype=np.uint16)
    if raw.dtype.kind == "i" and not signed:  # a codestream with a sign that the header knows nothing of
        values = values & (2**stored - 1)
    exceeds = _exceeds(values, stored, signed)
    if not exceeds or has_embedded_overlay(header):
        if exceeds:
            notes.append("overlay_removed")
            values = values & (2**stored - 1)
        return (_extend_sign(values, stored) if signed else values), stored, notes
    notes.append("bits_widened")
    if signed:
        negative = values.view(np.int16)
        ends = int(negative.max()), ~int(negative.min())
        return negative, 1 + max(end.bit_length() for end in ends), notes
    return values, int(values.max()).bit_length(), notes


def has_embedded_overlay(header: Any) -> bool:
    """Whether an overlay plane is kept in unused bits of the pixel data (retired, PS3.3 C.9.2)."""
    for tag in header.keys():  # noqa: SIM118 - iterating a data set would convert every element
        group, element = tag >> 16, tag & 0xFFFF
        if group & 0xFF00 == 0x6000 and element == 0x0102 and (group << 16 | 0x3000) not in header:
            return True
    return False


def _right_justified(values: NDArray[np.uint16], stored: int, spare: int) -> bool:
    """Whether the values lie in the low bits, whatever High Bit says: low bits are in use and no high bit is."""
    return bool((values & (2**spare - 1)).any() and int(values.max()) < 2**stored)


def _exceeds(values: NDArray[np.uint16], stored: int, signed: bool) -> bool:
    """Whether values need more bits than declared, beyond an extended sign (which some files lack in some pixels)."""
    highest = int(values.max())
    if not signed or highest < 2**stored:
        return bool(highest >= 2**stored)
    extended = values.view(np.int16)
    return bool(extended.max() >= 2**stored or extended.min() < -(2 ** (stored - 1)))


def _extend_sign(values: NDArray[np.uint16], stored: int) -> NDArray[np.int16]:
    free = 16 - stored
    return np.asarray((values << free).view(np.int16) >> free)
