"""All that a report says, in numbers and rows; no films yet and no markup."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_prep.archive.manifest import UNMAPPED_FILE, key_fingerprint, read_manifest
from data_prep.dataset_report import near_duplicates, quality
from data_prep.dataset_report.census import Census, private_census, public_census, study_years
from data_prep.dataset_report.folder_state import Folder, read_folder
from data_prep.errors import ArchiveError, ShardFormatError
from data_prep.planning.folder_identity import key_fingerprint_of


@dataclass(frozen=True)
class PrivateFacts:
    """What only the private folder knows.

    Attributes:
        files: in the archive.
        census: of the readable films before sharding.
        unmapped: (field, word, films) of words that the vocabularies do not know, the most frequent first.
    """

    files: int
    census: Census
    unmapped: list[tuple[str, str, int]]


@dataclass(frozen=True)
class Throughput:
    """By the times at which shards were written; None in a field where these do not tell.

    Attributes:
        films_per_hour: while shards were written, pauses left out.
        seconds: from the first to the last shard.
        pauses: stretches of more than ten times the usual distance between shards.
    """

    films_per_hour: float | None
    seconds: float | None
    pauses: int


@dataclass(frozen=True)
class Findings:
    """Of one public folder.

    Attributes:
        folder: its tables.
        private: None for a page that may leave with the shards.
        reasons: reason → files that became no film.
        suspects: rows of films that look inverted; None where this is not recorded.
        near: look-alikes; None where no hashes are recorded.
        clipped: end of the display (black, white) → [films] part of the content there; None where not recorded.
    """

    folder: Folder
    private: PrivateFacts | None
    census: Census
    reasons: dict[str, int]
    leaks: quality.Leaks
    equal: near_duplicates.NearDuplicates
    near: near_duplicates.NearDuplicates | None
    suspects: NDArray[np.int64] | None
    clipped: dict[str, NDArray[np.float64] | None]
    throughput: Throughput

    @property
    def films(self) -> int:
        """Films in the shards."""
        return int(self.folder.index.num_rows)

    def alike(self, where: str) -> int:
        """Pairs of films that are one picture, for all that can be seen, such as those in two splits."""
        return max(self.near.same(where) if self.near else 0, self.equal.counts[where])

    def missing(self, column: str) -> int:
        """Films without a value in a column of text."""
        return int(self.folder.index[column].null_count)


def gather(public: Path, private: Path | None) -> Findings:
    """Read the folder, and the private one where it is given.

    Raises:
        ShardFormatError: ``public`` is no public folder, or damaged.
        ArchiveError: ``private`` is no private folder, or was made with another secret.
    """
    folder = read_folder(public)
    index = folder.index
    suspects = quality.suspects(index) if "polarity_suspect" in index.column_names else None
    return Findings(
        folder=folder,
        private=_private_facts(public, private) if private is not None else None,
        census=public_census(index),
        reasons=folder.reasons(),
        leaks=quality.leaks(index),
        equal=near_duplicates.equal_pixels(index),
        near=_near(public, index),
        suspects=suspects,
        clipped={"black": quality.fractions(index, "clipped_low"), "white": quality.fractions(index, "clipped_high")},
        throughput=_throughput(folder),
    )


def _near(public: Path, index: pa.Table) -> near_duplicates.NearDuplicates | None:
    try:
        return near_duplicates.near_pairs(public, index)
    except (OSError, ValueError):
        raise ShardFormatError(f"a shard of {public} is damaged; run: python -m data_prep verify {public}") from None


def _private_facts(public: Path, private: Path) -> PrivateFacts:
    manifest = read_manifest(private)
    if key_fingerprint(manifest) != key_fingerprint_of(public):
        raise ArchiveError(f"{private} was made with another secret than the shards; give the folder they come from")
    census = private_census(manifest, study_years(private, manifest.num_rows))
    return PrivateFacts(manifest.num_rows, census, _unmapped(private))


def _unmapped(private: Path) -> list[tuple[str, str, int]]:
    try:
        with (private / UNMAPPED_FILE).open(encoding="utf-8", newline="") as file:
            rows = [(row["field"], row["word"], int(row["films"])) for row in csv.DictReader(file)]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError):
        raise ArchiveError(f"{private / UNMAPPED_FILE} cannot be read; scan again") from None
    return sorted(rows, key=lambda row: (-row[2], row[0], row[1]))


def _throughput(folder: Folder) -> Throughput:
    steps = np.diff(folder.written_at)
    if len(steps) < 2 or float(steps.sum()) < 1:
        return Throughput(None, None, 0)
    usual = max(float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0, 0.1)
    pauses = steps > max(10 * usual, 60)
    busy = float(steps[~pauses].sum())
    share = (~pauses).sum() / len(folder.written_at)
    films = folder.index.num_rows * share
    return Throughput(films / busy * 3600 if busy else None, float(steps.sum()), int(pauses.sum()))
