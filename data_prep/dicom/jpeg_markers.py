"""Markers of the JPEG family: the size that a stream declares, and where its image ends.

JPEG (ITU-T T.81 Annex B), JPEG-LS (T.87 Annex C), JPEG 2000 and HTJ2K (T.800 Annex A, T.814).
"""

_START = b"\xff\xd8"
_END = b"\xff\xd9"
"""End of image, or of codestream."""
_SIZ = b"\xff\x4f\xff\x51"
"""Start of codestream, then its size: a JP2 file has boxes before them."""
_FRAME_HEADERS = frozenset({0xF7, *range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_SCAN = 0xDA
_TILE_PART = 0x90
_MAX_TILES = 65_535
"""T.800 A.5.1."""


def declared_size(data: bytes) -> tuple[int, int]:
    """Rows and columns that a stream declares, before a decoder makes room for them.

    Raises:
        ValueError, IndexError: it declares none, or tiles in which it cannot lie.
    """
    if (place := _codestream(data)) >= 0:  # T.800 A.5.1
        x, y, x_start, y_start = (_number(data, at, 4) for at in range(place + 8, place + 24, 4))
        wide, high, x_tiles, y_tiles = (_number(data, at, 4) for at in range(place + 24, place + 40, 4))
        if not (_begins_first(x_start, x_tiles, wide) and _begins_first(y_start, y_tiles, high)):
            raise ValueError("the first tile is not where the image begins")  # OpenJPH would never end
        if -(-(x - x_tiles) // wide) * -(-(y - y_tiles) // high) > _MAX_TILES:
            raise ValueError("more tiles than a codestream can number")
        return y - y_start, x - x_start
    place = _segment(data, len(_START), _FRAME_HEADERS)  # T.81 B.2.2, T.87 C.2.2
    return _number(data, place + 5, 2), _number(data, place + 7, 2)


def image_end(data: bytes) -> int:
    """The place behind the end marker of the image; what stands there is no part of it.

    Entropy-coded data cannot hold the end marker, headers can: it counts only behind the first of the data.

    Raises:
        ValueError, IndexError: the stream is cut off before its end.
    """
    if (place := _codestream(data)) >= 0:
        place = _segment(data, place + 2, frozenset({_TILE_PART}))
        while data[place : place + 2] == bytes((0xFF, _TILE_PART)):  # T.800 A.4.2
            length = _number(data, place + 6, 4)
            place = place + length if length else data.rindex(_END, place)  # 0: up to the end
            if 0 < length < 14:
                raise ValueError("a tile part of no length")
        if data[place : place + 2] != _END:
            raise ValueError("no end of codestream")
        return place + 2
    return data.rindex(_END, _segment(data, len(_START), frozenset({_SCAN}))) + 2


def _begins_first(start: int, tiles: int, size: int) -> bool:
    """Whether the image begins inside the first tile (T.800 B.3), in one direction."""
    return tiles <= start < tiles + size


def _codestream(data: bytes) -> int:
    """Where a JPEG 2000 codestream begins; negative where there is none."""
    return -1 if data.startswith(_START) else data.find(_SIZ)


def _segment(data: bytes, place: int, wanted: frozenset[int]) -> int:
    """The place of the first marker segment of a kind, from the segment at ``place`` on."""
    while data[place] == 0xFF:
        marker = data[place + 1]
        if marker in wanted:
            return place
        place += 1 if marker == 0xFF else 2 + _number(data, place + 2, 2)
    raise ValueError("no such segment")


def _number(data: bytes, place: int, size: int) -> int:
    return int.from_bytes(data[place : place + size], "big")
