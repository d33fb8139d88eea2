"""Decodes one frame of any transfer syntax (PS3.5 Annex A, PS3.6 Annex A) with ``imagecodecs``."""

import io
import math
import struct
from collections.abc import Callable
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import generate_frames

from data_prep.dicom.header_values import code_string, integer
from data_prep.dicom.jpeg_markers import find_image_end, read_image_size
from data_prep.errors import FilmReject, Reason
from data_prep.shard_format.htj2k import decode_htj2k
from data_prep.shard_format.sidecar import Provenance

PixelData: TypeAlias = bytes | memoryview | io.BytesIO
"""Value of the element Pixel Data; for an undefined length, the file positioned at the first item."""


class Frame(NamedTuple):
    """Layout of one frame, from the header.

    Attributes:
        rows: pixels.
        columns: pixels.
        samples: Samples per Pixel, 1 or 3.
        allocated: Bits Allocated per sample.
        by_plane: whether the samples are stored plane by plane (Planar Configuration 1).
        photometric: Photometric Interpretation.
    """

    rows: int
    columns: int
    samples: int
    allocated: int
    by_plane: bool
    photometric: str = ""

    @classmethod
    def of(cls, header: Any) -> "Frame":
        """Read the layout from the header (PS3.3 C.7.6.3.1)."""
        return cls(
            integer(header, "Rows", 0),
            integer(header, "Columns", 0),
            integer(header, "SamplesPerPixel", 1),
            integer(header, "BitsAllocated", 16),
            integer(header, "PlanarConfiguration", 0) == 1,
            code_string(header, "PhotometricInterpretation"),
        )


def read_frame(
    pixel_data: PixelData, transfer_syntax: str | None, frame: Frame, index: int = 0, frames: int = 1
) -> tuple[NDArray[Any], list[Provenance]]:
    """Decode one frame.

    Args:
        pixel_data: pixel data of all frames.
        transfer_syntax: UID.
        frame: layout of each frame.
        index: number of the frame, from 0.
        frames: number of frames.

    Returns:
        [rows, columns] or [rows, columns, 3] integers of 8 or 16 bits as stored, and provenance codes.

    Raises:
        FilmReject: the transfer syntax or word size is not supported, or the size differs from the header.
        Exception: a codec fails on damaged data.
    """
    if frame.allocated not in (8, 16):
        raise FilmReject(Reason.PIXEL_LAYOUT)
    notes: list[Provenance] = []
    if transfer_syntax in _NATIVE:
        words = _read_native(pixel_data, frame, _NATIVE[transfer_syntax], index, frames)
    elif transfer_syntax in _ENCAPSULATED:
        stream = _frame_stream(pixel_data, index, frames)
        if transfer_syntax in _WITH_JPEG_MARKERS:
            stream, notes = _trim_to_image(stream, frame)
        words = _ENCAPSULATED[transfer_syntax](stream, frame)
    else:
        raise FilmReject(Reason.TRANSFER_SYNTAX)
    if words.ndim == 3 and words.shape[2] == 1:
        words = words[:, :, 0]
    if words.shape[:2] != (frame.rows, frame.columns) or words.dtype.kind not in "iu" or words.dtype.itemsize > 2:
        raise FilmReject(Reason.CORRUPT_PIXELS)
    return words, notes


def _frame_stream(pixel_data: PixelData, index: int, frames: int) -> bytes:
    """The codestream of one frame, joined from its fragments (PS3.5 A.4)."""
    file = pixel_data if isinstance(pixel_data, io.BytesIO) else io.BytesIO(pixel_data)
    return bytes(next(islice(generate_frames(file, number_of_frames=frames), index, None)))


