"""How many rows of the files of experts are used."""

from dataclasses import dataclass, field


@dataclass
class RowCount:
    """Rows of all files of one kind.

    Attributes:
        used: of films in the shards.
        not_in_shards: of films that the archive has and the shards have not: rejected, or of another archive.
        unknown: of films that the scan does not know.
        left_out: whose label ``rename`` leaves out.
    """

    used: int = 0
    not_in_shards: int = 0
    unknown: int = 0
    left_out: int = 0

    def skip(self, problem: str) -> None:
        """Count a row whose film is ``not_in_shards``, or unknown."""
        if problem == "not_in_shards":
            self.not_in_shards += 1
        else:
            self.unknown += 1

    def __str__(self) -> str:
        text = f"{self.used} rows used, {self.not_in_shards} of films that are not in the shards"
        text += f", {self.unknown} of unknown films" if self.unknown else ""
        return text + (f", {self.left_out} left out by rename" if self.left_out else "")


@dataclass
class RowCounts:
    """Rows of tables of labels, and of tables and annotation files of boxes."""

    labels: RowCount = field(default_factory=RowCount)
    boxes: RowCount = field(default_factory=RowCount)
