"""Find bytes of a film's stream beyond its one image.

Text can be stored in a comment, a profile, a thumbnail or behind the end of a stream, where a decoder does not find it.
Problems quote no values.
"""

import re
import struct
import zlib
from collections.abc import Iterator

import numpy as np

from data_prep.shard_format.film_codec import codec_of, encode_film

_SOC, _SOT, _SOD, _EOC, _COM, _SIZ, _TLM = 0xFF4F, 0xFF90, 0xFF93, 0xFFD9, 0xFF64, 0xFF51, 0xFF55
_MAIN_HEADER = (_SIZ, 0xFF50, 0xFF52, 0xFF5C, _COM, _TLM)
"""SIZ, CAP, COD, QCD, COM and TLM: the main header that OpenJPH writes (ISO/IEC 15444-1 Annex A, 15444-15)."""
_ENCODER = re.compile(rb"\x00\x01OpenJPH Ver \d{1,3}\.\d{1,3}\.\d{1,3}\.")
_PNG_SIGNATURE_SIZE = 8
"""Bytes."""
_PNG_HEADER = struct.Struct(">IIBBBBB")
_CHUNK = struct.Struct(">I4s")
_EOI, _SOF0, _SOS = 0xFFD9, 0xFFC0, 0xFFDA


def stream_problems(stream: bytes) -> Iterator[str]:
    """Find what a stream of any codec holds beyond one image.

    Args:
        stream: bytes of the film.

    Returns:
        Problems, without values; empty if there is none.
    """
    problems = {"htj2k": codestream_problems, "png": png_problems, "jpeg": jpeg_problems}[codec_of(stream)]
    try:
        yield from problems(stream)
    except struct.error:
        yield "the film's stream is cut off"


def codestream_problems(stream: bytes) -> Iterator[str]:
    """Find what an HTJ2K stream holds beyond one image that OpenJPH has encoded."""
    offset, markers = 2, []
    if _uint16(stream, 0) != _SOC:
        yield "the film is no codestream"
        return
    while (marker := _uint16(stream, offset)) != _SOT:
        length = _uint16(stream, offset + 2)
        markers.append(marker)
        if marker == _COM and not _ENCODER.fullmatch(stream, offset + 4, offset + 2 + length):
            yield "the film has a comment"
        offset += 2 + length
    if tuple(markers) != _MAIN_HEADER:
        yield "the film's main header is not the encoder's"
    while _uint16(stream, offset) == _SOT:
        (length,) = struct.unpack_from(">I", stream, offset + 6)
        if _uint16(stream, offset + 2) != 10 or _uint16(stream, offset + 12) != _SOD or length < 14:
            yield "a tile part of the film has further markers"
            return
        offset += length
    if stream[offset:] != _EOC.to_bytes(2, "big"):
        yield "there are bytes behind the end of the film"


def png_problems(stream: bytes) -> Iterator[str]:
    """Find what a PNG holds beyond its header and its 16-bit grey pixels (PNG specification, section 11.2)."""
    offset, data = _PNG_SIGNATURE_SIZE, bytearray()
    names: list[bytes] = []
    while offset < len(stream) and names[-1:] != [b"IEND"]:
        length, name = _CHUNK.unpack_from(stream, offset)
        body = stream[offset + 8 : offset + 8 + length]
        (check,) = struct.unpack_from(">I", stream, offset + 8 + length)
        if check != zlib.crc32(name + body):
            yield "a chunk of the film is damaged"
        if name == b"IDAT":
            data += body
        names.append(name)
        offset += length + 12
    if offset != len(stream):
        yield "there are bytes behind the end of the film"
    if names[:1] != [b"IHDR"] or names[-1:] != [b"IEND"] or set(names[1:-1]) != {b"IDAT"}:
        yield "the film has other chunks than its header and its pixels"
        return
    columns, rows, *pixel_format = _PNG_HEADER.unpack_from(stream, _PNG_SIGNATURE_SIZE + _CHUNK.size)
    decompressor = zlib.decompressobj()
    try:
        pixels = len(decompressor.decompress(data, rows * (1 + 2 * columns) + 1))
    except zlib.error:
        yield "the film's pixels are damaged"
        return
    has_end = decompressor.eof and not decompressor.unused_data
    if pixel_format != [16, 0, 0, 0, 0] or pixels != rows * (1 + 2 * columns) or not has_end:
        yield "the film's pixels are not those of its size"


def jpeg_problems(stream: bytes) -> Iterator[str]:
    """Find what a JPEG holds beyond the encoder's headers and one scan (ISO/IEC 10918-1 Annex B).

    The encoder's tables are constant: a different table, or one that no pixel uses, can carry text.
    """
    header, offset = _jpeg_header(stream)
    if header != _jpeg_header(encode_film(np.zeros((8, 8), np.uint16), "jpeg"))[0]:
        yield "the film's headers are not the encoder's"
    end = re.search(rb"\xff[^\x00]", stream[offset:], re.DOTALL)
    if end is None or end[0] != _EOI.to_bytes(2, "big"):
        yield "the film has further markers"
    elif offset + end.end() != len(stream):
        yield "there are bytes behind the end of the film"


def _jpeg_header(stream: bytes) -> tuple[bytes, int]:
    """Headers of a JPEG without the size of its image, and the offset of its scan."""
    offset, header = 2, stream[:2]
    while (marker := _uint16(stream, offset)) != _SOS:
        length = _uint16(stream, offset + 2)
        segment = stream[offset : offset + 2 + length]
        header += segment[:5] + segment[9:] if marker == _SOF0 else segment
        offset += 2 + length
    scan = offset + 2 + _uint16(stream, offset + 2)
    return header + stream[offset:scan], scan


def _uint16(stream: bytes, offset: int) -> int:
    return int(struct.unpack_from(">H", stream, offset)[0])
