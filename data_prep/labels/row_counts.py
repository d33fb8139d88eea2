"""Numbers of rows of experts' files that are used or skipped."""

from dataclasses import dataclass, field


@dataclass
class RowCount:
    """Numbers of rows of all files of one kind.

    Attributes:
        used: rows of films in the shards.
        not_in_shards: rows of films of the scan that are not in the shards, because they were rejected or not sharded.
        unknown: rows of films that the scan does not have.
        ignored: rows whose label ``rename`` maps to null.
    """

    used: int = 0
    not_in_shards: int = 0
    unknown: int = 0
    ignored: int = 0

    def skip(self, problem: str) -> None:
        """Count a skipped row by the code of its problem."""
        if problem == "not_in_shards":
            self.not_in_shards += 1
        else:
            self.unknown += 1

    def __str__(self) -> str:
        text = f"{self.used} rows used, {self.not_in_shards} of films that are not in the shards"
        text += f", {self.unknown} of unknown films" if self.unknown else ""
        return text + (f", {self.ignored} ignored by rename" if self.ignored else "")


@dataclass
class RowCounts:
    """Numbers of rows of tables of labels, and of tables and annotation files of boxes."""

    labels: RowCount = field(default_factory=RowCount)
    boxes: RowCount = field(default_factory=RowCount)
