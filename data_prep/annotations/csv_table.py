"""CSV tables as public sets and spreadsheets have them: comma, semicolon or tab, with a byte order mark, gzipped."""

import csv
import difflib
import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from data_prep.errors import ArchiveError

_SEPARATORS = ",;\t"


def csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, cells without surrounding blanks) of all lines but empty ones; the first is the header, if there is one.

    Raises:
        ArchiveError: the table does not exist, cannot be read, or is no CSV in UTF-8.
    """
    try:
        with _opened(path) as file:
            head = file.readline()
            separator = max(_SEPARATORS, key=head.count)  # the first of equals: a single column has none
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
    """(line, column → cell) of a table with a header line. Missing cells at the end of a line are empty.

    Raises:
        ArchiveError: as for :func:`csv_rows`, a needed column is missing, or a line has more cells than the header.
    """
    rows = csv_rows(path)
    _, header = next(rows, (1, []))
    while header and not header[-1]:
        header.pop()
    for name in needed:
        if name not in header:
            near = difflib.get_close_matches(
                name, header, 1
            )  # further cells may be values: of a table without a header
            hint = f"; is it {near[0]!r}?" if near else f" among the {len(header)} of its first line"
            raise ArchiveError(f"the table {path} has no column {name!r}{hint}")
    if len(set(header)) < len(header):
        raise ArchiveError(f"the table {path} has a column twice; rename one of them")
    for line, cells in rows:
        if any(cells[len(header) :]):
            raise ArchiveError(f"the table {path}, line {line}: {len(cells)} cells, but the header has {len(header)}")
        yield line, dict(zip(header, [*cells, *[""] * (len(header) - len(cells))], strict=False))


def csv_header(path: Path) -> list[str]:
    """The first line of a table; empty where it is none. Recognises a data set."""
    try:
        return next(csv_rows(path), (1, []))[1]
    except ArchiveError:
        return []


def _opened(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")
