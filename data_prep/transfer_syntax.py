"""Transfer syntax UID → decoder of one frame (PS3.5 Annex A, PS3.6 Annex A), all of them from ``imagecodecs``."""

import io
import math
import struct
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import generate_frames

from data_prep.errors import FilmReject, Reason
from data_prep.header_values import integer, word
from data_prep.htj2k import decode_htj2k

PixelData: TypeAlias = bytes | memoryview | io.BytesIO
"""The value of the element; where its length is open, the file at the place of its first item."""


class Frame(NamedTuple):
    """What the header says of the words of one frame."""

    rows: int
    columns: int
    samples: int
    allocated: int
    by_plane: bool
    photometric: str = ""

    @classmethod
    def of(cls, header: Any) -> "Frame":
        """Read from the header (PS3.3 C.7.6.3.1)."""
        return cls(
            integer(header, "Rows", 0),
            integer(header, "Columns", 0),
            integer(header, "SamplesPerPixel", 1),
            integer(header, "BitsAllocated", 16),
            integer(header, "PlanarConfiguration", 0) == 1,
            word(header, "PhotometricInterpretation"),
        )


def read_frame(pixel_data: PixelData, transfer_syntax: str | None, frame: Frame) -> NDArray[Any]:
    """The words of the first frame, [rows, columns] or [rows, columns, 3], as the file or its codec has them.

    Raises:
        FilmReject: transfer syntax or word size not supported, or the size is not that of the header.
        Exception: whatever a codec raises on damaged data.
    """
    if frame.allocated not in (8, 16):
        raise FilmReject(Reason.PIXEL_LAYOUT)
    if transfer_syntax in _NATIVE:
        words = _native(pixel_data, frame, _NATIVE[transfer_syntax])
    elif transfer_syntax in _ENCAPSULATED:
        words = _ENCAPSULATED[transfer_syntax](_first_frame(pixel_data), frame)
    else:
        raise FilmReject(Reason.TRANSFER_SYNTAX)
    if words.ndim == 3 and words.shape[2] == 1:
        words = words[:, :, 0]
    if words.shape[:2] != (frame.rows, frame.columns) or words.dtype.kind not in "iu" or words.dtype.itemsize > 2:
        raise FilmReject(Reason.CORRUPT_PIXELS)
    return words


def _first_frame(pixel_data: PixelData) -> bytes:
    """Its codestream, put together from its fragments (PS3.5 A.4)."""
    file = pixel_data if isinstance(pixel_data, io.BytesIO) else io.BytesIO(pixel_data)
    return bytes(next(generate_frames(file, number_of_frames=1)))


