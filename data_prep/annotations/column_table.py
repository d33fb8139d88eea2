"""Read CSV tables of films and boxes whose columns are set by ``columns.*``."""

import difflib
import math
from collections.abc import Sequence
from pathlib import Path

from data_prep.annotations.cell_values import CELL_VALUES, cell_word
from data_prep.annotations.film_lookup import ListedFilm
from data_prep.annotations.label_collector import LabelCollector
from data_prep.annotations.label_entries import label_name
from data_prep.annotations.row_problems import Place
from data_prep.annotations.settings import FACTS, ColumnSettings
from data_prep.errors import SettingsError
from data_prep.shard_format.boxes import Box


def read(root: Path, collector: LabelCollector, columns: ColumnSettings) -> None:
    """Read the table of films, the table of boxes, or both.

    Args:
        root: folder that relative paths of tables refer to.
        collector: receives entries and problems.
        columns: which tables and columns are read.

    Raises:
        SettingsError: neither table is set, or no box has a label of ``absent_without_box``.
        ArchiveError: a table or column is missing.
    """
    if columns.films is None and columns.boxes is None:
        raise SettingsError("layout=table needs columns.films or columns.boxes: a CSV file")
    if columns.films is not None:
        _read_films(root / columns.films, collector, columns)
    for film in collector.names.films:  # what a table states comes first
        collector.add_facts(film, **{str(name): text for name, text in columns.same.items()})
    if columns.boxes is not None:
        _read_boxes(root / columns.boxes, collector, columns)
        _add_absent(root / columns.boxes, collector, columns.absent_without_box)


def _add_absent(table: Path, collector: LabelCollector, labels: list[str]) -> None:
    for label in labels:
        names = {box.label for box in collector.boxes} | {entry.label for entry in collector.boxless}
        if label not in names:
            similar = difflib.get_close_matches(label, names, 1, 0.4)
            hint = f"; is it {similar[0]!r}?" if similar else ""
            raise SettingsError(f"columns.absent_without_box: no box of {table} has the label {label!r}{hint}")
        for film in collector.films_named.values():
            collector.add_findings(film, (), [label], Place(table), implied=True)


def _read_films(table: Path, collector: LabelCollector, columns: ColumnSettings) -> None:
    required = (*columns.facts.values(), *columns.labels, *columns.numbers, *([columns.names] if columns.names else []))
    for film, cells, place in collector.read_film_rows(table, columns.file, required):
        collector.add_facts(film, **{name: cells[columns.facts[name]] for name in FACTS if name in columns.facts})
        if (split := columns.facts.get("split")) is not None and cells[split]:
            collector.add_split(film, cells[split], place)
        _read_findings(film, cells, place, collector, columns)


def _read_findings(
    film: ListedFilm, cells: dict[str, str], place: Place, collector: LabelCollector, columns: ColumnSettings
) -> None:
    for column, label in columns.labels.items():
        if (cell := cell_word(cells[column])) not in CELL_VALUES:
            collector.add_problem("label_unknown", place)
            collector.mark_unclear(film, label)
        elif (value := CELL_VALUES[cell]) is not None:
            collector.add_label(film, label, value, place)
    for column, label in columns.numbers.items():
        if CELL_VALUES.get(cell_word(cells[column]), "") is None:
            continue
        try:
            number = float(cells[column])
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            collector.add_label(film, label, None, place, number=number)
        else:
            collector.add_problem("not_a_number", place)
    if columns.names is not None:
        findings = {name.strip() for name in cells[columns.names].split("|") if name.strip()}
        if findings - {*columns.vocabulary, columns.none_name}:
            collector.add_problem("label_unknown", place)
            collector.mark_unclear(film)
        elif columns.none_name in findings and len(findings) > 1:
            collector.add_problem("finding_against_none", place)
            collector.mark_unclear(film)
        elif findings or columns.none_name == "":
            findings.discard(columns.none_name or "")
            collector.add_findings(film, findings, columns.vocabulary, place)


def _read_boxes(table: Path, collector: LabelCollector, columns: ColumnSettings) -> None:
    readers = [columns.reader] if columns.reader else []
    file, required = columns.box_file or columns.file, (columns.box_label, *columns.box, *readers)
    for film, cells, place in collector.read_film_rows(table, file, required, once=False):
        name, reader = cells[columns.box_label], cells[columns.reader] if columns.reader else ""
        if name not in collector.settings.rename and label_name(name) is None:
            collector.add_problem("label_needs_rename" if name else "label_unknown", place)
            collector.mark_unclear(film)
            continue
        try:
            numbers = [float(cells[column]) for column in columns.box]
        except ValueError:
            collector.add_problem("box_not_a_number", place)
            collector.add_finding_without_box(film, name, place, reader=reader)
            continue
        collector.add_box(film, name, box_from_numbers(numbers, columns.box_form), place, reader=reader)


def box_from_numbers(numbers: Sequence[float], form: str) -> Box:
    """Convert four numbers to a box.

    Args:
        numbers: four, in pixels.
        form: corners (left, top, right, bottom), corner_and_size (left, top, width, height) or centre_and_size (centre
            x and y, width, height).

    Returns:
        The box, in pixels.
    """
    x, y, third, fourth = numbers
    if form == "corner_and_size":
        return Box(x, y, x + third, y + fourth)
    if form == "centre_and_size":
        return Box(x - third / 2, y - fourth / 2, x + third / 2, y + fourth / 2)
    return Box(x, y, third, fourth)
