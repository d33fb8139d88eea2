"""Inflates deflated data sets (PS3.5 A.5) up to a limit, since a few kilobytes can expand to gigabytes."""

import io
import zlib
from typing import Any

from pydicom.filereader import read_dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

_DEFLATED = str(DeflatedExplicitVRLittleEndian).encode()
_NOT_DEFLATED = str(ExplicitVRLittleEndian).encode().ljust(len(_DEFLATED), b"\0")
_FIRST_VRS = (b"UL", b"UI", b"CS", b"DA")
"""VRs of the elements that a data set begins with."""
_META_OFFSET = 132
_META_BYTES = 2**16


def may_be_deflated(head: bytes) -> bool:
    """Whether the first bytes of a file, including its meta information, contain the deflated transfer syntax."""
    return head[128:_META_OFFSET] == b"DICM" and _DEFLATED in head


def inflate_dataset(data: bytes, max_bytes: int) -> tuple[bytes, bool]:
    """Inflate the data set of a DICOM file.

    Args:
        data: the file.
        max_bytes: largest number of bytes to inflate.

    Returns:
        The file with an uncompressed data set, unchanged if it is not deflated, and whether it is complete.

    Raises:
        zlib.error: the data set is damaged.
        Exception: pydicom fails on damaged meta information.
    """
    if not may_be_deflated(data[:_META_BYTES]):
        return data, True
    head = io.BytesIO(data[:_META_BYTES])
    head.seek(_META_OFFSET)
    meta = read_dataset(head, is_implicit_VR=False, is_little_endian=True, stop_when=_is_after_meta)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return data, True
    dataset_offset = head.tell()
    decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = decompressor.decompress(memoryview(data)[dataset_offset:], max_bytes)
    except zlib.error:
        if data[dataset_offset + 4 : dataset_offset + 6] in _FIRST_VRS:  # it was never deflated
            return data[:dataset_offset].replace(_DEFLATED, _NOT_DEFLATED) + data[dataset_offset:], True
        raise
    return data[:dataset_offset].replace(_DEFLATED, _NOT_DEFLATED) + inflated, not decompressor.unconsumed_tail


def _is_after_meta(tag: Any, _: str | None, __: int) -> bool:
    return int(tag) >> 16 != 2
