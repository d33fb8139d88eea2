"""Deflated objects (PS3.5 A.5) unpacked up to a limit: a few kilobytes can stand for any number of gigabytes."""

import io
import zlib
from typing import Any

from pydicom.filereader import read_dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

_DEFLATED = str(DeflatedExplicitVRLittleEndian).encode()
_PLAIN = str(ExplicitVRLittleEndian).encode().ljust(len(_DEFLATED), b"\0")
_PREAMBLE = 132
_META_BYTES = 2**16


def may_be_deflated(head: bytes) -> bool:
    """Whether the first bytes of a file, its meta information among them, name the deflated transfer syntax."""
    return head[128:_PREAMBLE] == b"DICM" and _DEFLATED in head


def inflated(data: bytes, most: int) -> tuple[bytes, bool]:
    """A DICOM file, plain where it was deflated, and whether that is all of it.

    Args:
        data: the file; one that is not deflated comes back as it is.
        most: bytes of the data set that are unpacked.

    Raises:
        zlib.error: the data set is damaged.
        Exception: whatever pydicom raises on damaged meta information.
    """
    if not may_be_deflated(data[:_META_BYTES]):
        return data, True
    head = io.BytesIO(data[:_META_BYTES])
    head.seek(_PREAMBLE)
    meta = read_dataset(head, is_implicit_VR=False, is_little_endian=True, stop_when=_behind_meta)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return data, True
    start = head.tell()
    unpacking = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = unpacking.decompress(memoryview(data)[start:], most)
    return data[:start].replace(_DEFLATED, _PLAIN) + plain, not unpacking.unconsumed_tail


def _behind_meta(tag: Any, _: str | None, __: int) -> bool:
    return int(tag) >> 16 != 2
