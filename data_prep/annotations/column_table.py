"""A folder of films with CSV tables of any columns, which ``columns.*`` of the settings names."""

import difflib
import math
from collections.abc import Sequence
from pathlib import Path

from data_prep.annotations.csv_table import csv_table
from data_prep.annotations.film_lookup import ListedFilm
from data_prep.annotations.label_collector import Label, Told, Value, Where
from data_prep.annotations.settings import FACTS, ColumnSettings
from data_prep.errors import SettingsError
from data_prep.shard_format.boxes import Box

VALUE_WORDS: dict[str, Value | None] = {
    **dict.fromkeys(("1", "1.0", "yes", "y", "true", "present", "positive"), "present"),
    **dict.fromkeys(("0", "0.0", "no", "n", "false", "absent", "negative"), "absent"),
    **dict.fromkeys(("-1", "-1.0", "uncertain", "u", "maybe"), "uncertain"),
    **dict.fromkeys(("", "nan", "na", "n/a", "none", "null", "unknown"), None),
}
"""What cells in small letters mean; None says nothing."""


def read(root: Path, told: Told, columns: ColumnSettings) -> None:
    """Read both tables, as far as they are named.

    Raises:
        SettingsError: neither is, or no box has a label that is absent without one.
        ArchiveError: a table or column is missing.
    """
    if columns.films is None and columns.boxes is None:
        raise SettingsError("layout=table needs columns.films or columns.boxes: a CSV file")
    for film in told.names.films:
        told.fact(film, **{str(name): word for name, word in columns.same.items()})
    if columns.films is not None:
        _read_films(root / columns.films, told, columns)
    if columns.boxes is not None:
        _read_boxes(root / columns.boxes, told, columns)
        _add_absent(root / columns.boxes, told, columns.absent_without_box)


def _add_absent(table: Path, told: Told, labels: list[str]) -> None:
    for label in labels:
        drawn = {row for row, name in told.boxes if name == label}
        if not drawn:
            near = difflib.get_close_matches(label, {name for _, name in told.boxes}, 1, 0.4)
            hint = f"; is it {near[0]!r}?" if near else ""
            raise SettingsError(f"columns.absent_without_box: no box of {table} has the label {label!r}{hint}")
        for film in told.spoken.values():
            if film.row not in drawn and told.value(film, label) is None:
                told.label(film, label, Label("absent"), Where(table))


def _read_films(table: Path, told: Told, columns: ColumnSettings) -> None:
    needed = (columns.file, *columns.facts.values(), *columns.labels, *columns.numbers)
    for line, cells in csv_table(table, (*needed, *([columns.names] if columns.names else []))):
        where = Where(table, line)
        film = told.row(cells[columns.file], where)
        if film is None:
            continue
        told.fact(film, **{name: cells[columns.facts[name]] for name in FACTS if name in columns.facts})
        if (split := columns.facts.get("split")) is not None and cells[split]:
            told.split(film, cells[split], where)
        _read_findings(film, cells, where, told, columns)


def _read_findings(film: ListedFilm, cells: dict[str, str], where: Where, told: Told, columns: ColumnSettings) -> None:
    for column, label in columns.labels.items():
        if (cell := cells[column].lower()) not in VALUE_WORDS:
            told.problem("label_unknown", where)
        elif (value := VALUE_WORDS[cell]) is not None:
            told.label(film, label, Label(value), where)
    for column, label in columns.numbers.items():
        if VALUE_WORDS.get(cells[column].lower(), "") is None:
            continue
        try:
            number = float(cells[column])
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            told.label(film, label, Label(None, number), where)
        else:
            told.problem("not_a_number", where)
    if columns.names is not None:
        found = {name.strip() for name in cells[columns.names].split("|") if name.strip()}
        if found - set(columns.vocabulary):
            told.problem("label_unknown", where)
        else:
            told.findings(film, found, columns.vocabulary, where)


def _read_boxes(table: Path, told: Told, columns: ColumnSettings) -> None:
    readers = [columns.reader] if columns.reader else []
    file = columns.box_file or columns.file
    for line, cells in csv_table(table, (file, columns.box_label, *columns.box, *readers)):
        where = Where(table, line)
        film = told.film(cells[file], where)
        if film is None:
            continue
        try:
            numbers = [float(cells[column]) for column in columns.box]
        except ValueError:
            told.problem("box_not_a_number", where)
            continue
        if not cells[columns.box_label]:
            told.problem("label_unknown", where)
            continue
        reader = cells[columns.reader] or None if columns.reader else None
        told.box(film, cells[columns.box_label], box_of(numbers, columns.box_form), where, reader=reader)


def box_of(numbers: Sequence[float], form: str) -> Box:
    """The box that four numbers say in one of the forms of ``box_form``."""
    x, y, right, lower = numbers
    if form == "corner_and_size":
        return Box(x, y, x + right, y + lower)
    if form == "centre_and_size":
        return Box(x - right / 2, y - lower / 2, x + right / 2, y + lower / 2)
    return Box(x, y, right, lower)