def _native(data: PixelData, frame: Frame, order: str) -> NDArray[Any]:
    if isinstance(data, io.BytesIO):
        raise FilmReject(Reason.CORRUPT_PIXELS)
    dtype = np.dtype(f"{order}u{frame.allocated // 8}")
    count = frame.rows * frame.columns * frame.samples
    if frame.photometric.endswith("_422") and len(data) < count * dtype.itemsize:
        return _subsampled(np.frombuffer(data, dtype, count // 3 * 2), frame)
    if not count * dtype.itemsize <= len(data) < 2 * count * dtype.itemsize:
        raise FilmReject(Reason.CORRUPT_PIXELS)
    return _shaped(np.frombuffer(data, dtype, count).astype(dtype.newbyteorder("="), copy=False), frame)


def _subsampled(words: NDArray[Any], frame: Frame) -> NDArray[Any]:
    """Two luminances, then the two chrominances that they share (PS3.3 C.7.6.3.1.2, YBR_FULL_422)."""
    pairs = words.reshape(-1, 4).astype(words.dtype.newbyteorder("="))
    chrominance = np.repeat(pairs[:, None, 2:], 2, axis=1)
    channels = np.concatenate((pairs[:, :2, None], chrominance), axis=2)
    return channels.reshape(frame.rows, frame.columns, 3)


def _shaped(words: NDArray[Any], frame: Frame) -> NDArray[Any]:
    if frame.samples == 1:
        return words.reshape(frame.rows, frame.columns)
    if frame.by_plane:
        return np.moveaxis(words.reshape(frame.samples, frame.rows, frame.columns), 0, -1)
    return words.reshape(frame.rows, frame.columns, frame.samples)


def _rle(data: bytes, frame: Frame) -> NDArray[Any]:
    """RLE Lossless (PS3.5 Annex G): one PackBits segment per byte of a word, the high byte first, plane after plane."""
    count, *offsets = struct.unpack("<16L", data[:64])
    width = frame.allocated // 8
    if count != frame.samples * width:
        raise FilmReject(Reason.CORRUPT_PIXELS)
    ends = [*offsets[1:count], len(data)]
    area = frame.rows * frame.columns
    planes = np.empty((count, area), dtype=np.uint8)
    for plane, start, end in zip(planes, offsets, ends, strict=False):
        plane[:] = np.frombuffer(imagecodecs.packbits_decode(data[start:end]), np.uint8, area)
    words = planes.reshape(frame.samples, width, area).transpose(0, 2, 1)
    words = np.ascontiguousarray(words).view(np.dtype(f">u{width}"))[..., 0].astype(f"=u{width}")
    return _shaped(words.reshape(math.prod(words.shape)), frame._replace(by_plane=True))


def _marked(decode: Callable[..., NDArray[Any]], **options: Any) -> Callable[[bytes, Frame], NDArray[Any]]:
    """A codec of the JPEG family; its stream must be whole, since several silently fill up what a cut one lacks."""

    def decode_whole(data: bytes, frame: Frame) -> NDArray[Any]:
        whole = data.endswith((_END, _END + b"\0")) or data.rstrip(b"\0\xff").endswith(_END)  # without a copy, mostly
        if not whole or declared_size(data) != (frame.rows, frame.columns):
            raise FilmReject(Reason.CORRUPT_PIXELS)
        return decode(data, **options)

    return decode_whole


def declared_size(data: bytes) -> tuple[int, int]:
    """Rows and columns that a stream of the JPEG family declares, before a decoder makes room for them.

    Raises:
        ValueError, IndexError: it declares none.
    """
    place = -1 if data.startswith(_START) else data.find(_SIZ)
    if place >= 0:  # ITU-T T.800 A.5.1; a JP2 file has boxes before it
        x, y, x_start, y_start = (int.from_bytes(data[at : at + 4], "big") for at in range(place + 8, place + 24, 4))
        return y - y_start, x - x_start
    place = len(_START)
    while data[place] == 0xFF:
        marker = data[place + 1]
        if marker in _FRAME_HEADERS:  # ITU-T T.81 B.2.2, T.87 C.2.2
            return int.from_bytes(data[place + 5 : place + 7], "big"), int.from_bytes(
                data[place + 7 : place + 9], "big"
            )
        place += 1 if marker == 0xFF else 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    raise ValueError("no frame header")


def _jpeg(data: bytes, frame: Frame) -> NDArray[Any]:
    """JPEG; three components without a marker that says otherwise are what the header calls them."""
    unmarked = frame.samples == 3 and frame.photometric == "RGB" and b"JFIF\0" not in data and b"Adobe\0" not in data
    colours = {"colorspace": "RGB", "outcolorspace": "RGB"} if unmarked else {}
    return _marked(imagecodecs.jpeg8_decode, **colours)(data, frame)


def _jpeg_xl(data: bytes, frame: Frame) -> NDArray[Any]:
    return np.asarray(imagecodecs.jpegxl_decode(data, numthreads=1))


_START = b"\xff\xd8"
_SIZ = b"\xff\x4f\xff\x51"
_FRAME_HEADERS = frozenset({0xF7, *range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_END = b"\xff\xd9"
"""End of image (ITU-T T.81, T.87) or of codestream (T.800)."""
_jpeg_ls = _marked(imagecodecs.jpegls_decode)
_jpeg_2000 = _marked(imagecodecs.jpeg2k_decode, numthreads=1)
_htj2k = _marked(decode_htj2k)

_NATIVE = {
    "1.2.840.10008.1.2": "<",  # implicit VR little endian
    "1.2.840.10008.1.2.1": "<",  # explicit VR little endian
    "1.2.840.10008.1.2.1.99": "<",  # deflated explicit VR little endian, inflated by pydicom
    "1.2.840.10008.1.2.2": ">",  # explicit VR big endian
}
_ENCAPSULATED: dict[str, Callable[[bytes, Frame], NDArray[Any]]] = {
    "1.2.840.10008.1.2.4.50": _jpeg,  # baseline
    "1.2.840.10008.1.2.4.51": _jpeg,  # extended, 8 and 12 bits
    "1.2.840.10008.1.2.4.57": _jpeg,  # lossless
    "1.2.840.10008.1.2.4.70": _jpeg,  # lossless, first-order prediction
    "1.2.840.10008.1.2.4.80": _jpeg_ls,  # lossless
    "1.2.840.10008.1.2.4.81": _jpeg_ls,  # near-lossless
    "1.2.840.10008.1.2.4.90": _jpeg_2000,  # lossless
    "1.2.840.10008.1.2.4.91": _jpeg_2000,
    "1.2.840.10008.1.2.4.110": _jpeg_xl,  # lossless
    "1.2.840.10008.1.2.4.111": _jpeg_xl,  # recompressed JPEG
    "1.2.840.10008.1.2.4.112": _jpeg_xl,
    "1.2.840.10008.1.2.4.201": _htj2k,  # lossless
    "1.2.840.10008.1.2.4.202": _htj2k,  # lossless, RPCL
    "1.2.840.10008.1.2.4.203": _htj2k,
    "1.2.840.10008.1.2.5": _rle,
}
