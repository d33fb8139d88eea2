"""Extracts stored values from words (PS3.5 section 8.1.1, PS3.3 C.7.6.3) and corrects frequent header errors."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.dicom.header_values import integer
from data_prep.errors import FilmReject, Reason
from data_prep.shard_format.sidecar import Provenance


def place_bits(raw: NDArray[Any], header: Any) -> tuple[NDArray[np.int16] | NDArray[np.uint16], int, list[Provenance]]:
    """Extract stored values from the words of a file or codec.

    Values are shifted by High Bit, unused bits and embedded overlays are removed, and the sign is extended. Two
    frequent errors are corrected: a High Bit that declares left-justified values although they are right-justified,
    and a Bits Stored that is too small for the values.

    Args:
        raw: [rows, columns] integers of 8 or 16 bits.
        header: data set with Bits Stored, High Bit and Pixel Representation.

    Returns:
        int16 or uint16 [rows, columns] stored values, their number of bits, and provenance codes.
    """
    notes: list[Provenance] = []
    bits_stored = integer(header, "BitsStored", raw.dtype.itemsize * 8)
    if not 1 <= bits_stored <= 16:
        raise FilmReject(Reason.PIXEL_LAYOUT)
    signed = integer(header, "PixelRepresentation", 0) == 1
    stored_words = raw.astype(
        np.int16 if raw.dtype.kind == "i" else np.uint16, copy=False
    )  # shares memory with the file and is not modified
    values: NDArray[np.uint16] = stored_words.view(np.uint16)
    low_bits = integer(header, "HighBit", bits_stored - 1) + 1 - bits_stored
    if low_bits > 0 and bits_stored + low_bits <= 16:
        if _right_justified(values, bits_stored, low_bits):
            notes.append("high_bit_ignored")
        else:
            notes.append("bits_moved")
            values = np.asarray(values >> low_bits, dtype=np.uint16)
    if raw.dtype.kind == "i" and not signed:  # a signed codestream with an unsigned header
        values = values & (2**bits_stored - 1)
    exceeds = _exceeds(values, bits_stored, signed)
    if not exceeds or has_embedded_overlay(header):
        if exceeds:
            notes.append("overlay_removed")
            values = values & (2**bits_stored - 1)
        return (_extend_sign(values, bits_stored) if signed else values), bits_stored, notes
    notes.append("bits_widened")
    if signed:
        negative = values.view(np.int16)
        extremes = int(negative.max()), ~int(negative.min())
        return negative, 1 + max(extreme.bit_length() for extreme in extremes), notes
    return values, int(values.max()).bit_length(), notes


def has_embedded_overlay(header: Any) -> bool:
    """Whether an overlay plane is stored in unused bits of the pixel data (retired, PS3.3 C.9.2)."""
    for tag in header.keys():  # noqa: SIM118 - iterating a data set would convert every element
        group, element = tag >> 16, tag & 0xFFFF
        if group & 0xFF00 == 0x6000 and element == 0x0102 and (group << 16 | 0x3000) not in header:
            return True
    return False


def _right_justified(values: NDArray[np.uint16], bits_stored: int, low_bits: int) -> bool:
    """Whether the values are in the low bits, contrary to High Bit: low bits are used and no high bit is."""
    return bool((values & (2**low_bits - 1)).any() and int(values.max()) < 2**bits_stored)


def _exceeds(values: NDArray[np.uint16], bits_stored: int, signed: bool) -> bool:
    """Whether values need more bits than declared; an extended sign, complete or in some pixels only, is allowed."""
    highest = int(values.max())
    if not signed or highest < 2**bits_stored:
        return bool(highest >= 2**bits_stored)
    extended = values.view(np.int16)
    return bool(extended.max() >= 2**bits_stored or extended.min() < -(2 ** (bits_stored - 1)))


def _extend_sign(values: NDArray[np.uint16], bits_stored: int) -> NDArray[np.int16]:
    high_bits = 16 - bits_stored
    return np.asarray((values << high_bits).view(np.int16) >> high_bits)
