"""Whether a file holds what its format needs and not a byte more: tar and Parquet. Names no values.

A text could hide in a tar header, behind its end or between the pages of a table; none
of this is seen by a program that only reads the contents.
"""

import io
import re
import tarfile
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

_BLOCK = tarfile.BLOCKSIZE
_END = 2 * _BLOCK

_WRITER = re.compile(r"parquet-cpp-arrow version \d{1,3}\.\d{1,3}\.\d{1,3}")
_MAGIC = 4


class Member(NamedTuple):
    """A member of a tar: its name, and where its bytes lie."""

    name: str
    offset: int
    size: int


def tar_members(tar: BinaryIO, size: int, problems: list[str]) -> Iterator[Member]:
    """Members of a tar of ``size`` bytes, every header compared with the one that name and size alone give.

    What is wrong is added to ``problems``; a header that cannot be read ends the walk.
    """
    place = 0
    while True:
        tar.seek(place)
        header = tar.read(_BLOCK)
        if len(header) < _BLOCK or not any(header):
            break
        try:
            told = tarfile.TarInfo.frombuf(header, "ascii", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError):
            problems.append("a tar header is damaged")
            return
        if header != _header(told.name, told.size):
            problems.append("a tar header holds more than name and size")
        yield Member(told.name, place + _BLOCK, told.size)
        padding = -told.size % _BLOCK
        tar.seek(place + _BLOCK + told.size)
        if any(tar.read(padding)):
            problems.append("bytes stand behind a member")
        place += _BLOCK + told.size + padding
    tar.seek(place)
    rest = tar.read()
    expected = _END + -(place + _END) % tarfile.RECORDSIZE
    if any(rest) or len(rest) != expected or place + len(rest) != size:
        problems.append("bytes stand behind the last member")


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)  # owner, group and time are 0
    info.size, info.mode = size, 0o644
    return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


def parquet_problems(data: bytes, *schemas: pa.Schema) -> Iterator[str]:
    """What of a Parquet file is more than the columns of one of ``schemas``: metadata, other bytes, another writer."""
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
    place = _MAGIC
    for start, length in sorted(
        (_start(one), one.total_compressed_size) for one in chunks if one.total_compressed_size
    ):
        if start != place:
            yield "bytes stand between the pages of the table"
            return
        place = start + length
    footer = int.from_bytes(data[-8:-4], "little")
    if place + footer + 8 != len(data) or data[:_MAGIC] != b"PAR1":
        yield "bytes stand between the pages of the table"


def _start(chunk: Any) -> int:
    return int(chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset)
