"""Tables with the answers of a person about films: ``suspects.csv``, or what ``suspects.html`` saves.

key, field and value are needed, in any order; a row without a value has no answer.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from data_prep.bounded_reading import read_bounded
from data_prep.runtime.csv_text import plain_cell
from mae_rad.errors import EvaluationError

KEY, FIELD, ANSWER = "key", "field", "value"
BETWEEN_CLASSES = "|"
"""Separates the labels of exclusive classes in the name of a field."""
KEEP = "keep"
"""FilmAnswer that what is stated is right."""
_MAX_BYTES = 2**28
_SEPARATORS = ",;\t"


class FilmAnswer(NamedTuple):
    """A row of a table.

    Attributes:
        key: of the film.
        field: that the answer is about.
        value: ``keep``, what is true of the film, or empty.
        path: of the table.
        line: in it, from 1.
        columns: name → number of the column, from 1.
    """

    key: str
    field: str
    value: str
    path: Path
    line: int
    columns: dict[str, int]


def read_answers(path: Path) -> list[FilmAnswer]:
    """Read a table; separated by comma, semicolon or tab.

    Args:
        path: of a CSV file in UTF-8.

    Raises:
        EvaluationError: it cannot be read, or lacks a column.
    """
    try:
        text = read_bounded(path, _MAX_BYTES).decode("utf-8-sig")
        separator = max(_SEPARATORS, key=text.partition("\n")[0].count)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        rows = [(reader.line_num, [plain_cell(cell.strip()) for cell in cells]) for cells in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EvaluationError(
            f"{path} cannot be read as CSV in UTF-8 ({type(error).__name__}). Give another file"
        ) from None
    header = rows[0][1] if rows else []
    columns = {name: position for position, name in enumerate(header, 1)}
    if missing := [name for name in (KEY, FIELD, ANSWER) if name not in columns]:
        raise EvaluationError(
            f"{path} line 1: the column {missing[0]} is missing. Give suspects.csv, or what its page saved"
        )
    return [_answer(path, line, cells, columns) for line, cells in rows[1:] if any(cells)]


def _answer(path: Path, line: int, cells: Sequence[str], columns: dict[str, int]) -> FilmAnswer:
    if len(cells) != len(columns):
        raise EvaluationError(f"{path} line {line}: {len(cells)} cells, but the header has {len(columns)}")
    key, field, value = (cells[columns[name] - 1] for name in (KEY, FIELD, ANSWER))
    return FilmAnswer(key, field, value, path, line, columns)
