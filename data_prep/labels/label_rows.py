"""Rows of labels and boxes as the files of experts tell them, who told them where, and what cannot be used."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from data_prep.annotations.label_collector import Where
from data_prep.errors import LabelError
from data_prep.shard_format.boxes import Box

NOT_IN_SHARDS = "the film is not in the shards"
EMPTY_CLASS = "no annotation has this class; nothing is said of it"
EMPTY_COLUMN = "column {} is a label and says nothing in any row"
NO_ROWS = "has a header and no rows; give the whole table, or leave it out"
NO_FILMS = "lists no image; give the whole file, or leave it out"
UNKNOWN_FILM = "no film of the scan is called so (unknown_films=list passes over such rows)"


class Origin(NamedTuple):
    """Where a word comes from: the film as the file calls it, the place, and the name of the reader."""

    film: str
    where: Where
    reader: str


class LabelRow(NamedTuple):
    """A row of LABELS_SCHEMA with its origin."""

    key: str
    label: str
    value: str | None
    number: float | None
    source: str
    confidence: float
    reader: int | None
    origin: Origin


class BoxRow(NamedTuple):
    """A row of BOXES_SCHEMA with its origin."""

    key: str
    label: str
    box: Box
    reader: int | None
    origin: Origin


class Trouble(NamedTuple):
    """What is wrong, or was passed over, and where."""

    words: str
    where: Where

    @property
    def order(self) -> tuple[Path, int, int, str]:
        """By file, and in a file by place."""
        return self.where.file, _PARTS.index(self.where.part), self.where.line, self.words


_PARTS = ("", "categories", "images", "annotations", "object")


class RowError(Exception):
    """A row cannot be used; the message says why, and quotes nothing of it."""


class PassedOver(Exception):  # noqa: N818 - no error: the row may be right, but no film of the shards has use for it
    """A row is about a film that is not in the shards, or unknown; the message says which."""


@dataclass
class RowCount:
    """What became of the rows of all files of one kind."""

    used: int = 0
    not_in_shards: int = 0
    """The archive has the film, the shards do not: rejected, or another archive."""
    unknown: int = 0
    """The scan has never seen the film."""
    left_out: int = 0
    """``rename`` leaves the label out."""

    def __str__(self) -> str:
        text = f"{self.used} rows used, {self.not_in_shards} of films that are not in the shards"
        text += f", {self.unknown} of unknown films" if self.unknown else ""
        return text + (f", {self.left_out} left out by rename" if self.left_out else "")


@dataclass
class Rows:
    """What has been read so far.

    Attributes:
        labels, boxes: of films of the scan.
        implied: labels that follow from annotation files, where nobody says it in words.
        mistakes: rows that are wrong; nothing is written while there are any.
        passed_over: rows of films that are not in the shards, and classes without annotations.
        label_count, box_count: what became of the rows.
        readers: who has read → number, in the order in which they first occur.
        renamed: names of ``rename`` that have occurred.
    """

    labels: list[LabelRow] = field(default_factory=list)
    boxes: list[BoxRow] = field(default_factory=list)
    implied: list[LabelRow] = field(default_factory=list)
    mistakes: list[Trouble] = field(default_factory=list)
    passed_over: list[Trouble] = field(default_factory=list)
    label_count: RowCount = field(default_factory=RowCount)
    box_count: RowCount = field(default_factory=RowCount)
    readers: dict[str, int] = field(default_factory=dict)
    renamed: set[str] = field(default_factory=set)

    def mistake(self, where: Where, words: str) -> None:
        """Enter a row that is wrong."""
        self.mistakes.append(Trouble(words, where))

    def pass_over(self, where: Where, words: str, count: RowCount) -> None:
        """Enter a row whose film is not in the shards, or unknown."""
        self.passed_over.append(Trouble(words, where))
        if words == NOT_IN_SHARDS:
            count.not_in_shards += 1
        else:
            count.unknown += 1

    def reader(self, name: str) -> int | None:
        """Number of a reader, from 1; None without a name."""
        return self.readers.setdefault(name, len(self.readers) + 1) if name else None


def refuse(wrong: Sequence[Trouble], listed: Sequence[Trouble], private_list: Path, typed: Sequence[Path]) -> None:
    """Raise for the first of what is ``wrong``, if there is something.

    Args:
        wrong: what forbids to write anything.
        listed: the lines of ``private_list`` behind its header, of which some are wrong.
        private_list: table in the private folder.
        typed: paths that the user has typed. The name of a file below one of them may tell who a patient is: it stands
            in the private table alone.

    Raises:
        LabelError: with file and line, and how many more there are.
    """
    if not wrong:
        return
    words, where = wrong[0]
    below = [path for path in typed if where.file not in typed and {path, path.parent} & set(where.file.parents)]
    if below:
        line = listed.index(wrong[0]) + 2
        raise LabelError(f"{below[0]}: {words} (which file: {private_list} line {line}; {len(wrong)} in all)")
    more = f" ({len(wrong) - 1} more: {private_list})" if len(wrong) > 1 else ""
    raise LabelError(f"{where}: {words}{more}")
