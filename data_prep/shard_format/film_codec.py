"""Image codecs of the films in a shard: lossless HTJ2K, lossless PNG, or JPEG. Imported by ``mae_rad``.

======  ================================================================================================
htj2k   JPEG 2000 part 15, reversible, RPCL progression and tile-part lengths, as transfer syntax
        1.2.840.10008.1.2.4.202 requires: lossless, half or quarter size from a part of the bytes. Never
        irreversible: that transform wraps around at the top of the range.
png     16 bits: lossless, readable everywhere, larger and slower; a smaller size needs a full decoding.
jpeg    8 bits of the displayed film: small, readable everywhere; other windows cannot be applied later.
======  ================================================================================================
"""

import struct
from typing import Literal

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray

from data_prep.shard_format.htj2k import decode_htj2k

Codec = Literal["htj2k", "png", "jpeg"]

MAX_BITS = 15
"""Most significant bits of a shard value. Reduced decoding slightly exceeds the range at both ends, and the 16th bit
distinguishes overshoots from undershoots."""
MAX_PIXELS = 175_000_000
"""Of a film that is decoded, five times a stitched image of the whole spine: a small stream can declare many more."""
JPEG_QUALITY = 95
"""Quality setting of libjpeg, 0 to 100."""

_LEVELS = 5
"""Number of wavelet decompositions, and largest reduction."""
_MIN_UNDERSHOOT = 3 << 14
"""Reduced values from this one on are undershoots of zero that have wrapped around; overshoots of 15 bits are less."""
_NO_FRAME_HEADERS = (0x4, 0x8, 0xC)
"""Of the markers from SOF0 on: DHT, JPG and DAC."""
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_JPEG_REDUCED = (
    cv2.IMREAD_GRAYSCALE,
    cv2.IMREAD_REDUCED_GRAYSCALE_2,
    cv2.IMREAD_REDUCED_GRAYSCALE_4,
    cv2.IMREAD_REDUCED_GRAYSCALE_8,
)


def encode_film(values: NDArray[np.uint16], codec: Codec = "htj2k") -> bytes:
    """Encode the shard values of a film.

    Args:
        values: [rows, columns] of at most 15 significant bits; 8 for jpeg.
        codec: htj2k, png or jpeg.

    Raises:
        ValueError: ``values`` is no two-dimensional uint16 array, is empty, or has a value of too many bits.
    """
    if values.ndim != 2 or values.dtype != np.uint16 or values.size == 0:
        raise ValueError(f"a film is a two-dimensional uint16 array, not {values.dtype} of shape {values.shape}")
    bits = 8 if codec == "jpeg" else MAX_BITS
    if int(values.max()) >> bits:
        raise ValueError(f"a film has at most {bits} significant bits as {codec}")
    values = np.ascontiguousarray(values)
    if codec == "png":
        return bytes(imagecodecs.png_encode(values, level=1))
    if codec == "jpeg":
        return bytes(imagecodecs.jpeg8_encode(values.astype(np.uint8), level=JPEG_QUALITY))
    return bytes(imagecodecs.htj2k_encode(values, reversible=True, tlm=True, resolutions=_LEVELS))


def codec_of(stream: bytes) -> Codec:
    """Recognise the codec of a film by its first bytes."""
    if stream.startswith(_PNG):
        return "png"
    return "jpeg" if stream.startswith(_JPEG) else "htj2k"


def stream_shape(stream: bytes) -> tuple[int, int]:
    """Read (rows, columns) from the header of a stream, without decoding it.

    Raises:
        ValueError: the header is damaged.
    """
    try:
        codec = codec_of(stream)
        if codec == "jpeg":
            return _jpeg_shape(stream)
        if codec == "png":
            columns, rows = struct.unpack_from(">II", stream, 16)
        else:  # ISO/IEC 15444-1 A.5.1: SOC, then SIZ
            columns, rows, left, top = struct.unpack_from(">IIII", stream, 8)
            columns, rows = columns - left, rows - top
    except struct.error:
        raise ValueError("the header of a film is cut off") from None
    return rows, columns


def _jpeg_shape(stream: bytes) -> tuple[int, int]:
    """Size in the first frame header (ISO/IEC 10918-1 B.2.2)."""
    place = 2
    while True:
        marker, length = struct.unpack_from(">HH", stream, place)
        if marker & 0xFFF0 == 0xFFC0 and marker & 0xF not in _NO_FRAME_HEADERS:
            rows, columns = struct.unpack_from(">HH", stream, place + 5)
            return rows, columns
        if marker < 0xFF00:
            raise ValueError("damaged JPEG stream")
        place += 2 + length


def decode_film(stream: bytes, *, bits: int, reduction: int = 0) -> NDArray[np.uint16]:
    """Decode a film at full or reduced size.

    The reduced image of HTJ2K is the low-pass band of the wavelet transform, not an area mean. At sharp edges it
    exceeds the range, by up to a fifth as measured: overshoots are clipped to the largest value, undershoots, which the
    decoder wraps around, to 0. The reduced image of JPEG has the low frequencies of its blocks, that of PNG the area
    mean.

    Args:
        stream: encoded film.
        bits: bits of a shard value, 1 to 15.
        reduction: n divides each side by 2**n; 0 is the full size.

    Returns:
        [ceil(rows / 2**reduction), ceil(columns / 2**reduction)] uint16 in ``[0, 2**bits)``.

    Raises:
        ValueError: the header is damaged, or declares too many pixels.
        Exception: whatever the codec raises on damaged streams.
    """
    rows, columns = stream_shape(stream)
    if not 0 < rows * columns <= MAX_PIXELS or min(rows, columns) < 1:
        raise ValueError("a film of too many pixels")
    codec = codec_of(stream)
    if codec == "htj2k":
        return _decode_htj2k(stream, bits, reduction)
    if codec == "png":
        return _halve(np.asarray(imagecodecs.png_decode(stream)), reduction)
    level = min(reduction, len(_JPEG_REDUCED) - 1)
    decoded = cv2.imdecode(np.frombuffer(stream, np.uint8), _JPEG_REDUCED[level])
    if decoded is None:
        raise ValueError("damaged JPEG stream")
    return _halve(decoded.astype(np.uint16), reduction - level)


def reduction_for(rows: int, columns: int, target_rows: int, target_columns: int) -> int:
    """Compute the largest reduction whose image is at least as large as the target in both directions.

    The reduction changes results, so training, embedding and prediction all use this function.

    Args:
        rows, columns: size of the stored film in pixels.
        target_rows, target_columns: size that is needed, in pixels.
    """
    reduction = 0
    while (
        reduction < _LEVELS
        and -(-rows // 2 ** (reduction + 1)) >= target_rows
        and -(-columns // 2 ** (reduction + 1)) >= target_columns
    ):
        reduction += 1
    return reduction


def _decode_htj2k(stream: bytes, bits: int, reduction: int) -> NDArray[np.uint16]:
    decoded = np.asarray(decode_htj2k(stream, skipres=reduction or None), dtype=np.uint16)
    if reduction == 0:
        return decoded
    below = decoded >= _MIN_UNDERSHOOT
    clipped = np.minimum(decoded, np.uint16(2**bits - 1))
    if below.any():
        clipped[below] = 0
    return clipped


def _halve(values: NDArray[np.uint16], times: int) -> NDArray[np.uint16]:
    """The area mean, with each side halved ``times`` times and rounded up."""
    if times == 0:
        return values
    rows, columns = (-(-side // 2**times) for side in values.shape)
    return np.asarray(cv2.resize(values, (columns, rows), interpolation=cv2.INTER_AREA), dtype=np.uint16)
