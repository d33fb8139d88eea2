"""The codestreams of the frames in encapsulated pixel data (PS3.5 A.4), also where delimiters or offsets are wrong."""

import struct
from collections.abc import Sequence

_ITEM = b"\xfe\xff\x00\xe0"
_IMAGE_STARTS = (b"\xff\xd8", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP", b"\xff\x0a")
"""JPEG and JPEG-LS, JPEG 2000, JP2, JPEG XL."""


def is_item(value: bytes | memoryview) -> bool:
    """Whether pixel data begin with an item: they are encapsulated."""
    return bytes(value[:4]) == _ITEM


def frame_streams(data: bytes | memoryview, start: int, frames: int) -> list[bytes]:
    """Join fragments to the codestreams of frames.

    The items end at a delimiter, at the end of the file, or where anything else than an item follows.

    Args:
        data: the file.
        start: offset of the first item, the Basic Offset Table.
        frames: number of frames that the header states.

    Returns:
        One stream per frame; more than ``frames`` of a header that states one, where each fragment begins an image.

    Raises:
        ValueError: the fragments belong to no such number of frames.
    """
    items = list(_items(data, start))
    if len(items) < 2:
        raise ValueError("there is no fragment")
    (_, table), *fragments = items
    begins = [number for number, (_, value) in enumerate(fragments) if bytes(value[:12]).startswith(_IMAGE_STARTS)]
    if frames == 1:
        return _joined(fragments, begins) if len(begins) > 1 and begins[0] == 0 else _joined(fragments, [0])
    if len(fragments) == frames:
        return _joined(fragments, range(frames))
    offsets = struct.unpack(f"<{len(table) // 4}I", table[: len(table) // 4 * 4])
    first = fragments[0][0]
    by_offset = [number for number, (position, _) in enumerate(fragments) if position - first in offsets]
    for chosen in (by_offset, begins):
        if len(chosen) == frames and chosen[0] == 0:
            return _joined(fragments, chosen)
    raise ValueError("the fragments do not belong to the frames")


def _items(data: bytes | memoryview, start: int) -> "list[tuple[int, memoryview]]":
    """(offset of the item, its value) of all items from ``start`` on; the last one may be cut short."""
    view, position, found = memoryview(data), start, []
    while bytes(view[position : position + 4]) == _ITEM and position + 8 <= len(view):
        (length,) = struct.unpack("<I", view[position + 4 : position + 8])
        found.append((position, view[position + 8 : position + 8 + length]))
        position += 8 + length
    return found


def _joined(fragments: Sequence[tuple[int, memoryview]], starts: Sequence[int]) -> list[bytes]:
    ends = [*list(starts)[1:], len(fragments)]
    return [b"".join(value for _, value in fragments[begin:end]) for begin, end in zip(starts, ends, strict=True)]
