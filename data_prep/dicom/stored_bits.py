"""Extracts stored values from words (PS3.5 section 8.1.1, PS3.3 C.7.6.3) and corrects frequent header errors."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.dicom.header_values import integer
from data_prep.errors import FilmReject, Reason
from data_prep.shard_format.sidecar import Provenance

_SMOOTHER = 0.5
"""Steps of a film that carries into a bit are a small part of those without that bit."""


def place_bits(raw: NDArray[Any], header: Any) -> tuple[NDArray[np.int16] | NDArray[np.uint16], int, list[Provenance]]:
    """Extract stored values from the words of a file or codec.

    Values are shifted by High Bit, unused bits and embedded overlays are removed, and the sign is extended. Two
    frequent errors are corrected: a High Bit that declares left-justified values although they are right-justified,
    and a Bits Stored that is too small for the values. Any other bit above them is removed.

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
    has_overlay = has_embedded_overlay(header)
    if low_bits > 0 and bits_stored + low_bits <= 16:
        if not has_overlay and _right_justified(values, bits_stored, low_bits):
            notes.append("high_bit_ignored")
        else:
            notes.append("bits_moved")
            values = np.asarray(values >> low_bits, dtype=np.uint16)
    if raw.dtype.kind == "i" and not signed:  # a signed codestream with an unsigned header
        values = values & (2**bits_stored - 1)
    if _exceeds(values, bits_stored, signed):
        bits = bits_stored if has_overlay else _pixel_bits(values, bits_stored, signed)
        notes.append("overlay_removed" if bits == bits_stored else "bits_widened")
        bits_stored = bits
    kept = _lowest_bits(values, bits_stored, signed)
    return (kept if signed else kept.astype(np.uint16, copy=False)), bits_stored, notes


def has_embedded_overlay(header: Any) -> bool:
    """Whether an overlay plane is stored in unused bits of the pixel data (retired, PS3.3 C.9.2).

    It is where the header describes an overlay (any element of a group 60xx) without data of its own.
    """
    described, with_data = set(), set()
    for tag in header.keys():  # noqa: SIM118 - iterating a data set would convert every element
        group, element = tag >> 16, tag & 0xFFFF
        if group & 0xFF01 == 0x6000:
            described.add(group)
            if element == 0x3000:
                data = header.get_item(tag, keep_deferred=True)  # long data are not read
                if getattr(data, "length", 0) or data.value:
                    with_data.add(group)
    return bool(described - with_data)


def _pixel_bits(values: NDArray[np.uint16], bits_stored: int, signed: bool) -> int:
    """Number of bits that belong to the values; what is drawn in the bits above them does not.

    Where neighbouring pixels differ in the highest of the bits, they differ little in all of them if the values carry
    into it. If it is drawn, they differ by that bit, and hardly without it.
    """
    for bits in range(16, bits_stored, -1):
        if _carries(_lowest_bits(values, bits, signed), _lowest_bits(values, bits - 1, signed)):
            return bits
    return bits_stored


def _carries(values: NDArray[Any], without: NDArray[Any]) -> bool:
    """Whether values are smoother than without their highest bit, at the pixels whose neighbour differs in it."""
    steps: list[NDArray[np.int32]] = []
    smaller_steps: list[NDArray[np.int32]] = []
    bit = values.astype(np.int32) - without
    for first, second in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        differs = bit[first] != bit[second]
        for image, found in ((values, steps), (without, smaller_steps)):
            found.append(np.abs(image[first][differs].astype(np.int32) - image[second][differs]))
    step, step_without = (np.concatenate(found) for found in (steps, smaller_steps))
    return bool(step.size) and bool(np.median(step) < _SMOOTHER * np.median(step_without))


def _lowest_bits(values: NDArray[np.uint16], bits: int, signed: bool) -> NDArray[Any]:
    """The values of the lowest bits of words."""
    return _extend_sign(values, bits) if signed else values & np.uint16(2**bits - 1)


def _right_justified(values: NDArray[np.uint16], bits_stored: int, low_bits: int) -> bool:
    """Whether the values are in the low bits, contrary to High Bit: all low bits are used and no high bit is."""
    unused = 2**low_bits - 1
    is_used = int(np.bitwise_or.reduce(values & unused, axis=None)) == unused
    return bool(is_used and int(values.max()) < 2**bits_stored)


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
