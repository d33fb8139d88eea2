"""Read CSV tables of labels and boxes: a header line, then one line per film, finding or box.

sop_instance_uid | path   identifies the film; the path is absolute, or its last parts
key                       … in their place: the film's key in the shards
frame                     frame of a file with several frames, from 1
reader                    name of the reader
label                     of a *long* table of labels, or of a box
value | number            of a long table: present, absent, uncertain, not_mentioned; or a number
source, confidence        of a long table, optional: expert, report, metadata; 0 to 1
x_min, y_min,             box in pixels of the upright film (EXIF orientation applied);
x_max, y_max              right and lower edge are exclusive
polygon                   in place of the edges: x and y of three or more points, separated by spaces

A *wide* table of labels has no column ``label``: each other column is a label, with the cells 1, 0, -1, yes, no,
present, …; an empty cell gives no label (:mod:`data_prep.labels.wide_columns`).
"""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from data_prep.annotations.cell_values import CellWords
from data_prep.annotations.column_table import box_from_numbers
from data_prep.annotations.csv_table import read_csv_rows
from data_prep.annotations.label_collector import LabelCollector
from data_prep.annotations.label_entries import BoxEntry, LabelEntry, Origin, is_label
from data_prep.annotations.row_problems import Place, RowError, RowSkipped
from data_prep.annotations.upright_boxes import bounding_box, is_empty_box, is_in_fractions, is_incomplete_polygon
from data_prep.errors import ArchiveError, LabelError
from data_prep.labels.archive_films import KEY_COLUMN, PATH_COLUMN, UID_COLUMN, ArchiveFilms
from data_prep.labels.row_counts import RowCount, RowCounts
from data_prep.labels.settings import LabelSettings
from data_prep.labels.wide_columns import WideColumns, find_columns, one_fact
from data_prep.shard_format.boxes import Box
from data_prep.shard_format.label_tables import SOURCES, VALUES

Task = Literal["labels", "boxes"]

_OTHER_COLUMNS = ("frame", "source", "confidence")
_LONG_COLUMNS = (*_OTHER_COLUMNS, "value", "number")
_POLYGON = "polygon"


class _Row(NamedTuple):
    """A line of a table with its film.

    Attributes:
        key: of the film.
        size: (width, height) in pixels of the upright source raster; None where unknown.
        cells: column → cell.
        reader: number of the reader; None where readers are not named.
        origin: film, file, line and reader as the table gives them.
    """

    key: str
    size: tuple[int, int] | None
    cells: dict[str, str]
    reader: int | None
    origin: Origin


