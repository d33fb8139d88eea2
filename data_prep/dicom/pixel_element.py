"""Read the data set of a DICOM file up to its pixel data, and where their value lies."""

import io
from typing import NamedTuple

from pydicom.dataset import Dataset
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag

from data_prep.dicom.repair import dicom_start, without_damage

_PIXEL_DATA = 0x7FE00010
_OTHER_PIXELS = (0x7FE00008, 0x7FE00009)
"""Float Pixel Data, Double Float Pixel Data."""
_OPEN = 0xFFFFFFFF
_MIN_DEFERRED_BYTES = 2**20
"""Elements of at least this size are not copied from the file."""


class PixelElement(NamedTuple):
    """The value of Pixel Data in a file.

    Attributes:
        data: the file.
        start: offset of the value, or of its first item.
        length: in bytes; None for items, whose end is not stated.
        is_of_words: whether its VR is OW: words of two bytes, whose order depends on the transfer syntax.
    """

    data: bytes
    start: int
    length: int | None
    is_of_words: bool = False

    @property
    def value(self) -> memoryview:
        """All bytes of the value; to the end of the file if the length is open."""
        end = len(self.data) if self.length is None else self.start + self.length
        return memoryview(self.data)[self.start : end]


def read_to_pixels(data: bytes) -> tuple[Dataset, PixelElement | None]:
    """Read all elements before the pixel data; what follows them is not looked at.

    Args:
        data: a file that is not deflated.

    Returns:
        The elements, and the pixel data; None if there are none.

    Raises:
        Exception: pydicom fails on a damaged file.
    """
    data = data[max(dicom_start(data), 0) :]
    sequences: list[int] = []
    try:
        header, pixels = _read(data, sequences)
        if pixels is not None or header.keys() & set(_OTHER_PIXELS):
            return header, pixels
    except Exception:
        return without_damage(data, sequences, _sound)
    try:
        return without_damage(data, sequences, _sound)
    except EOFError:
        return header, None


def _sound(data: bytes) -> tuple[Dataset, PixelElement | None]:
    header, pixels = _read(data, [])
    if pixels is None or "Rows" not in header:
        raise EOFError
    return header, pixels


def _read(data: bytes, sequences: list[int]) -> tuple[Dataset, PixelElement | None]:
    """As :func:`read_to_pixels`; offsets of top-level sequences are added to ``sequences``."""
    file = io.BytesIO(data)
    pixels: PixelElement | None = None

    def is_pixel_data(tag: BaseTag, vr: str | None, length: int) -> bool:
        nonlocal pixels
        value = file.tell()
        if tag == _PIXEL_DATA:
            pixels = PixelElement(data, value, None if length == _OPEN else length, vr in ("OW", None))
            return True
        if vr == "SQ" or length == _OPEN or (vr in (None, "UN") and length):
            sequences.append(value - (12 if vr is not None else 8))
        return int(tag) > _PIXEL_DATA

    header = read_partial(file, is_pixel_data, defer_size=_MIN_DEFERRED_BYTES, force=True)
    if pixels is not None and pixels.length is not None and pixels.start + pixels.length > len(data):
        pixels = pixels._replace(length=len(data) - pixels.start)
    return header, pixels
