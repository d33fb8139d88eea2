"""Decodes a file of an archive to the stored values of its film, before the Modality LUT."""

import io
from dataclasses import dataclass, field
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image

from data_prep.dicom.deflated import inflate_dataset
from data_prep.dicom.header_values import code_string, integer, photometric_of
from data_prep.dicom.hidden_pixels import find_hidden_pixels
from data_prep.dicom.lookup_table import read_palette
from data_prep.dicom.pixel_element import read_to_pixels
from data_prep.dicom.stored_bits import place_bits
from data_prep.dicom.transfer_syntax import Frame, read_frame
from data_prep.errors import FilmReject, Reason
from data_prep.runtime.library_warnings import silence_libraries
from data_prep.shard_format.film_codec import MAX_PIXELS
from data_prep.shard_format.sidecar import Provenance

MIN_SIDE, MAX_SIDE = 16, 65_535
MAX_INFLATED_BYTES = 2 * MAX_PIXELS + 2**26
"""Bytes of an inflated data set: the largest film and a header."""

GREY_TOLERANCE = 16 / 255
"""Fraction of the range by which the channels of a grey film may differ: JPEG noise, the tint of a print."""
MAX_COLOURED_FRACTION = 0.002
"""Fraction of the pixels that may differ more, since a small coloured mark does not make a colour film."""

_SAMPLING_STEP_PIXELS = 50
"""Distance in rows and columns of the pixels that are checked first for a constant film."""
_PNG_DEPTH_BYTE = 24
"""Offset of the bit depth in the IHDR chunk (PNG specification, section 11.2.1)."""


@dataclass(frozen=True)
class StoredFilm:
    """A decoded film.

    Attributes:
        values: [rows, columns] int16 or uint16 stored values, with the EXIF orientation applied.
        bits: number of bits of the values, including the sign.
        hidden: [rows, columns] True for padding and behind the shutter; None if all pixels are visible.
        header: DICOM data set without pixels; None for PNG and JPEG.
        notes: provenance codes of the decisions in decoding.
    """

    values: NDArray[np.int16] | NDArray[np.uint16]
    bits: int
    hidden: NDArray[np.bool_] | None
    header: pydicom.Dataset | None
    notes: list[Provenance] = field(default_factory=list)

    @property
    def signed(self) -> bool:
        """Whether the values can be negative."""
        return bool(self.values.dtype == np.int16)

    def visible(self, values: NDArray[Any]) -> NDArray[Any]:
        """Select the pixels of ``values`` [rows, columns] that are not hidden, as [N]."""
        return values.reshape(-1) if self.hidden is None else values[~self.hidden]


def decode(
    data: bytes,
    *,
    source: str,
    transfer_syntax: str | None = None,
    orientation: int = 1,
    frame: int = 0,
    frames: int = 1,
) -> StoredFilm:
    """Decode one frame of a file.

    Args:
        data: bytes of the file.
        source: dicom, png or jpeg.
        transfer_syntax: UID, for DICOM.
        orientation: EXIF orientation, 1 to 8, for PNG and JPEG.
        frame: number of the frame, from 0, for DICOM.
        frames: number of frames of the file.

    Raises:
        FilmReject: the file is no film; with the reason.
    """
    try:
        with silence_libraries():
            if source == "dicom":
                film = _decode_dicom(data, transfer_syntax, frame, frames)
            else:
                film = _decode_image(data, source, orientation)
    except (FilmReject, MemoryError):
        raise
    except Exception:  # codecs raise exceptions of any type on damaged data
        raise FilmReject(Reason.CORRUPT_PIXELS) from None
    if _is_constant(film):
        raise FilmReject(Reason.CONSTANT)
    return film


def _is_constant(film: StoredFilm) -> bool:
    """Whether all visible pixels are equal, or none is visible; a sample of pixels decides for nearly every film."""
    for step in (_SAMPLING_STEP_PIXELS, 1):
        visible_values = film.values[::step, ::step]
        if film.hidden is not None:
            visible_values = visible_values[~film.hidden[::step, ::step]]
        if visible_values.size and visible_values.min() < visible_values.max():
            return False
    return True


def _decode_dicom(data: bytes, transfer_syntax: str | None, index: int, frames: int) -> StoredFilm:
    data, is_complete = inflate_dataset(data, MAX_INFLATED_BYTES)
    if not is_complete:
        raise FilmReject(Reason.TOO_LARGE)
    header, pixels = read_to_pixels(data)
    _correct_photometric(header)
    frame = Frame.of(header)
    if min(frame.rows, frame.columns) < 1:  # the scan read them: pydicom drops the header of a truncated file
        raise FilmReject(Reason.CORRUPT_PIXELS)
    _check_size(frame.rows, frame.columns)
    if pixels is None:
        has_float_pixels = "FloatPixelData" in header or "DoubleFloatPixelData" in header
        raise FilmReject(Reason.PIXEL_LAYOUT if has_float_pixels else Reason.NO_PIXELS)
    if frame.samples not in (1, 3):
        raise FilmReject(Reason.PIXEL_LAYOUT)
    if max(integer(header, "NumberOfFrames", 1), 1) != frames:
        raise FilmReject(Reason.CORRUPT_PIXELS)
    words, notes = read_frame(pixels, transfer_syntax, frame, index, frames)
    if words.ndim == 3:
        words = _to_grey(words, frame.photometric)
        notes.append("colour_stored_grey")
    values, bits, bit_notes = place_bits(words, header)
    hidden, hidden_notes = find_hidden_pixels(values, header)
    notes += bit_notes + hidden_notes
    if frame.photometric == "PALETTE COLOR":
        values, bits = _apply_palette(values, header)
        notes.append("palette_applied")
    return StoredFilm(values, bits, hidden, header, notes)


