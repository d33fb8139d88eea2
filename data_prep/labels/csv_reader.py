"""CSV tables of labels and boxes: a header line, then a line per film, finding or box.

A film is named in the column ``sop_instance_uid``, or in ``path`` (absolute, or its last parts); where its file holds
several films, by ``frame`` too, counted from 1. ``reader`` is the name of the reader.

A *long* table of labels has ``label`` and ``value`` (present, absent, uncertain, not_mentioned) or ``number``; if need
be ``source`` (expert, report, metadata) or ``confidence`` (0 to 1). A *wide* one has no column ``label``: every further
column is a label; its cells are 1, 0, -1, yes, no, present, …; an empty cell gives no label.

Boxes have ``label`` and four edges in pixels of the original film as it is shown (upright, where a JPEG has an EXIF
orientation), right and lower end exclusive; or ``polygon``: x and y of three or more points, with blanks between them.
"""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from data_prep.annotations.column_table import CELL_VALUES, box_of
from data_prep.annotations.csv_table import csv_rows
from data_prep.annotations.label_collector import (
    BoxEntry,
    LabelCollector,
    LabelEntry,
    Origin,
    is_empty,
    is_label,
    label_name,
)
from data_prep.annotations.row_problems import Place, RowError, RowSkipped
from data_prep.annotations.upright_boxes import around, too_short
from data_prep.errors import ArchiveError, LabelError
from data_prep.labels.archive_films import PATH_COLUMN, UID_COLUMN, ArchiveFilms
from data_prep.labels.row_counts import RowCount, RowCounts
from data_prep.labels.settings import LabelSettings
from data_prep.shard_format.boxes import Box
from data_prep.shard_format.label_tables import SOURCES, VALUES

Task = Literal["labels", "boxes"]

_OTHER_COLUMNS = ("frame", "source", "confidence")
_POLYGON = "polygon"


class _Row(NamedTuple):
    """A line about a film of the scan."""

    key: str
    size: tuple[int, int] | None
    cells: dict[str, str]
    reader: int | None
    origin: Origin


