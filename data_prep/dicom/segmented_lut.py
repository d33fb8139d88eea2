"""Expands segmented palettes, tables stored as runs and linear segments (PS3.3 C.7.9.2)."""

import numpy as np
from numpy.typing import NDArray

_DISCRETE, _LINEAR, _INDIRECT = range(3)


def expand_segments(codes: NDArray[np.uint8] | NDArray[np.uint16], length: int) -> NDArray[np.uint16]:
    """Expand segments to a table.

    Every segment adds an entry, so that the time is limited by the length of the table.

    Args:
        codes: [N] segment data; a padding byte may follow.
        length: number of entries of the table.

    Returns:
        [length] entries.

    Raises:
        ValueError: the segments are damaged or give another number of entries.
        IndexError: the segments are truncated.
    """
    values = codes.tolist()
    entries: list[int] = []
    position = 0
    while len(entries) < length:
        if values[position] == _INDIRECT:  # repeats segments at an offset in bytes; these are not indirect themselves
            words = values[position + 2 : position + (6 if codes.itemsize == 1 else 4)]
            offset = sum(word << (8 * codes.itemsize * number) for number, word in enumerate(words))
            copy_position = offset // codes.itemsize
            for _ in range(values[position + 1]):
                copy_position = _append(values, copy_position, entries, length)
            position += 2 + len(words)
        else:
            position = _append(values, position, entries, length)
    return np.array(entries, dtype=np.uint16)


def _append(values: list[int], position: int, entries: list[int], length: int) -> int:
    """Append the entries of the segment at ``position``; returns the position of the next segment."""
    kind, count = values[position], values[position + 1]
    if count == 0 or len(entries) + count > length:
        raise ValueError("a segment has no entries or too many")
    if kind == _DISCRETE:
        segment = values[position + 2 : position + 2 + count]
        if len(segment) < count:
            raise ValueError("a segment is truncated")
        entries += segment
        return position + 2 + count
    if kind != _LINEAR or not entries:
        raise ValueError("a segment has an unknown type, or a linear segment has no start")
    line = np.linspace(entries[-1], values[position + 2], count + 1)[1:]
    entries += np.rint(line).astype(int).tolist()
    return position + 3
