"""Read CSV tables separated by comma, semicolon or tab, in UTF-8 with or without byte order mark, also gzipped."""

import csv
import difflib
import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from data_prep.errors import ArchiveError

_SEPARATORS = ",;\t"


def read_csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Read all lines that are not empty.

    Yields:
        (line number from 1, cells without surrounding white space).

    Raises:
        ArchiveError: the table does not exist, cannot be read, or is not valid CSV in UTF-8.
    """
    try:
        with _open_text(path) as file:
            header_line = file.readline()
            separator = max(_SEPARATORS, key=header_line.count)  # with a single column: the first separator
            file.seek(0)
            reader = csv.reader(file, delimiter=separator, strict=True)
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield reader.line_num, [cell.strip() for cell in cells]
    except FileNotFoundError:
        raise ArchiveError(f"the table {path} is missing; put it there, as the set has it") from None
    except (UnicodeDecodeError, csv.Error):
        raise ArchiveError(f"the table {path} is not valid CSV in UTF-8; export it again as CSV UTF-8") from None
    except (OSError, EOFError) as error:
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


def _open_text(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")
