"""Segmented palettes: tables written as runs and straight lines (PS3.3 C.7.9.2)."""

import numpy as np
from numpy.typing import NDArray

_DISCRETE, _LINEAR, _INDIRECT = range(3)


def expanded(codes: NDArray[np.uint8] | NDArray[np.uint16], length: int) -> NDArray[np.uint16]:
    """The table of ``length`` entries that the segments ``codes`` stand for.

    Every segment adds an entry, so that no data take longer than the table is long.

    Raises:
        ValueError: the segments are broken or give another number of entries; a padding byte may follow.
        IndexError: they are cut off.
    """
    told = codes.tolist()
    entries: list[int] = []
    place = 0
    while len(entries) < length:
        if told[place] == _INDIRECT:  # copies segments that stand at another place, in bytes, and none of its own kind
            words = told[place + 2 : place + (6 if codes.itemsize == 1 else 4)]
            offset = sum(word << (8 * codes.itemsize * number) for number, word in enumerate(words))
            copied = offset // codes.itemsize
            for _ in range(told[place + 1]):
                copied = _append(told, copied, entries, length)
            place += 2 + len(words)
        else:
            place = _append(told, place, entries, length)
    return np.array(entries, dtype=np.uint16)


def _append(told: list[int], place: int, entries: list[int], length: int) -> int:
    """Add the entries of the segment at ``place``; where the next begins."""
    kind, count = told[place], told[place + 1]
    if count == 0 or len(entries) + count > length:
        raise ValueError("a segment of no entries, or of too many")
    if kind == _DISCRETE:
        found = told[place + 2 : place + 2 + count]
        if len(found) < count:
            raise ValueError("a segment is cut off")
        entries += found
        return place + 2 + count
    if kind != _LINEAR or not entries:
        raise ValueError("an unknown segment, or a line from nowhere")
    line = np.linspace(entries[-1], told[place + 2], count + 1)[1:]
    entries += np.rint(line).astype(int).tolist()
    return place + 3