def _correct_photometric(header: pydicom.Dataset) -> None:
    """Replace a Photometric Interpretation that is missing, misspelt or of colours in a film of one channel."""
    samples = integer(header, "SamplesPerPixel", 1)
    header.PhotometricInterpretation = photometric_of(code_string(header, "PhotometricInterpretation"), samples)


def _apply_palette(indices: NDArray[Any], header: pydicom.Dataset) -> tuple[NDArray[np.uint16], int]:
    """Grey values of a film with a colour palette, and their bits.

    Raises:
        FilmReject: the palette has colours, or is missing or damaged.
    """
    palette = read_palette(header, signed=integer(header, "PixelRepresentation", 0) == 1)
    if palette is None:
        raise FilmReject(Reason.PIXEL_LAYOUT)
    tables, bits = palette
    channels = np.dstack([table(indices) for table in tables])
    return _to_grey(channels if bits == 16 else channels.astype(np.uint8), "RGB").astype(np.uint16), bits


def _decode_image(data: bytes, source: str, orientation: int) -> StoredFilm:
    try:
        image = Image.open(io.BytesIO(data), formats=[source])
    except Image.DecompressionBombError:
        raise FilmReject(Reason.TOO_LARGE) from None
    _check_size(image.height, image.width)
    is_16_bit = source == "png" and data[_PNG_DEPTH_BYTE] == 16
    channels = np.asarray(imagecodecs.png_decode(data)) if is_16_bit else _convert_to_8_bits(image)
    if channels.ndim == 3 and channels.shape[2] in (2, 4):  # transparent pixels show a black background
        opacity = channels[:, :, -1:] / np.float32(65535 if is_16_bit else 255)
        channels = np.rint(channels[:, :, :-1] * opacity).astype(channels.dtype)
    values = channels if channels.ndim == 2 else channels[:, :, 0] if channels.shape[2] == 1 else _to_grey(channels)
    stored: NDArray[np.uint16] = np.ascontiguousarray(apply_orientation(values, orientation), dtype=np.uint16)
    return StoredFilm(stored, 16 if is_16_bit else 8, None, None)


def _convert_to_8_bits(image: Image.Image) -> NDArray[np.uint8]:
    """[rows, columns] or [rows, columns, channels] with palettes and 1-bit images converted."""
    transparent = "A" in image.getbands() or "transparency" in image.info
    if image.mode in ("1", "L", "LA"):
        return np.asarray(image.convert("LA" if transparent else "L"))
    return np.asarray(image.convert("RGBA" if transparent else "RGB"))


def apply_orientation(values: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Apply an EXIF orientation (EXIF 2.32, tag 0x0112), so that the image is upright.

    Args:
        values: [rows, columns] pixels of the file.
        orientation: 1 to 8; 5 to 8 exchange rows and columns.

    Returns:
        A view of ``values``.
    """
    if orientation >= 5:
        values = values.T
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


def _check_size(rows: int, columns: int) -> None:
    if min(rows, columns) < MIN_SIDE:
        raise FilmReject(Reason.TOO_SMALL)
    if rows * columns > MAX_PIXELS or max(rows, columns) > MAX_SIDE:
        raise FilmReject(Reason.TOO_LARGE)


def _to_grey(channels: NDArray[Any], photometric: str = "RGB") -> NDArray[Any]:
    """Convert to grey: the luminance, or the mean of red, green and blue.

    A codec may have converted luminance and chrominance to RGB, although the header declares YBR.

    Raises:
        FilmReject: the film has colours.
    """
    if photometric.startswith("YBR"):
        neutral = 2 ** (8 * channels.dtype.itemsize - 1)
        if _agrees(np.abs(channels[:, :, 1:].astype(np.int32) - neutral).max(axis=2).astype(channels.dtype)):
            return channels[:, :, 0]
    red, green, blue = (channels[:, :, place] for place in range(3))
    if np.array_equal(red, green) and np.array_equal(green, blue):
        return green
    if not _agrees(channels.max(axis=2) - channels.min(axis=2)):
        raise FilmReject(Reason.COLOUR)
    return np.asarray(np.rint(channels.mean(axis=2, dtype=np.float32)), dtype=channels.dtype)


def _agrees(difference: NDArray[Any]) -> bool:
    tolerance = GREY_TOLERANCE * np.iinfo(difference.dtype).max
    return bool(np.count_nonzero(difference > tolerance) <= MAX_COLOURED_FRACTION * difference.size)
