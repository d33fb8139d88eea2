"""Read the image size from a compressed stream, and find the end of the image in it, without decoding it.

Supports JPEG (ITU-T T.81 Annex B), JPEG-LS (T.87 Annex C), JPEG 2000 and HTJ2K (T.800 Annex A, T.814).
"""

_START = b"\xff\xd8"
"""Start of image (JPEG, JPEG-LS)."""
END_MARKER = b"\xff\xd9"
"""End of image (JPEG, JPEG-LS) or end of codestream (JPEG 2000)."""
_SIZ = b"\xff\x4f\xff\x51"
"""Start of a JPEG 2000 codestream, followed by the size marker; in a JP2 file, boxes precede them."""
_FRAME_HEADERS = frozenset({0xF7, *range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""Second bytes of the start-of-frame markers of JPEG (SOF0 to SOF15) and JPEG-LS (SOF55)."""
_JPEG_LS_FRAME, _CAPABILITIES = 0xF7, 0x50
"""Second bytes of the start-of-frame marker of JPEG-LS (SOF55), and of extended capabilities (CAP)."""
_SCAN = 0xDA
"""Second byte of the start-of-scan marker (SOS)."""
_TILE_PART = 0x90
"""Second byte of the start-of-tile-part marker (SOT)."""
_MAX_TILES = 65_535
"""Largest number of tiles that the standard allows (T.800 A.5.1)."""


def read_image_size(data: bytes) -> tuple[int, int]:
    """Read the size of an image from its stream, before a decoder allocates memory for it.

    Args:
        data: compressed stream of one image.

    Returns:
        (rows, columns) in pixels.

    Raises:
        ValueError: the stream has no size, or its tiles cannot contain the image.
        IndexError: the stream is truncated.
    """
    if (offset := _find_codestream(data)) >= 0:  # JPEG 2000, T.800 A.5.1
        x_end, y_end, x_start, y_start = (
            _read_integer(data, position, 4) for position in range(offset + 8, offset + 24, 4)
        )
        tile_columns, tile_rows, x_first_tile, y_first_tile = (
            _read_integer(data, position, 4) for position in range(offset + 24, offset + 40, 4)
        )
        if not (
            _is_in_first_tile(x_start, x_first_tile, tile_columns)
            and _is_in_first_tile(y_start, y_first_tile, tile_rows)
        ):
            raise ValueError("the image does not begin in the first tile")  # OpenJPH would not terminate
        if -(-(x_end - x_first_tile) // tile_columns) * -(-(y_end - y_first_tile) // tile_rows) > _MAX_TILES:
            raise ValueError("the codestream has more tiles than the standard allows")
        return y_end - y_start, x_end - x_start
    offset = _find_segment(data, len(_START), _FRAME_HEADERS)  # T.81 B.2.2, T.87 C.2.2
    return _read_integer(data, offset + 5, 2), _read_integer(data, offset + 7, 2)


def find_image_end(data: bytes) -> int:
    """Find where an image ends in its stream; later bytes are not part of the image.

    Headers can contain the bytes of the end marker, entropy-coded data cannot: the search begins at the coded data.

    Args:
        data: compressed stream of one image.

    Returns:
        Offset in bytes after the end marker.

    Raises:
        ValueError: the stream has no end marker.
        IndexError: the stream is truncated.
    """
    if (offset := _find_codestream(data)) >= 0:
        offset = _find_segment(data, offset + 2, frozenset({_TILE_PART}))
        while data[offset : offset + 2] == bytes((0xFF, _TILE_PART)):  # T.800 A.4.2
            length = _read_integer(data, offset + 6, 4)
            offset = offset + length if length else data.rindex(END_MARKER, offset)  # length 0: to the end
            if 0 < length < 14:
                raise ValueError("a tile part is shorter than its header")
        if data[offset : offset + 2] != END_MARKER:
            raise ValueError("the end of the codestream is missing")
        return offset + 2
    return data.rindex(END_MARKER, _find_segment(data, len(_START), frozenset({_SCAN}))) + 2


def is_jpeg_ls(data: bytes) -> bool:
    """Whether a stream that begins with SOI is JPEG-LS, by its start-of-frame marker (T.87 C.2.2)."""
    try:
        return data[_find_segment(data, len(_START), _FRAME_HEADERS) + 1] == _JPEG_LS_FRAME
    except (ValueError, IndexError):
        return False


def is_high_throughput(data: bytes) -> bool:
    """Whether a JPEG 2000 codestream is HTJ2K: its main header has extended capabilities (T.814 A.2)."""
    offset = _find_codestream(data)
    try:
        _find_segment(data, offset + 2, frozenset({_CAPABILITIES}))
    except (ValueError, IndexError):
        return False
    return offset >= 0


def _is_in_first_tile(start: int, tile_start: int, size: int) -> bool:
    """Whether the image begins in the first tile, in one direction (T.800 B.3); all arguments in pixels."""
    return tile_start <= start < tile_start + size


def _find_codestream(data: bytes) -> int:
    """Offset in bytes of a JPEG 2000 codestream; -1 if the stream has none."""
    return -1 if data.startswith(_START) else data.find(_SIZ)


def _find_segment(data: bytes, offset: int, markers: frozenset[int]) -> int:
    """Offset of the first segment with one of ``markers`` (second bytes), in the segments from ``offset`` on."""
    while data[offset] == 0xFF:
        marker = data[offset + 1]
        if marker in markers:
            return offset
        # 0xFF before a marker is a fill byte; otherwise, a two-byte length follows the marker
        offset += 1 if marker == 0xFF else 2 + _read_integer(data, offset + 2, 2)
    raise ValueError("a marker segment is missing")


def _read_integer(data: bytes, offset: int, size: int) -> int:
    """Unsigned big-endian integer of ``size`` bytes."""
    return int.from_bytes(data[offset : offset + size], "big")