def _trim_to_image(stream: bytes, frame: Frame) -> tuple[bytes, list[Provenance]]:
    """Remove bytes after the image from a stream of the JPEG family, and check that the image is complete.

    Several codecs decode truncated streams without an error.

    Raises:
        FilmReject: the stream is truncated, or its size differs from the header.
    """
    try:
        end = find_image_end(stream)
        if read_image_size(stream) != (frame.rows, frame.columns):
            raise ValueError("the size differs from the header")
    except (ValueError, IndexError):
        raise FilmReject(Reason.CORRUPT_PIXELS) from None
    if end == len(stream):
        return stream, []
    return stream[:end], ["bytes_behind_image"] if stream[end:].strip(b"\0\xff") else []


def _read_native(data: PixelData, frame: Frame, order: str, index: int, frames: int) -> NDArray[Any]:
    if isinstance(data, io.BytesIO):
        raise FilmReject(Reason.CORRUPT_PIXELS)
    dtype = np.dtype(f"{order}u{frame.allocated // 8}")
    count = frame.rows * frame.columns * frame.samples
    size = count * dtype.itemsize
    is_subsampled = frame.photometric.endswith("_422") and len(data) < size * frames
    if is_subsampled:
        count, size = count // 3 * 2, size // 3 * 2
    if not size * frames <= len(data) < size * (frames + 1):
        raise FilmReject(Reason.CORRUPT_PIXELS)
    words = np.frombuffer(data, dtype, count, size * index).astype(dtype.newbyteorder("="), copy=False)
    return _upsample_422(words, frame) if is_subsampled else _reshape(words, frame)


def _upsample_422(words: NDArray[Any], frame: Frame) -> NDArray[Any]:
    """Expand YBR_FULL_422: two luminances, then the two chrominances that they share (PS3.3 C.7.6.3.1.2)."""
    pairs = words.reshape(-1, 4)
    chrominance = np.repeat(pairs[:, None, 2:], 2, axis=1)
    channels = np.concatenate((pairs[:, :2, None], chrominance), axis=2)
    return channels.reshape(frame.rows, frame.columns, 3)


def _reshape(words: NDArray[Any], frame: Frame) -> NDArray[Any]:
    if frame.samples == 1:
        return words.reshape(frame.rows, frame.columns)
    if frame.by_plane:
        return np.moveaxis(words.reshape(frame.samples, frame.rows, frame.columns), 0, -1)
    return words.reshape(frame.rows, frame.columns, frame.samples)


def _rle(data: bytes, frame: Frame) -> NDArray[Any]:
    """Decode RLE Lossless (PS3.5 Annex G): one PackBits segment per byte of a word, high byte first, by plane."""
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
    return _reshape(words.reshape(math.prod(words.shape)), frame._replace(by_plane=True))


def _jpeg(data: bytes, frame: Frame) -> NDArray[Any]:
    """Decode JPEG; the header decides whether three components without a colour marker are RGB."""
    unmarked = frame.samples == 3 and frame.photometric == "RGB" and b"JFIF\0" not in data and b"Adobe\0" not in data
    colours: dict[str, Any] = {"colorspace": "RGB", "outcolorspace": "RGB"} if unmarked else {}
    return np.asarray(imagecodecs.jpeg8_decode(data, **colours))


def _jpeg_xl(data: bytes, frame: Frame) -> NDArray[Any]:
    return np.asarray(imagecodecs.jpegxl_decode(data, numthreads=1))


def _jpeg_ls(data: bytes, frame: Frame) -> NDArray[Any]:
    return np.asarray(imagecodecs.jpegls_decode(data))


def _jpeg_2000(data: bytes, frame: Frame) -> NDArray[Any]:
    return np.asarray(imagecodecs.jpeg2k_decode(data, numthreads=1))


def _htj2k(data: bytes, frame: Frame) -> NDArray[Any]:
    return decode_htj2k(data)


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
_WITH_JPEG_MARKERS = frozenset(uid for uid, codec in _ENCAPSULATED.items() if codec not in (_jpeg_xl, _rle))
"""Transfer syntaxes whose streams have markers of the JPEG family."""
