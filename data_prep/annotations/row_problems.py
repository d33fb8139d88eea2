"""Rows of tables, annotation files and reports that are not used, or only in part: one record, one CSV form.

problem,file,line,part      line 0 is the whole file; with a part the number of an entry in that list of the file
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_PARTS = ("", "categories", "images", "annotations", "object")


class Place(NamedTuple):
    """A line of a file.

    Attributes:
        file: path of the table or annotation file.
        line: from 1; 0 is the whole file. With ``part`` the number of the entry, from 0.
        part: list of the file that ``line`` counts in: categories, images, annotations (COCO), object (VOC).
    """

    file: Path
    line: int = 0
    part: str = ""

    def __str__(self) -> str:
        if self.part:
            return f"{self.file} {self.part}[{self.line}]"
        return f"{self.file} line {self.line}" if self.line else str(self.file)

    @property
    def order(self) -> tuple[Path, int, int]:
        """Sort key: by file, then by part and line."""
        return self.file, _PARTS.index(self.part), self.line

    def seen_from(self, other: "Place") -> str:
        """How a message at ``other`` names this place; names of further annotation files are left out."""
        if self.file == other.file and (self.line or self.part):
            return f"{self.part}[{self.line}]" if self.part else f"line {self.line}"
        return str(self) if self.line and not self.part else "another file"


class RowProblem(NamedTuple):
    """A row that is not used, or only in part.

    Attributes:
        problem: entry of the table of problems: the code, or a text for a person; quotes nothing of the row.
        place: file and line.
        code: of the problem, where ``problem`` is a text.
        is_error: whether nothing may be written while the row is in the file.
    """

    problem: str
    place: Place
    code: str = ""
    is_error: bool = False


class RowError(Exception):
    """A row cannot be used; the message gives the reason and quotes nothing of the row."""


class RowSkipped(Exception):  # noqa: N818 - no error: the row may be right, but its film is not in the shards
    """A row names a film that is not in the shards, or that the scan does not have; the message is the code."""


def problems_csv(problems: Iterable[RowProblem]) -> str:
    """The rows of a table of problems, in the given order, with a header line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("problem", *Place._fields))
    writer.writerows((problem, *place) for problem, place, *_ in problems)
    return text.getvalue()


def count_problems(problems: Iterable[RowProblem]) -> dict[str, int]:
    """Problem → how often, sorted by problem."""
    return dict(sorted(Counter(problem for problem, *_ in problems).items()))