class CsvReader:
    """Reads the tables of one reader, or of several readers that a column names.

    Args:
        films: films of the scan.
        collector: receives entries and problems.
        counts: receives the numbers of rows used and skipped.
        settings: names of columns and labels.
    """

    def __init__(
        self, films: ArchiveFilms, collector: LabelCollector, counts: RowCounts, settings: LabelSettings
    ) -> None:
        self._films, self._collector, self._counts, self._settings = films, collector, counts, settings
        self._words = CellWords(settings.words)
        self._film_column = ""
        self._used_columns: set[str] = set()

    def read(self, path: Path, task: Task | None) -> int:
        """Read a table of labels or boxes.

        Args:
            path: of the table.
            task: labels or boxes; None detects it from the columns.

        Returns:
            Number of rows.

        Raises:
            LabelError: the table cannot be read, a column is missing, or it is a table of the other task.
        """
        lines = _read_lines(path)
        _, header = next(lines, (1, []))
        task = task or ("boxes" if self._has_boxes(header) else "labels")
        self._check_header(path, header, task)
        columns = WideColumns((), (), {}, (), (), frozenset())
        self._used_columns.clear()
        if task == "boxes":
            parse, count = self._add_box, self._counts.boxes
        elif self._settings.columns.label in header:
            parse, count = self._add_long_row, self._counts.labels
            self._list_ignored_columns(path, header)
        else:
            columns = self._wide_columns(path, header)
            parse, count = lambda row: self._add_wide_row(row, columns), self._counts.labels
        read = 0
        for line, cells in lines:
            self._read_line(Place(path, line), header, cells, parse, count)
            read += 1
        for column in (*columns.labels, *columns.numbers) if read else ():
            if column.name not in self._used_columns:
                text = f"the label in column {column.position} has no value in any row"
                self._collector.add_problem("column_empty", Place(path, 1), text)
        return read

    def _read_line(
        self, place: Place, header: Sequence[str], cells: Sequence[str], parse: Callable[[_Row], bool], count: RowCount
    ) -> None:
        """Read one line; a problem is listed."""
        try:
            if len(cells) != len(header):
                raise RowError(f"{len(cells)} cells, but the header has {len(header)}")
            row = self._parse_row(place, dict(zip(header, cells, strict=True)))
            if not parse(row):
                count.ignored += 1
            elif row.key in self._films.sharded:
                count.used += 1
            else:
                raise RowSkipped("not_in_shards")
        except RowError as error:
            self._collector.add_problem("row_error", place, str(error))
        except RowSkipped as skipped:
            self._collector.add_problem(str(skipped), place)
            count.skip(str(skipped))

    def _parse_row(self, place: Place, cells: dict[str, str]) -> _Row:
        name = cells[self._film_column]
        if not name:
            raise RowError(f"the column {self._film_column} is empty; every row names its film")
        reader = cells.get(self._settings.columns.reader, "") or self._collector.reader
        number = self._collector.reader_number(reader)
        if self._film_column == KEY_COLUMN:
            film, frame = self._films.find_key(name)
        else:
            film = self._films.find(name, by_uid=self._film_column == UID_COLUMN)
            frame = _parse_frame(cells.get("frame", ""), self._films.frame_count(film))
        key = self._films.key_of(film, frame)
        return _Row(key, self._films.upright_size(film, key), cells, number, Origin(name, place, reader))

    def _add_long_row(self, row: _Row) -> bool:
        label = self._label_of(row.cells[self._settings.columns.label])
        value, number = row.cells.get("value", ""), row.cells.get("number", "")
        if bool(value) == bool(number):
            raise RowError("give either a value or a number")
        if value:
            value = (value in self._words and self._words.value(value)) or ""
            if not value:
                raise RowError(f"value must be one of {', '.join(VALUES)}")
        if label is not None:
            self._add_label(row, label, value or None, _parse_number(number, "number") if number else None)
        return label is not None

    def _add_wide_row(self, row: _Row, columns: WideColumns) -> bool:
        """Add a label for each cell with a value; an unknown word gives none, and is listed."""
        entries: list[tuple[str, str, str | None, float | None]] = []
        for column in columns.numbers:
            number = _parse_number(cell, str(column.position)) if (cell := row.cells[column.name]) else None
            entries += [(column.name, column.label, None, number)] * bool(cell)
        values = {column: self._value_of(row, column.position, column.name) for column in columns.labels}
        entries += [(column.name, column.label, value, None) for column, value in values.items() if value is not None]
        for of_fact in columns.one_hot.values():
            of_cells = {column: self._value_of(row, column.position, column.name) for column in of_fact}
            if any(row.cells[column.name] not in self._words for column in of_fact):
                continue  # listed; what was not understood may be the fact, so nothing of it is absent
            of_row, problem = one_fact(of_cells)
            entries += [(column.name, column.label, value, None) for column, value in of_row.items()]
            if problem:
                self._collector.add_problem(problem, row.origin.place)
        for classes in columns.classes:
            of_class = classes.values(row.cells[classes.name])
            entries += [(classes.name, label, value, None) for label, value in of_class.items()]
        for name, label, value, number in entries:
            self._used_columns.add(name)
            self._add_label(row, label, value, number)
        return True

    def _value_of(self, row: _Row, position: int, column: str) -> str | None:
        """Value of a cell; None where it has none or is no known word, which is listed."""
        if (cell := row.cells[column]) in self._words:
            return self._words.value(cell)
        text = f"the cell in column {position} is no value (1, 0, -1, yes, no, unsure, present, absent, …); give its"
        text += " meaning with words={…}, list columns of numbers in numbers=[…], ignore a column with"
        self._collector.add_problem("unknown_word", row.origin.place, f"{text} rename={{column: null}}")
        return None

    def _add_label(self, row: _Row, label: str, value: str | None, number: float | None) -> None:
        source = row.cells.get("source") or self._settings.source
        if source not in SOURCES:
            raise RowError(f"source must be one of {', '.join(SOURCES)}")
        confidence = _parse_number(row.cells["confidence"], "confidence") if row.cells.get("confidence") else 1.0
        if not 0 <= confidence <= 1:
            raise RowError("confidence must be from 0 to 1")
        value, source = value and sys.intern(value), sys.intern(source)
        self._collector.labels.append(
            LabelEntry(row.key, label, value, number, source, confidence, row.reader, row.origin)
        )

    def _add_box(self, row: _Row) -> bool:
        label = self._label_of(row.cells[self._settings.columns.label])
        box = self._parse_box(row.cells)
        if is_empty_box(box):
            raise RowError("the box is empty; x_min must be less than x_max and y_min less than y_max")
        if is_in_fractions(box):
            raise RowError("the box is in fractions of width and height; give pixels of the original film")
        if row.size is not None and (
            box.x_min < 0 or box.y_min < 0 or box.x_max > row.size[0] or box.y_max > row.size[1]
        ):
            raise RowError("the box extends beyond the film; give coordinates in pixels of the original film")
        if label is not None:
            self._collector.boxes.append(BoxEntry(row.key, label, box, row.reader, row.origin))
        return label is not None

    def _parse_box(self, cells: dict[str, str]) -> Box:
        columns = self._settings.columns
        if cells.get(_POLYGON):
            if any(cells.get(column) for column in columns.box):
                raise RowError("give either the edges of a box or a polygon")
            points = [_parse_number(number, _POLYGON) for number in cells[_POLYGON].replace(",", " ").split()]
            if is_incomplete_polygon(points):
                raise RowError("a polygon needs three points of two numbers each")
            return bounding_box(points)
        numbers = [_parse_number(cells.get(column, ""), column) for column in columns.box]
        return box_from_numbers(numbers, columns.box_form)

    def _label_of(self, name: str) -> str | None:
        """The label of a name in the table; None where ``rename`` maps it to null."""
        if name in self._settings.rename:
            self._collector.renamed.add(name)
            return self._settings.rename[name]
        if not is_label(name):
            raise RowError("a label is 1 to 64 of the characters a-z, 0-9 and _; give it one with rename={…}")
        return sys.intern(name)

    def _has_boxes(self, header: Sequence[str]) -> bool:
        return set(self._settings.columns.box) <= set(header) or _POLYGON in header

    def _check_header(self, path: Path, header: Sequence[str], task: Task) -> None:
        """Check the columns, and find the one that identifies the film.

        Raises:
            LabelError: a column is missing, or the table is of the other task.
        """
        columns, first = self._settings.columns, Place(path, 1)
        names = [columns.film] if columns.film else [UID_COLUMN, PATH_COLUMN, KEY_COLUMN]
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
                hint = "; this is a table of boxes, give it with --boxes" if self._has_boxes(header) else ""
                raise LabelError(f"{first}: the column value (or number) is missing{hint}")
            return
        required = [columns.label] if _POLYGON in header else [columns.label, *columns.box]
        if missing := [name for name in required if name not in header]:
            hint = "; this is a table of labels, give it with --labels" if values else ""
            raise LabelError(f"{first}: the column {missing[0]} is missing; needed are {', '.join(required)}{hint}")

    def _list_ignored_columns(self, path: Path, header: Sequence[str]) -> None:
        """List the columns of a long table that are read as nothing: labels of a wide table get lost among them."""
        columns = self._settings.columns
        known = {self._film_column, UID_COLUMN, PATH_COLUMN, columns.reader, columns.label, *_LONG_COLUMNS}
        for position, column in enumerate(header, 1):
            if column not in known and self._settings.rename.get(column, "") is not None:
                text = f"column {position} beside label and value is not read; give its labels rows of their own"
                self._collector.add_problem("column_ignored", Place(path, 1), text)

    def _wide_columns(self, path: Path, header: Sequence[str]) -> WideColumns:
        """The columns of a wide table, for which it is read once before; those left out are listed.

        Raises:
            LabelError: as for :func:`find_columns`.
        """
        others = {self._film_column, UID_COLUMN, PATH_COLUMN, self._settings.columns.reader, *_OTHER_COLUMNS}
        lines = _read_lines(path)
        next(lines, None)
        columns = find_columns(path, header, (cells for _, cells in lines), others, self._settings)
        self._collector.renamed |= columns.renamed
        for code, text in columns.left_out:
            self._collector.add_problem(code, Place(path, 1), text)
        return columns


def _parse_frame(cell: str, frames: int) -> int:
    """The frame index (from 0) of the cell ``frame``, of a file with ``frames`` frames."""
    if not cell and frames == 1:
        return 0
    if not (cell.isascii() and cell.isdigit() and len(cell) < 6 and 1 <= int(cell) <= frames):
        raise RowError(f"the file holds {frames} films; give one of 1 to {frames} in the column frame")
    return int(cell) - 1


def _parse_number(text: str, column: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise RowError(f"the column {column} must be a number")
    return number


def _read_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of all lines that are not empty, the header first.

    Raises:
        LabelError: the table does not exist, or is not valid CSV.
    """
    if not path.exists():
        raise LabelError(f"table {path} does not exist; give the path of a CSV file")
    try:
        yield from read_csv_rows(path)
    except ArchiveError as error:
        raise LabelError(str(error)) from None
