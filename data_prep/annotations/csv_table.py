"""Read CSV tables separated by comma, semicolon or tab, in UTF-8 with or without byte order mark, also gzipped.

A row has at most MAX_ROW_CHARACTERS, and a gzipped table may not expand like a decompression bomb.
"""

import csv
import difflib
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, BinaryIO

from data_prep.bounded_reading import open_regular
from data_prep.errors import ArchiveError
from data_prep.runtime.csv_text import plain_cell

_SEPARATORS = ",;\t"
MAX_ROW_CHARACTERS = 2**24
_MAX_EXPANSION = 256
"""Characters per byte of a gzipped table; tables of files and labels reach 50."""
_MIN_EXPANDED = 2**26
"""Characters that any gzipped table may have."""
csv.field_size_limit(MAX_ROW_CHARACTERS)


class _Lines:
    """The lines of a table, within bounds.

    Args:
        file: open at its beginning.
        most: characters that the file may have.
        path: for messages.
    """

    def __init__(self, file: IO[str], most: float, path: Path) -> None:
        self._file, self._most, self._path = file, most, path
        self._read = 0
        self.row_characters = 0
        """Characters since the last complete row; a row may span lines."""

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._file.readline(MAX_ROW_CHARACTERS + 1)
        self.row_characters += len(line)
        self._read += len(line)
        if self.row_characters > MAX_ROW_CHARACTERS:
            raise ArchiveError(f"the table {self._path} has a row of more than {MAX_ROW_CHARACTERS:,} characters")
        if self._read > self._most:
            raise ArchiveError(f"the table {self._path} expands to too much; give it unpacked")
        if not line:
            raise StopIteration
        return line


def read_csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Read all lines that are not empty.

    Yields:
        (line number from 1, cells without surrounding white space).

    Raises:
        ArchiveError: the table does not exist, cannot be read, or is not valid CSV in UTF-8.
    """
    try:
        with open_regular(path) as packed, _as_text(packed, path) as file:
            header_line = file.readline(MAX_ROW_CHARACTERS)
            separator = max(_SEPARATORS, key=header_line.count)  # with a single column: the first separator
            file.seek(0)
            lines = _Lines(file, _most_characters(path), path)
            reader = csv.reader(lines, delimiter=separator, strict=True)
            for cells in reader:
                lines.row_characters = 0
                if any(cell.strip() for cell in cells):
                    yield reader.line_num, [plain_cell(cell.strip()) for cell in cells]
    except FileNotFoundError:
        raise ArchiveError(f"the table {path} is missing; put it there, as the set has it") from None
    except (UnicodeDecodeError, csv.Error):
        raise ArchiveError(f"the table {path} is not valid CSV in UTF-8; export it again as CSV UTF-8") from None
    except (OSError, EOFError, zlib.error) as error:
        problem = getattr(error, "strerror", None) or "damaged"
        raise ArchiveError(f"the table {path} cannot be read ({problem})") from None


def csv_table(path: Path, needed: Sequence[str] = ()) -> Iterator[tuple[int, dict[str, str]]]:
    """Read a table with a header line.

    Args:
        path: of the table.
        needed: columns that must be in the header.

    Yields:
        (line number from 1, column → cell); missing cells at the end of a line are empty.

    Raises:
        ArchiveError: as for :func:`read_csv_rows`; or a needed column is missing, or a line has more cells than the
            header.
    """
    rows = read_csv_rows(path)
    _, header = next(rows, (1, []))
    while header and not header[-1]:
        header.pop()
    for name in needed:
        if name not in header:
            # only similar names are quoted: without a header line the cells are values
            similar = difflib.get_close_matches(name, header, 1)
            hint = f"; is it {similar[0]!r}?" if similar else f" among the {len(header)} of its first line"
            raise ArchiveError(f"the table {path} has no column {name!r}{hint}")
    if len(set(header)) < len(header):
        raise ArchiveError(f"the table {path} has a column twice; rename one of them")
    for line, cells in rows:
        if any(cells[len(header) :]):
            raise ArchiveError(f"the table {path}, line {line}: {len(cells)} cells, but the header has {len(header)}")
        yield line, dict(zip(header, [*cells, *[""] * (len(header) - len(cells))], strict=False))


def read_csv_header(path: Path) -> list[str]:
    """Return the first line of a table; empty if the file is no valid table. Identifies data sets."""
    try:
        return next(read_csv_rows(path), (1, []))[1]
    except ArchiveError:
        return []


def _as_text(file: BinaryIO, path: Path) -> IO[str]:
    data = gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
    return io.TextIOWrapper(data, encoding="utf-8-sig", newline="")


def _most_characters(path: Path) -> float:
    return max(_MIN_EXPANDED, _MAX_EXPANSION * path.stat().st_size) if path.suffix == ".gz" else float("inf")
