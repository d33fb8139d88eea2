"""Columns of a wide table of labels: which are labels, which make one fact, and which are left out, with the reason.

====================  ==================================================================================================
label                 its cells are words for present, absent or uncertain
number                a column of ``numbers``
one fact of several   columns of ``columns.one_hot``: exactly one of them is present
class                 a column of ``columns.classes``: its cells name the classes
left out              a column without a name that numbers the rows, and a column without any known word
====================  ==================================================================================================

A fact of C classes becomes C labels, ``FACT_CLASS``, of which one is present and all others are absent. A row that
gives no class, or several, never makes a class absent.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from data_prep.annotations.cell_values import CELL_VALUES, CellWords, cell_word
from data_prep.annotations.label_entries import is_label, label_name
from data_prep.errors import LabelError
from data_prep.labels.settings import LabelSettings

MAX_CLASSES = 64
"""Most different cells of a column of classes."""
_NO_NAME = re.compile(r"(?:Unnamed: \d+(?:_level_\d+)?(?:\.\d+)?)?")
"""Name that pandas gives to a column without a name, or that a table has for it: none."""


@dataclass(frozen=True)
class WideColumn:
    """A column with a label.

    Attributes:
        position: from 1.
        name: in the header.
        label: that it becomes.
    """

    position: int
    name: str
    label: str


@dataclass(frozen=True)
class ClassColumn:
    """A column whose cells name classes.

    Attributes:
        position: from 1.
        name: in the header.
        labels: cell → label; None where ``rename`` maps the cell to null.
    """

    position: int
    name: str
    labels: Mapping[str, str | None]

    def values(self, cell: str) -> dict[str, str]:
        """Label → present or absent; none for a cell that names no class."""
        label = self.labels.get(cell)
        return dict.fromkeys(filter(None, self.labels.values()), "absent") | {label: "present"} if label else {}


@dataclass(frozen=True)
class WideColumns:
    """The columns of one table.

    Attributes:
        labels, numbers: columns that are a label each.
        one_hot: fact → its columns.
        classes: columns whose cells name classes.
        left_out: (code, text for a person) of each column that is not read; no text quotes a name or a cell.
        renamed: names of ``rename`` that occur.
    """

    labels: tuple[WideColumn, ...]
    numbers: tuple[WideColumn, ...]
    one_hot: Mapping[str, tuple[WideColumn, ...]]
    classes: tuple[ClassColumn, ...]
    left_out: tuple[tuple[str, str], ...]
    renamed: frozenset[str]


@dataclass
class _Cells:
    """What the cells of a column are, over all rows.

    Attributes:
        most: number of different cells that are kept.
        has_word: whether a cell is a word with a value.
        has_other: whether a cell is neither empty nor a known word.
        count: number of cells.
        different: the first different cells.
    """

    most: int
    has_word: bool = False
    has_other: bool = False
    count: int = 0
    different: set[str] = field(default_factory=set)

    def add(self, cell: str, words: CellWords) -> None:
        if cell in words:
            self.has_word = self.has_word or words.value(cell) is not None
        else:
            self.has_other = True
        self.count += 1
        if len(self.different) < self.most:
            self.different.add(cell)

    def are_row_numbers(self) -> bool:
        return len(self.different) == self.count and all(cell.isascii() and cell.isdigit() for cell in self.different)


def find_columns(
    path: Path, header: Sequence[str], rows: Iterable[Sequence[str]], others: set[str], settings: LabelSettings
) -> WideColumns:
    """Decide what the columns of a table are.

    Args:
        path: of the table, for messages.
        header: names of the columns.
        rows: cells of all rows.
        others: columns that are no labels: film, reader, …
        settings: which columns and names the user gives.

    Returns:
        The columns.

    Raises:
        LabelError: a setting names no column, a name cannot be a label, two columns have the same label, or no column
            is a label.
    """
    finder = _ColumnFinder(path, header, settings)
    open_columns = [(position, name) for position, name in enumerate(header, 1) if name not in others]
    cells = finder.survey(rows, open_columns)
    for position, name in open_columns:
        finder.add(position, name, cells[position])
    return finder.result()


def one_fact(values: Mapping[WideColumn, str | None]) -> tuple[dict[WideColumn, str], str]:
    """Values of the labels of one fact.

    Args:
        values: column of the fact → value of its cell.

    Returns:
        Column → value of its label, and the problem: empty, ``one_hot_none`` or ``one_hot_several``.
    """
    present = [column for column, value in values.items() if value == "present"]
    unsure = [column for column, value in values.items() if value == "uncertain"]
    if len(present) == 1 and not unsure:
        return dict.fromkeys(values, "absent") | {present[0]: "present"}, ""
    if not present and not unsure:
        return {}, "one_hot_none" if any(value is not None for value in values.values()) else ""
    problem = "one_hot_several" if len(present) + len(unsure) > 1 else ""
    return dict.fromkeys((*present, *unsure), "uncertain"), problem


class _ColumnFinder:
    """Collects the columns of a table, see :func:`find_columns`."""

    def __init__(self, path: Path, header: Sequence[str], settings: LabelSettings) -> None:
        self._path, self._settings, self._words = path, settings, CellWords(settings.words)
        self._labels: list[WideColumn] = []
        self._numbers: list[WideColumn] = []
        self._classes: list[ClassColumn] = []
        self._left_out: list[tuple[str, str]] = []
        self._renamed: set[str] = set()
        self._position_of_label: dict[str, int] = {}
        self._fact_of = dict(self._one_hot_columns(header))
        self._one_hot: dict[str, list[WideColumn]] = {fact: [] for fact in settings.columns.one_hot}
        if missing := sorted(settings.columns.classes.keys() - set(header)):
            raise LabelError(f"{path} line 1: columns.classes names {missing[0]!r}, which is no column of the table")

    def survey(self, rows: Iterable[Sequence[str]], columns: Sequence[tuple[int, str]]) -> dict[int, _Cells]:
        """What the cells of columns (position, name) are."""
        cells = {position: _Cells(self._cells_to_keep(name)) for position, name in columns}
        for row in rows:
            for position, of_column in cells.items():
                if position <= len(row):
                    of_column.add(row[position - 1], self._words)
        return cells

    def _cells_to_keep(self, name: str) -> int:
        """Number of different cells of a column that are kept: a column of texts may be large."""
        if name in self._settings.columns.classes:
            return MAX_CLASSES + len(CELL_VALUES) + 1
        return sys.maxsize if _NO_NAME.fullmatch(name) else 0

    def add(self, position: int, name: str, cells: _Cells) -> None:
        """Add one column."""
        rename = self._settings.rename
        self._renamed |= {name} & rename.keys()
        if name in self._settings.columns.classes:
            self._add_classes(position, name, cells)
        elif name in rename and rename[name] is None:
            return
        elif name in self._fact_of:
            fact = self._fact_of[name]
            label = self._label(position, name, prefix=f"{fact}_")
            self._one_hot[fact].append(WideColumn(position, name, label))
        elif name in self._settings.numbers:
            self._numbers.append(WideColumn(position, name, self._label(position, name)))
        elif name not in rename and _NO_NAME.fullmatch(name):
            self._add_nameless(position, cells)
        elif name not in rename and cells.has_other and not cells.has_word:
            text = f"column {position} is left out: no cell is a word for present, absent or uncertain"
            text += "; take it with columns.classes={NAME: fact}, numbers=[NAME], or words={WORD: present}"
            self._left_out.append(("column_left_out", text))
        else:
            self._labels.append(WideColumn(position, name, self._label(position, name)))

    def result(self) -> WideColumns:
        """All columns.

        Raises:
            LabelError: no column is a label.
        """
        if not (self._labels or self._numbers or self._classes or any(self._one_hot.values())):
            why = f" ({self._left_out[0][1]})" if self._left_out else ""
            raise LabelError(
                f"{self._path} line 1: no column is a label; a table has label and value, or one column per label{why}"
            )
        return WideColumns(
            tuple(self._labels), tuple(self._numbers), {fact: tuple(of) for fact, of in self._one_hot.items()},
            tuple(self._classes), tuple(self._left_out), frozenset(self._renamed),
        )  # fmt: skip

    def _one_hot_columns(self, header: Sequence[str]) -> Iterator[tuple[str, str]]:
        """(column, fact)."""
        taken: dict[str, str] = {}
        for fact, patterns in self._settings.columns.one_hot.items():
            for pattern in patterns:
                names = [name for name in header if fnmatchcase(name, pattern)]
                if not names:
                    raise LabelError(f"{self._path} line 1: columns.one_hot.{fact}: no column fits {pattern!r}")
                for name in names:
                    if taken.setdefault(name, fact) != fact:
                        raise LabelError(
                            f"{self._path} line 1: columns.one_hot gives a column to {fact} and {taken[name]}"
                        )
                    yield name, fact

    def _label(self, position: int, name: str, prefix: str = "") -> str:
        """Label of a column, which no other column may have."""
        label = self._settings.rename.get(name)
        if label is None:
            label = label_name(name)
            if label is None:
                raise LabelError(
                    f"{self._path} line 1: the name of column {position} cannot be a label; give one with rename={{…}}"
                )
            label = label if label.startswith(prefix) else prefix + label
        if self._position_of_label.setdefault(label, position) != position:
            raise LabelError(
                f"{self._path} line 1: columns {self._position_of_label[label]} and {position} are the same label;"
                " rename one"
            )
        return label

    def _add_nameless(self, position: int, cells: _Cells) -> None:
        if not cells.are_row_numbers():
            raise LabelError(
                f"{self._path} line 1: column {position} has no name; give it one with rename={{…}}, or null"
            )
        self._left_out.append(
            ("column_left_out", f"column {position} is left out: it has no name and numbers the rows")
        )

    def _is_class(self, cell: str) -> bool:
        """Whether a cell names a class: grades and letters do, but no word for a missing or an uncertain value."""
        if cell not in self._words:
            return True
        is_short = len(cell_word(cell)) <= 2
        return self._words.value(cell) in ({"present", "absent"} | ({"uncertain"} if is_short else set()))

    def _add_classes(self, position: int, name: str, cells: _Cells) -> None:
        fact, rename = self._settings.columns.classes[name], self._settings.rename
        named = sorted(cell for cell in cells.different if cell in rename or self._is_class(cell))
        if len(named) > MAX_CLASSES:
            raise LabelError(
                f"{self._path} line 1: column {position} has more than {MAX_CLASSES} classes; it is no class"
            )
        self._renamed |= {*named} & rename.keys()
        labels: dict[str, str | None] = {}
        for cell in named:
            own = label_name(cell)
            label = rename.get(cell, f"{fact}_{own}" if own else "")
            if label is not None and not is_label(label):
                raise LabelError(
                    f"{self._path} line 1: a class of column {position} cannot be a label; give one with rename={{…}}"
                )
            labels[cell] = label
        self._classes.append(ClassColumn(position, name, labels))
