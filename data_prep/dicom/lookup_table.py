"""DICOM lookup tables as files write them: 8-bit entries packed in words, signs that wrap (PS3.3 C.11.1.1)."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_prep.dicom.header_values import numbers
from data_prep.dicom.segmented_lut import expanded


class LookupTable(NamedTuple):
    """A table of ``entries``; entry 0 holds for ``first`` and for everything below, the last for everything above."""

    first: int
    entries: NDArray[np.uint16]

    @property
    def top(self) -> int:
        """Largest output. The declared bits per entry are not trusted: tables of 12 bits are found declared as 16."""
        return int(2 ** int(self.entries.max()).bit_length() - 1)

    def __call__(self, inputs: NDArray[np.floating[Any]]) -> NDArray[np.uint16]:
        """Look up ``inputs`` of any shape, rounded to the nearest entry."""
        index = np.clip(np.rint(inputs) - self.first, 0, len(self.entries) - 1).astype(np.int64)
        return np.asarray(self.entries[index])


def read_lookup_table(item: Any, *, signed: bool) -> LookupTable | None:
    """The table of an item of the Modality or VOI LUT Sequence; None where it is not usable.

    Args:
        item: the sequence item, with LUT Descriptor and LUT Data.
        signed: whether the inputs can be negative: the first mapped value is then a signed number.
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
    """Red, green and blue table of a PALETTE COLOR film and the bits of their entries (PS3.3 C.7.6.3.1.5, C.7.6.3.1.6).

    None where one is missing or broken.
    """
    tables = []
    for colour in ("Red", "Green", "Blue"):
        descriptor = numbers(header, f"{colour}PaletteColorLookupTableDescriptor")
        if len(descriptor) != 3:
            return None
        length = int(descriptor[0]) % 2**16 or 2**16
        entries = _entries(header, length, f"{colour}PaletteColorLookupTableData")
        if entries is None:
            entries = _segments(header, length, f"Segmented{colour}PaletteColorLookupTableData", int(descriptor[2]))
        if entries is None:
            return None
        tables.append(LookupTable(_first(descriptor[1], signed), entries))
    return tables, 8 if max(int(table.entries.max()) for table in tables) < 2**8 else 16


def _first(number: float, signed: bool) -> int:
    """First mapped value, with the sign of the inputs whatever the element's own is."""
    first = int(number) % 2**16
    return first - 2**16 if signed and first >= 2**15 else first


def _entries(item: Any, length: int, keyword: str) -> NDArray[np.uint16] | None:
    """LUT Data with one entry per word, or two entries of 8 bits per word, the first in the low byte."""
    stored = _words(item, keyword)
    if len(stored) >= length:
        return stored[:length]
    if len(stored) * 2 >= length:
        return stored.astype("<u2").view(np.uint8)[:length].astype(np.uint16)
    return None


def _segments(header: Any, length: int, keyword: str, bits: int) -> NDArray[np.uint16] | None:
    """Entries of a segmented table; None where it is absent or broken."""
    stored = _words(header, keyword)
    try:
        return expanded(stored.astype("<u2").view(np.uint8) if bits == 8 else stored, length)
    except (ValueError, IndexError):
        return None


def _words(item: Any, keyword: str) -> NDArray[np.uint16]:
    """The value of an element as words of 16 bits, whatever its VR; none where it is absent."""
    data = item.get(keyword)
    if isinstance(data, bytes):
        order = "<u2" if _little_endian(item) else ">u2"
        return np.frombuffer(data[: len(data) // 2 * 2], order).astype(np.uint16)
    values = np.array(numbers(item, keyword), dtype=np.int64)
    return (values % 2**16).astype(np.uint16)


def _little_endian(item: Any) -> bool:
    """Byte order of the file that the item was read from; little endian where it was not read from one."""
    return getattr(item, "original_encoding", (None, True))[1] is not False
