"""CSV text whose cells are safe to open in a spreadsheet and to print in a terminal."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence

_FORMULA = ("=", "+", "-", "@")
"""A spreadsheet takes a cell that begins with one of these for a formula."""
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")
_QUOTED = re.compile(r"'[=+\-@]")


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Format rows as CSV.

    A text that a spreadsheet would take for a formula begins with ``'``, which :func:`plain_cell` removes; letters that
    control a terminal are escaped.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(safe_rows(rows))
    return text.getvalue()


def safe_rows(rows: Iterable[Sequence[object]]) -> Iterator[list[object]]:
    """Make the cells of rows safe, see :func:`csv_text`."""
    return ([_safe_cell(cell) for cell in row] for row in rows)


def plain_cell(text: str) -> str:
    """The text of a cell that :func:`csv_text` has written."""
    return text[1:] if _QUOTED.match(text) else text


def _safe_cell(value: object) -> object:
    if value is None or isinstance(value, (int, float)):
        return value
    text = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in str(value)
    )
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text
