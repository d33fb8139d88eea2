"""Transfer syntax UID → decoder of one frame (PS3.5 Annex A, PS3.6 Annex A), all of them from ``imagecodecs``."""

import math
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import generate_frames

from data_prep.errors import FilmReject, Reason
from data_prep.header_values import integer


class Frame(NamedTuple):
    """What the header says of the words of one frame."""

    rows: int
    columns: int
    samples: int
    allocated: int
    by_plane: bool

    @classmethod
    def of(cls, header: Any) -> "Frame":
        """Read from the header (PS3.3 C.7.6.3.1)."""
        return cls(
            integer(header, "Rows", 0),
            integer(header, "Columns", 0),
            integer(header, "SamplesPerPixel", 1),
            integer(header, "BitsAllocated", 16),
            integer(header, "PlanarConfiguration", 0) == 1,
        )


def read_frame(pixel_data: bytes, transfer_syntax: str | None, frame: Frame) -> NDArray[Any]:
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
        words = _ENCAPSULATED[transfer_syntax](next(generate_frames(pixel_data, number_of_frames=1)), frame)
    else:
        raise FilmReject(Reason.TRANSFER_SYNTAX)
    if words.ndim == 3 and words.shape[2] == 1:
        words = words[:, :, 0]
    if words.shape[:2] != (frame.rows, frame.columns) or words.dtype.kind not in "iu" or words.dtype.itemsize > 2:
        raise FilmReject(Reason.CORRUPT_PIXELS)
    return words


def _native(data: bytes, frame: Frame, order: str) -> NDArray[Any]:
    dtype = np.dtype(f"{order}u{frame.allocated // 8}")
    count = frame.rows * frame.columns * frame.samples
    if not count * dtype.itemsize <= len(data) < 2 * count * dtype.itemsize:
        raise FilmReject(Reason.CORRUPT_PIXELS)
    return _shaped(np.frombuffer(data, dtype, count).astype(dtype.newbyteorder("="), copy=False), frame)


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
        if not data.rstrip(b"\0\xff").endswith(_END):
            raise FilmReject(Reason.CORRUPT_PIXELS)
        return decode(data, **options)

    return decode_whole


def _jpeg_xl(data: bytes, frame: Frame) -> NDArray[Any]:
    return np.asarray(imagecodecs.jpegxl_decode(data, numthreads=1))


_END = b"\xff\xd9"
"""End of image (ITU-T T.81, T.87) or of codestream (T.800)."""
_jpeg = _marked(imagecodecs.jpeg8_decode)
_jpeg_ls = _marked(imagecodecs.jpegls_decode)
_jpeg_2000 = _marked(imagecodecs.jpeg2k_decode, numthreads=1)
_htj2k = _marked(imagecodecs.htj2k_decode)

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
DECODED_AS_RGB = frozenset(uid for uid, decode in _ENCAPSULATED.items() if decode not in (_rle, _jpeg_ls))
"""Syntaxes whose codec turns luminance and chrominance into RGB by itself."""