class CsvReader:
    """Reads the tables of one reader, or of several whom a column names.

    Args:
        films: of the scan.
        collector: of the reader's entries, and of problems.
        counts: of rows.
        settings: names of columns and labels.
    """

    def __init__(
        self, films: ArchiveFilms, collector: LabelCollector, counts: RowCounts, settings: LabelSettings
    ) -> None:
        self._films, self._collector, self._counts, self._settings = films, collector, counts, settings
        self._film_column = ""
        self._used_columns: set[str] = set()

    def read(self, path: Path, task: Task | None) -> int:
        """Read a table of labels or boxes.

        Args:
            path: of the table.
            task: labels or boxes; None finds out from its columns.

        Returns:
            How many rows it has.

        Raises:
            LabelError: it cannot be read, a column is missing, or it is of the other task.
        """
        lines = _lines(path)
        _, header = next(lines, (1, []))
        task = task or ("boxes" if self._has_boxes(header) else "labels")
        self._check_header(path, header, task)
        columns: list[tuple[int, str, str]] = []
        self._used_columns.clear()
        if task == "boxes":
            parse, count = self._box, self._counts.boxes
        elif self._settings.columns.label in header:
            parse, count = self._label, self._counts.labels
        else:
            columns = self._wide_columns(path, header)
            parse, count = lambda row: self._wide(row, columns), self._counts.labels
        read = 0
        for line, cells in lines:
            self._line(Place(path, line), header, cells, parse, count)
            read += 1
        for place, column, _ in columns if read else ():
            if column not in self._used_columns:
                text = f"column {place} is a label and has no value in any row"
                self._collector.problem("column_empty", Place(path, 1), text)
        return read

    def _line(
        self, place: Place, header: Sequence[str], cells: Sequence[str], parse: Callable[[_Row], bool], count: RowCount
    ) -> None:
        """One line; its problem is listed."""
        try:
            if len(cells) != len(header):
                raise RowError(f"{len(cells)} cells, but the header has {len(header)}")
            row = self._row(place, dict(zip(header, cells, strict=True)))
            if not parse(row):
                count.left_out += 1
            elif row.key in self._films.sharded:
                count.used += 1
            else:
                raise RowSkipped("not_in_shards")
        except RowError as error:
            self._collector.problem("row_error", place, str(error))
        except RowSkipped as reason:
            self._collector.problem(str(reason), place)
            count.skip(str(reason))

    def _row(self, place: Place, cells: dict[str, str]) -> _Row:
        name = cells[self._film_column]
        if not name:
            raise RowError(f"the column {self._film_column} is empty; every row names its film")
        reader = cells.get(self._settings.columns.reader, "") or self._collector.reader
        number = self._collector.reader_number(reader)
        film = self._films.find(name, by_uid=self._film_column == UID_COLUMN)
        key = self._films.key(film, _frame(cells.get("frame", ""), self._films.count(film)))
        return _Row(key, self._films.size(film, key), cells, number, Origin(name, place, reader))

    def _label(self, row: _Row) -> bool:
        label = self._name(row.cells[self._settings.columns.label])
        value, number = row.cells.get("value", ""), row.cells.get("number", "")
        if bool(value) == bool(number):
            raise RowError("give either a value or a number")
        if value and value not in VALUES:
            raise RowError(f"value must be one of {', '.join(VALUES)}")
        if label is not None:
            self._add(row, label, value or None, _number(number, "number") if number else None)
        return label is not None

    def _wide(self, row: _Row, columns: Sequence[tuple[int, str, str]]) -> bool:
        """Every cell that has a value; a row with an invalid one is left out."""
        entries: list[tuple[str, str, str | None, float | None]] = []
        for place, column, label in columns:
            cell = row.cells[column]
            if column in self._settings.numbers:
                if cell:
                    entries.append((column, label, None, _number(cell, str(place))))
            elif cell.lower() in VALUES or cell.lower() in CELL_VALUES:
                if (value := CELL_VALUES.get(cell.lower(), cell.lower())) is not None:
                    entries.append((column, label, value, None))
            else:
                raise RowError(
                    f"the cell in column {place} is no value (1, 0, -1, present, absent, uncertain, …);"
                    " numbers=[…] names columns with numbers, rename={column: null} leaves one out"
                )
        for column, label, value, number in entries:
            self._used_columns.add(column)
            self._add(row, label, value, number)
        return True

    def _add(self, row: _Row, label: str, value: str | None, number: float | None) -> None:
        source = row.cells.get("source") or "expert"
        if source not in SOURCES:
            raise RowError(f"source must be one of {', '.join(SOURCES)}")
        confidence = _number(row.cells["confidence"], "confidence") if row.cells.get("confidence") else 1.0
        if not 0 <= confidence <= 1:
            raise RowError("confidence must be from 0 to 1")
        value, source = value and sys.intern(value), sys.intern(source)
        self._collector.labels.append(
            LabelEntry(row.key, label, value, number, source, confidence, row.reader, row.origin)
        )

    def _box(self, row: _Row) -> bool:
        label = self._name(row.cells[self._settings.columns.label])
        box = self._edges(row.cells)
        if is_empty(box):
            raise RowError("the box is empty; x_min must be less than x_max and y_min less than y_max")
        if row.size is not None and (
            box.x_min < 0 or box.y_min < 0 or box.x_max > row.size[0] or box.y_max > row.size[1]
        ):
            raise RowError("the box reaches out of the film; give pixels of the original film")
        if label is not None:
            self._collector.boxes.append(BoxEntry(row.key, label, box, row.reader, row.origin))
        return label is not None

    def _edges(self, cells: dict[str, str]) -> Box:
        columns = self._settings.columns
        if cells.get(_POLYGON):
            if any(cells.get(column) for column in columns.box):
                raise RowError("give either the edges of a box or a polygon")
            points = [_number(number, _POLYGON) for number in cells[_POLYGON].replace(",", " ").split()]
            if too_short(points):
                raise RowError("a polygon needs three points of two numbers each")
            return around(points)
        return box_of([_number(cells.get(column, ""), column) for column in columns.box], columns.box_form)

    def _name(self, raw: str) -> str | None:
        """The label of a cell; None where ``rename`` leaves it out."""
        if raw in self._settings.rename:
            self._collector.renamed.add(raw)
            return self._settings.rename[raw]
        if not is_label(raw):
            raise RowError("a label is 1 to 64 of the characters a-z, 0-9 and _; give it one with rename={…}")
        return sys.intern(raw)

    def _has_boxes(self, header: Sequence[str]) -> bool:
        return set(self._settings.columns.box) <= set(header) or _POLYGON in header

    def _check_header(self, path: Path, header: Sequence[str], task: Task) -> None:
        """Find the column of films.

        Raises:
            LabelError: there is none, another column is missing, or the table is of the other task.
        """
        columns, first = self._settings.columns, Place(path, 1)
        names = [columns.film] if columns.film else [UID_COLUMN, PATH_COLUMN]
        self._film_column = next((name for name in names if name in header), "")
        if not self._film_column:
            raise LabelError(f"{first}: no column names the film; add {' or '.join(names)}, or set columns.film=…")
        if len(set(header)) < len(header):
            raise LabelError(f"{first}: two columns of the header have the same name; rename one")
        values = {"value", "number"} & set(header)
        if task == "labels" and values and columns.label not in header:
            raise LabelError(f"{first}: the column {columns.label} is missing; value and number need it")
        if task == "labels":
            if columns.label in header and not values:
                other = "; this is a table of boxes: give it as --boxes" if self._has_boxes(header) else ""
                raise LabelError(f"{first}: the column value (or number) is missing{other}")
            return
        needed = [columns.label] if _POLYGON in header else [columns.label, *columns.box]
        if missing := [name for name in needed if name not in header]:
            other = "; this is a table of labels: give it as --labels" if values else ""
            raise LabelError(f"{first}: the column {missing[0]} is missing; needed are {', '.join(needed)}{other}")

    def _wide_columns(self, path: Path, header: Sequence[str]) -> list[tuple[int, str, str]]:
        """(place from 1, column, label) of the columns that are labels.

        Raises:
            LabelError: there is none, two become the same label, or one has a name that no label has.
        """
        rename = self._settings.rename
        others = {self._film_column, UID_COLUMN, PATH_COLUMN, self._settings.columns.reader, *_OTHER_COLUMNS}
        found: dict[str, tuple[int, str, str]] = {}
        for place, column in enumerate(header, 1):
            if column in others:
                continue
            self._collector.renamed.update({column} & rename.keys())
            label = rename[column] if column in rename else label_name(column)
            if label is None and column not in rename:
                raise LabelError(
                    f"{path} line 1: the name of column {place} cannot be a label; give it one with rename={{…}}"
                )
            if label is not None and found.setdefault(label, (place, column, label))[0] != place:
                raise LabelError(f"{path} line 1: columns {found[label][0]} and {place} are the same label; rename one")
        if not found:
            raise LabelError(
                f"{path} line 1: no column is a label; a table of labels has label and value, or one per label"
            )
        return list(found.values())


def _frame(cell: str, frames: int) -> int:
    """The frame of its file that a row names, counted from 0."""
    if not cell and frames == 1:
        return 0
    if not (cell.isascii() and cell.isdigit() and len(cell) < 6 and 1 <= int(cell) <= frames):
        raise RowError(f"the file holds {frames} films; give one of 1 to {frames} in the column frame")
    return int(cell) - 1


def _number(text: str, column: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise RowError(f"the column {column} must be a number")
    return number


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of all lines but empty ones, the header first.

    Raises:
        LabelError: there is no such table, or it is no CSV.
    """
    if not path.exists():
        raise LabelError(f"table {path} does not exist; give the path of a CSV file")
    try:
        yield from csv_rows(path)
    except ArchiveError as error:
        raise LabelError(str(error)) from None
