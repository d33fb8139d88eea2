"""Problems of rows of tables, annotation files and reports, and their CSV table.

problem,file,line,part      line from 1, 0 for the whole file; with a part: index of the entry in that list of the file
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from data_prep.runtime.csv_text import csv_text

_PART_ORDER = ("", "categories", "images", "annotations", "object")


class Place(NamedTuple):
    """A place in a file.

    Attributes:
        file: path of the table or annotation file.
        line: from 1; 0 is the whole file. With ``part`` the index of the entry, from 0.
        part: list of the file that the entry is in: categories, images, annotations (COCO), object (VOC).
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
        return self.file, _PART_ORDER.index(self.part), self.line

    def relative_to(self, other: "Place") -> str:
        """Text for this place in a message about ``other``; names of other annotation files are not stated."""
        if self.file == other.file and (self.line or self.part):
            return f"{self.part}[{self.line}]" if self.part else f"line {self.line}"
        return str(self) if self.line and not self.part else "another file"


class RowProblem(NamedTuple):
    """A row that is not used, or only in part.

    Attributes:
        problem: the code, or a message; quotes no content of the row.
        place: file and line.
        code: of the problem, where ``problem`` is a message.
        is_error: whether nothing is written because of the row.
    """

    problem: str
    place: Place
    code: str = ""
    is_error: bool = False


class RowError(Exception):
    """A row cannot be used; the message states the reason and quotes no content of the row."""


class RowSkipped(Exception):  # noqa: N818 - no error: the row may be valid, but its film is not in the shards
    """A row names a film that is not in the shards, or that the scan does not have; the message is the code."""


def problems_csv(problems: Iterable[RowProblem]) -> str:
    """Format problems as a CSV table with a header line, in the given order."""
    return csv_text([("problem", *Place._fields), *((problem, *place) for problem, place, *_ in problems)])


def count_problems(problems: Iterable[RowProblem]) -> dict[str, int]:
    """Count problems; the result is sorted by problem."""
    return dict(sorted(Counter(problem for problem, *_ in problems).items()))
