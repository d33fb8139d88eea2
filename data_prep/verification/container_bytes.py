"""Find bytes of tar and Parquet files beyond what their contents need.

Text can be stored in a tar header, behind the end of the tar or between the pages of a table, where a reader of the
contents does not find it. Problems quote no values.
"""

import io
import re
import tarfile
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

_BLOCK = tarfile.BLOCKSIZE
_END_SIZE = 2 * _BLOCK
"""Bytes of zeros that end a tar."""

_WRITER = re.compile(r"parquet-cpp-arrow version \d{1,3}\.\d{1,3}\.\d{1,3}")
_MAGIC_SIZE = 4
"""Bytes of ``PAR1`` at both ends of a Parquet file."""


class Member(NamedTuple):
    """A member of a tar.

    Attributes:
        name: file name.
        offset: first byte of its contents in the tar.
        size: bytes of its contents.
    """

    name: str
    offset: int
    size: int


def read_tar_members(tar: BinaryIO, size: int, problems: list[str]) -> Iterator[Member]:
    """Read the members of a tar and compare every header with the one that name and size alone give.

    Args:
        tar: open file.
        size: bytes of the file.
        problems: list to which problems are added.

    Returns:
        Members in their order; a header that cannot be read ends the iteration.
    """
    offset = 0
    while True:
        tar.seek(offset)
        header = tar.read(_BLOCK)
        if len(header) < _BLOCK or not any(header):
            break
        try:
            info = tarfile.TarInfo.frombuf(header, "ascii", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError):
            problems.append("a tar header is damaged")
            return
        if header != _minimal_header(info.name, info.size):
            problems.append("a tar header holds more than name and size")
        yield Member(info.name, offset + _BLOCK, info.size)
        padding = -info.size % _BLOCK
        tar.seek(offset + _BLOCK + info.size)
        if any(tar.read(padding)):
            problems.append("there are bytes behind a member")
        offset += _BLOCK + info.size + padding
    tar.seek(offset)
    end = tar.read()
    expected_size = _END_SIZE + -(offset + _END_SIZE) % tarfile.RECORDSIZE
    if any(end) or len(end) != expected_size or offset + len(end) != size:
        problems.append("there are bytes behind the last member")


def _minimal_header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)  # owner, group and time are 0
    info.size, info.mode = size, 0o644
    return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


def parquet_problems(data: bytes, *schemas: pa.Schema) -> Iterator[str]:
    """Find what a Parquet file holds beyond the columns of a schema: metadata, other bytes, another writer.

    Args:
        data: bytes of the file.
        *schemas: allowed schemas.

    Returns:
        Problems, without values.
    """
    try:
        file = pq.ParquetFile(io.BytesIO(data))
    except pa.ArrowException:
        yield "the table is damaged"
        return
    meta = file.metadata
    if not any(file.schema_arrow.equals(schema) for schema in schemas) or meta.metadata:
        yield "the table has other columns or metadata"
    if not _WRITER.fullmatch(meta.created_by):
        yield "the table was written by another program"
    chunks = [
        meta.row_group(group).column(column)
        for group in range(meta.num_row_groups)
        for column in range(meta.num_columns)
    ]
    offset = _MAGIC_SIZE
    for start, length in sorted(
        (_first_byte(chunk), chunk.total_compressed_size) for chunk in chunks if chunk.total_compressed_size
    ):
        if start != offset:
            yield "there are bytes between the pages of the table"
            return
        offset = start + length
    footer = int.from_bytes(data[-8:-4], "little")
    if offset + footer + 8 != len(data) or data[:_MAGIC_SIZE] != b"PAR1":
        yield "there are bytes between the pages of the table"


def _first_byte(chunk: Any) -> int:
    return int(chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset)
