"""Reads DICOM lookup tables, including packed 8-bit entries and wrapped signs (PS3.3 C.11.1.1)."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_prep.dicom.header_values import numbers
from data_prep.dicom.segmented_lut import expand_segments


class LookupTable(NamedTuple):
    """A lookup table; inputs outside it get the first or the last entry.

    Attributes:
        first: input value of the first entry.
        entries: [N] outputs.
    """

    first: int
    entries: NDArray[np.uint16]

    @property
    def top(self) -> int:
        """Largest output, 2**bits - 1, by the entries: some files declare 16 bits for tables of 12 bits."""
        return int(2 ** int(self.entries.max()).bit_length() - 1)

    def __call__(self, inputs: NDArray[np.floating[Any]]) -> NDArray[np.uint16]:
        """Look up ``inputs`` of any shape, rounded to the nearest entry."""
        index = np.clip(np.rint(inputs) - self.first, 0, len(self.entries) - 1).astype(np.int64)
        return np.asarray(self.entries[index])


def read_lookup_table(item: Any, *, signed: bool) -> LookupTable | None:
    """Read the table of an item of the Modality or VOI LUT Sequence.

    Args:
        item: the sequence item, with LUT Descriptor and LUT Data.
        signed: whether the inputs can be negative; the first mapped value is then a signed number.

    Returns:
        The table; None if it is damaged or constant.
    """
    descriptor = [int(number) for number in numbers(item, "LUTDescriptor")]
    if len(descriptor) != 3:
        return None
    length = descriptor[0] % 2**16 or 2**16  # 0 means 65536
    entries = _entries(item, length, "LUTData")
    if entries is None or entries.min() == entries.max():
        return None
    return LookupTable(_first(descriptor[1], signed), entries)


def read_palette(header: Any, *, signed: bool) -> tuple[list[LookupTable], int] | None:
    """Read the palette of a PALETTE COLOR film (PS3.3 C.7.6.3.1.5, C.7.6.3.1.6).

    Args:
        header: data set of the film.
        signed: whether the inputs can be negative.

    Returns:
        Red, green and blue table, and the bits of their entries (8 or 16); None if a table is missing or damaged.
    """
    tables = []
    for colour in ("Red", "Green", "Blue"):
        descriptor = numbers(header, f"{colour}PaletteColorLookupTableDescriptor")
        if len(descriptor) != 3:
            return None
        length = int(descriptor[0]) % 2**16 or 2**16
        entries = _entries(header, length, f"{colour}PaletteColorLookupTableData")
        if entries is None:
            entries = _segmented_entries(
                header, length, f"Segmented{colour}PaletteColorLookupTableData", int(descriptor[2])
            )
        if entries is None:
            return None
        tables.append(LookupTable(_first(descriptor[1], signed), entries))
    return tables, 8 if max(int(table.entries.max()) for table in tables) < 2**8 else 16


def _first(number: float, signed: bool) -> int:
    """First mapped value, interpreted with the sign of the inputs, not with that of the element."""
    first = int(number) % 2**16
    return first - 2**16 if signed and first >= 2**15 else first


def _entries(item: Any, length: int, keyword: str) -> NDArray[np.uint16] | None:
    """LUT Data with one entry per word, or with two 8-bit entries per word, the first in the low byte."""
    words = _read_words(item, keyword)
    if len(words) >= length:
        return words[:length]
    if len(words) * 2 >= length:
        return words.astype("<u2").view(np.uint8)[:length].astype(np.uint16)
    return None


def _segmented_entries(header: Any, length: int, keyword: str, bits: int) -> NDArray[np.uint16] | None:
    """Entries of a segmented table; None if it is absent or damaged."""
    words = _read_words(header, keyword)
    try:
        return expand_segments(words.astype("<u2").view(np.uint8) if bits == 8 else words, length)
    except (ValueError, IndexError):
        return None


def _read_words(item: Any, keyword: str) -> NDArray[np.uint16]:
    """The value of an element as 16-bit words, for any VR; empty if it is absent."""
    data = item.get(keyword)
    if isinstance(data, bytes):
        order = "<u2" if _little_endian(item) else ">u2"
        return np.frombuffer(data[: len(data) // 2 * 2], order).astype(np.uint16)
    values = np.array(numbers(item, keyword), dtype=np.int64)
    return (values % 2**16).astype(np.uint16)


def _little_endian(item: Any) -> bool:
    """Whether the item was read from a little-endian file, or from no file."""
    return getattr(item, "original_encoding", (None, True))[1] is not False
