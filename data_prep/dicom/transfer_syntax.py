"""Decodes one frame of any transfer syntax (PS3.5 Annex A, PS3.6 Annex A) with ``imagecodecs``."""

import math
import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from data_prep.dicom.fragments import frame_streams, is_item
from data_prep.dicom.header_values import code_string, integer
from data_prep.dicom.jpeg_markers import END_MARKER, find_image_end, is_high_throughput, is_jpeg_ls, read_image_size
from data_prep.dicom.pixel_element import PixelElement
from data_prep.errors import FilmReject, Reason
from data_prep.shard_format.htj2k import decode_htj2k
from data_prep.shard_format.sidecar import Provenance

_HEAD_BYTES = 64
_RLE_HEADER_BYTES = 64
_FILLER_BYTES = 4096
"""More than the coded data of any block, so that a decoder that lacks some takes these for them."""


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


Codec: TypeAlias = Callable[[bytes, Frame], NDArray[Any]]
"""Decodes the stream of one frame."""


def read_frame(
    pixels: PixelElement, transfer_syntax: str | None, frame: Frame, index: int = 0, frames: int = 1
) -> tuple[NDArray[Any], list[Provenance]]:
    """Decode one frame; where transfer syntax and pixel data contradict each other, the pixel data decide.

    Args:
        pixels: pixel data of all frames.
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
    if transfer_syntax not in _NATIVE and transfer_syntax not in _ENCAPSULATED:
        raise FilmReject(Reason.TRANSFER_SYNTAX)
    notes: list[Provenance] = []
    streams = _streams(pixels, frame, frames)
    if streams is None:
        if transfer_syntax not in _NATIVE:
            notes.append("syntax_contradicted")
        words = _read_native(pixels, frame, _NATIVE.get(transfer_syntax or "", "<"), index, frames, notes)
    else:
        if len(streams) > frames:
            notes.append("frames_ignored")
        words = _decode_stream(streams[index], transfer_syntax, frame, notes)
    if words.ndim == 3 and words.shape[2] == 1:
        words = words[:, :, 0]
    if words.shape[:2] != (frame.rows, frame.columns) or words.dtype.kind not in "iu" or words.dtype.itemsize > 2:
        raise FilmReject(Reason.CORRUPT_PIXELS)
    return words, notes


def _streams(pixels: PixelElement, frame: Frame, frames: int) -> list[bytes] | None:
    """The codestreams of all frames; None for native pixels.

    Raises:
        FilmReject: fragments that belong to another number of frames.
    """
    value = pixels.value
    if is_item(value):
        try:
            return frame_streams(pixels.data[: pixels.start + len(value)], pixels.start, frames)
        except ValueError:
            raise FilmReject(Reason.CORRUPT_PIXELS) from None
    is_short = len(value) < frame.rows * frame.columns * frame.samples * frame.allocated // 8
    return [bytes(value)] if is_short and frames == 1 and _codec_of(bytes(value[:_HEAD_BYTES]), frame) else None


def _decode_stream(stream: bytes, transfer_syntax: str | None, frame: Frame, notes: list[Provenance]) -> NDArray[Any]:
    declared, found = _ENCAPSULATED.get(transfer_syntax or ""), _codec_of(stream, frame)
    codec = declared or found
    if found is not None and declared is not found and (declared, found) != (_jpeg_2000, _htj2k):
        notes.append("syntax_contradicted")
        codec = found
    if codec is None:
        raise FilmReject(Reason.CORRUPT_PIXELS)
    if codec in _WITH_JPEG_MARKERS:
        stream = _trim_to_image(stream, frame, codec, notes)
    return codec(stream, frame)


def _codec_of(stream: bytes, frame: Frame) -> "Codec | None":
    """The codec that a stream names by itself; None if it names none."""
    stream = stream.lstrip(b"\xff") if stream.startswith(b"\xff\xff") else stream
    stream = b"\xff" + stream if stream[:1] == b"\xd8" else stream
    if stream.startswith(b"\xff\xd8"):
        return _jpeg_ls if is_jpeg_ls(stream) else _jpeg
    if stream.startswith((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP")):
        return _htj2k if is_high_throughput(stream) else _jpeg_2000
    if stream.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL")):
        return _jpeg_xl
    segments = struct.pack("<2L", frame.samples * frame.allocated // 8, _RLE_HEADER_BYTES)
    return _rle if stream.startswith(segments) else None


def _trim_to_image(stream: bytes, frame: Frame, codec: "Codec", notes: list[Provenance]) -> bytes:
    """Remove bytes before and after the image from a stream of the JPEG family, and check that the image is complete.

    Several codecs decode truncated streams without an error.

    Raises:
        FilmReject: the stream is truncated, or its size differs from the header.
    """
    while stream.startswith(b"\xff\xff"):  # fill bytes
        stream = stream[1:]
    try:
        if read_image_size(stream) != (frame.rows, frame.columns):
            raise ValueError("the size differs from the header")
        try:
            end = find_image_end(stream)
        except ValueError:
            stream = _with_end(stream, frame, codec)
            end = len(stream)
            notes.append("image_end_missing")
    except (ValueError, IndexError):
        raise FilmReject(Reason.CORRUPT_PIXELS) from None
    if stream[end:].strip(b"\0\xff"):
        notes.append("bytes_behind_image")
    return stream[:end]


def _with_end(stream: bytes, frame: Frame, codec: "Codec") -> bytes:
    """Add the end marker to a stream whose coded data are complete.

    Decoders go on with what follows coded data that are not: then the image depends on it.

    Raises:
        ValueError: they are not complete.
    """
    if codec is _jpeg_ls:  # CharLS refuses coded data that end too early or too late
        return _first_decodable([stream + END_MARKER, stream.rstrip(b"\0") + END_MARKER], frame, codec)
    ended = [stream + filler * _FILLER_BYTES + END_MARKER for filler in (b"\0", b"\x55", b"\xb6")]
    try:
        images = [codec(data, frame) for data in ended]
    except Exception:  # codecs raise errors of any type
        raise ValueError("the coded data are damaged") from None
    if not all(np.array_equal(images[0], image) for image in images[1:]):
        raise ValueError("the coded data are not complete")
    return ended[0]


def _first_decodable(streams: Sequence[bytes], frame: Frame, codec: "Codec") -> bytes:
    for stream in streams:
        try:
            codec(stream, frame)
        except Exception:  # codecs raise errors of any type
            continue
        return stream
    raise ValueError("the coded data are damaged or not complete")


def _read_native(
    pixels: PixelElement, frame: Frame, order: str, index: int, frames: int, notes: list[Provenance]
) -> NDArray[Any]:
    data = pixels.value
    dtype = np.dtype(f"{order}u{frame.allocated // 8}")
    count = frame.rows * frame.columns * frame.samples
    size = count * dtype.itemsize
    is_subsampled = frame.photometric.endswith("_422") and len(data) < size * frames
    if is_subsampled:
        count, size = count // 3 * 2, size // 3 * 2
    if frames == 1 and len(data) >= 2 * size and len(data) % size <= 1:
        notes.append("frames_ignored")
    elif not size * frames <= len(data) < size * (frames + 1):
        raise FilmReject(Reason.CORRUPT_PIXELS)
    if order == ">" and frame.allocated == 8 and pixels.is_of_words:  # PS3.5 7.3: the first pixel is the low byte
        data = memoryview(np.frombuffer(data[: len(data) // 2 * 2], ">u2").astype("<u2").tobytes())
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
_ENCAPSULATED: dict[str, Codec] = {
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
_WITH_JPEG_MARKERS = frozenset({_jpeg, _jpeg_ls, _jpeg_2000, _htj2k})
"""Codecs whose streams have markers of the JPEG family."""
