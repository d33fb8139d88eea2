"""Whether the stream of a film holds one image and nothing else. Names no values.

A text could hide in a comment, in a profile, in a thumbnail or behind the end of a stream; a decoder sees none of it.
"""

import re
import struct
import zlib
from collections.abc import Iterator

import numpy as np

from data_prep.shard_format.film_codec import codec_of, encode_film

_SOC, _SOT, _SOD, _EOC, _COM, _SIZ, _TLM = 0xFF4F, 0xFF90, 0xFF93, 0xFFD9, 0xFF64, 0xFF51, 0xFF55
_MAIN = (_SIZ, 0xFF50, 0xFF52, 0xFF5C, _COM, _TLM)
"""SIZ, CAP, COD, QCD, COM and TLM: the main header that OpenJPH writes (ISO/IEC 15444-1 Annex A, 15444-15)."""
_ENCODER = re.compile(rb"\x00\x01OpenJPH Ver \d{1,3}\.\d{1,3}\.\d{1,3}\.")
_PNG_SIGNATURE = 8
_PNG_HEADER = struct.Struct(">IIBBBBB")
_CHUNK = struct.Struct(">I4s")
_EOI, _SOF0, _SOS = 0xFFD9, 0xFFC0, 0xFFDA


def stream_problems(stream: bytes) -> Iterator[str]:
    """What of a film's stream is more than one image."""
    problems = {"htj2k": codestream_problems, "png": png_problems, "jpeg": jpeg_problems}[codec_of(stream)]
    try:
        yield from problems(stream)
    except struct.error:
        yield "the film's stream is cut off"


def codestream_problems(stream: bytes) -> Iterator[str]:
    """What of an HTJ2K stream is more than one image that OpenJPH has encoded."""
    place, seen = 2, []
    if _word(stream, 0) != _SOC:
        yield "the film is no codestream"
        return
    while (marker := _word(stream, place)) != _SOT:
        length = _word(stream, place + 2)
        seen.append(marker)
        if marker == _COM and not _ENCODER.fullmatch(stream, place + 4, place + 2 + length):
            yield "the film has a comment"
        place += 2 + length
    if tuple(seen) != _MAIN:
        yield "the film's main header is not the encoder's"
    while _word(stream, place) == _SOT:
        (length,) = struct.unpack_from(">I", stream, place + 6)
        if _word(stream, place + 2) != 10 or _word(stream, place + 12) != _SOD or length < 14:
            yield "a tile part of the film has further markers"
            return
        place += length
    if stream[place:] != _EOC.to_bytes(2, "big"):
        yield "bytes stand behind the end of the film"


def png_problems(stream: bytes) -> Iterator[str]:
    """What of a PNG is more than its header and its pixels, 16 bits of grey (PNG specification, section 11.2)."""
    place, data = _PNG_SIGNATURE, bytearray()
    names: list[bytes] = []
    while place < len(stream) and names[-1:] != [b"IEND"]:
        length, name = _CHUNK.unpack_from(stream, place)
        body = stream[place + 8 : place + 8 + length]
        (check,) = struct.unpack_from(">I", stream, place + 8 + length)
        if check != zlib.crc32(name + body):
            yield "a chunk of the film is damaged"
        if name == b"IDAT":
            data += body
        names.append(name)
        place += length + 12
    if place != len(stream):
        yield "bytes stand behind the end of the film"
    if names[:1] != [b"IHDR"] or names[-1:] != [b"IEND"] or set(names[1:-1]) != {b"IDAT"}:
        yield "the film has other chunks than its header and its pixels"
        return
    columns, rows, *kind = _PNG_HEADER.unpack_from(stream, _PNG_SIGNATURE + _CHUNK.size)
    inflating = zlib.decompressobj()
    try:
        pixels = len(inflating.decompress(data, rows * (1 + 2 * columns) + 1))
    except zlib.error:
        yield "the film's pixels are damaged"
        return
    if kind != [16, 0, 0, 0, 0] or pixels != rows * (1 + 2 * columns) or inflating.unused_data or not inflating.eof:
        yield "the film's pixels are not those of its size"


def jpeg_problems(stream: bytes) -> Iterator[str]:
    """What of a JPEG is more than the encoder's headers and one scan (ISO/IEC 10918-1 Annex B).

    The encoder's tables are always the same: another one, or one that no pixel needs, could be a text.
    """
    head, place = _jpeg_head(stream)
    if head != _jpeg_head(encode_film(np.zeros((8, 8), np.uint16), "jpeg"))[0]:
        yield "the film's headers are not the encoder's"
    end = re.search(rb"\xff[^\x00]", stream[place:], re.DOTALL)
    if end is None or end[0] != _EOI.to_bytes(2, "big"):
        yield "the film has further markers"
    elif place + end.end() != len(stream):
        yield "bytes stand behind the end of the film"


def _jpeg_head(stream: bytes) -> tuple[bytes, int]:
    """The headers of a JPEG without the size of its image, and where its scan begins."""
    place, head = 2, stream[:2]
    while (marker := _word(stream, place)) != _SOS:
        length = _word(stream, place + 2)
        segment = stream[place : place + 2 + length]
        head += segment[:5] + segment[9:] if marker == _SOF0 else segment
        place += 2 + length
    scan = place + 2 + _word(stream, place + 2)
    return head + stream[place:scan], scan


def _word(stream: bytes, place: int) -> int:
    return int(struct.unpack_from(">H", stream, place)[0])
