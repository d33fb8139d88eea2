"""Collect the numbers and film rows that the report on a public folder shows."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_prep.archive.manifest import STATED_FILE, UNMAPPED_FILE, key_fingerprint, read_manifest
from data_prep.archive.pixel_digests import read_digests, with_digests
from data_prep.archive.stated_facts import FACTS, CrossTable, cross_tables, differs, read_stated
from data_prep.dataset_report import near_duplicates, quality
from data_prep.dataset_report.census import Census, compute_private_census, compute_public_census, read_study_years
from data_prep.dataset_report.folder_state import FolderState, read_folder
from data_prep.errors import ArchiveError, ShardFormatError
from data_prep.folder_url import PublicFolder
from data_prep.planning.folder_identity import read_key_fingerprint
from data_prep.shard_format.appended_folders import generation_folders
from data_prep.shard_format.dataset_card import read_dataset_card, read_shard_cards
from data_prep.shard_format.index import equal_pixels

_CROSSED = frozenset(FACTS) - {"age_years"}
"""Facts with few enough values for a table."""


@dataclass(frozen=True)
class PrivateFacts:
    """Counts that only the private folder has.

    Attributes:
        files: number of files in the archive.
        census: counts of the readable films before sharding.
        unmapped: (fact, text, number of films) of texts that no vocabulary has, the most frequent first.
        cross: films by what header, path and table state, for the facts of which films differ; ages are only counted.
        differing: fact → films of which two sources state different values.
    """

    files: int
    census: Census
    unmapped: list[tuple[str, str, int]]
    cross: list[CrossTable]
    differing: dict[str, int]


@dataclass(frozen=True)
class Throughput:
    """Speed of sharding, from the modification times of the shards.

    Attributes:
        films_per_hour: films per hour without pauses; None for fewer than 3 shards, or if all were written within 1 s.
        seconds: time from the first to the last shard, pauses included; None as for ``films_per_hour``.
        pauses: number of intervals between shards of more than ten times the median interval and of more than 60 s.
    """

    films_per_hour: float | None
    seconds: float | None
    pauses: int


@dataclass(frozen=True)
class ReportContent:
    """Numbers and rows of the report on one public folder.

    Attributes:
        folder: index, rejects and cards of the public folder.
        private: counts of the private folder; None for a page that may be shared with the shards.
        census: counts of the films in the shards.
        reject_reasons: reason → number of files that were rejected or dropped for it.
        split_leaks: numbers of patients, studies and equal films that are in more than one split.
        equal_pixel_pairs: pairs of films of different patients with equal pixels.
        near_duplicate_pairs: pairs of films with similar perceptual hashes; None if no hashes are recorded.
        polarity_suspects: rows of films whose grey values may be inverted; None if not recorded.
        clipped_fractions: end of the display range (black, white) → [films] fraction, 0 to 1, of the content at that
            end; None if not recorded.
        throughput: speed of sharding.
    """

    folder: FolderState
    private: PrivateFacts | None
    census: Census
    reject_reasons: dict[str, int]
    split_leaks: quality.SplitLeaks
    equal_pixel_pairs: near_duplicates.NearDuplicates
    near_duplicate_pairs: near_duplicates.NearDuplicates | None
    polarity_suspects: NDArray[np.int64] | None
    clipped_fractions: dict[str, NDArray[np.float64] | None]
    throughput: Throughput

    @property
    def films(self) -> int:
        """Number of films in the shards."""
        return int(self.folder.index.num_rows)

    def count_same_pictures(self, kind: str) -> int:
        """Count the pairs that are copies of one picture, for a kind of pair (``near_duplicates.KINDS``)."""
        same_by_hash = self.near_duplicate_pairs.count_same_pictures(kind) if self.near_duplicate_pairs else 0
        return max(same_by_hash, self.equal_pixel_pairs.counts[kind])

    def count_missing(self, column: str) -> int:
        """Count the films without a value in a column of the index."""
        return int(self.folder.index[column].null_count)


def collect_content(public: PublicFolder, private: Path | None) -> ReportContent:
    """Collect the content of a report.

    Args:
        public: public folder, finished or unfinished.
        private: private folder of its shards; None for a page that may be shared.

    Raises:
        ShardFormatError: ``public`` is not a public folder, or is damaged.
        ArchiveError: ``private`` is not a private folder, or was written with another secret.
    """
    folder = read_folder(public)
    index = _with_pixels(folder, private)
    polarity_suspects = quality.find_suspect_polarity(index) if "polarity_suspect" in index.column_names else None
    return ReportContent(
        folder=folder,
        private=_collect_private_facts(public, private) if private is not None else None,
        census=compute_public_census(index),
        reject_reasons=folder.reasons(),
        split_leaks=quality.count_leaks(index),
        equal_pixel_pairs=near_duplicates.find_equal_pixels(index),
        near_duplicate_pairs=_find_near_duplicates(public, index),
        polarity_suspects=polarity_suspects,
        clipped_fractions={
            "black": quality.read_fractions(index, "clipped_low"),
            "white": quality.read_fractions(index, "clipped_high"),
        },
        throughput=_measure_throughput(folder),
    )


def _with_pixels(folder: FolderState, private: Path | None) -> pa.Table:
    """Fill digests that are not published: from the private folder, else with what tells films of equal pixels."""
    index, public = folder.index, folder.public
    if "pixel_sha256" not in index.column_names or not index["pixel_sha256"].null_count:
        return index
    if private is not None and folder.complete and isinstance(public, Path):
        return with_digests(index, read_digests(private, read_shard_cards(generation_folders(public))))
    place = index.schema.get_field_index("pixel_sha256")
    return index.set_column(place, "pixel_sha256", equal_pixels(index))


def _find_near_duplicates(public: PublicFolder, index: pa.Table) -> near_duplicates.NearDuplicates | None:
    try:
        return near_duplicates.find_near_duplicates(public, index)
    except (OSError, ValueError):
        raise ShardFormatError(f"a shard of {public} is damaged. Run: mae-rad verify {public}") from None


def _collect_private_facts(public: PublicFolder, private: Path) -> PrivateFacts:
    manifest = read_manifest(private)
    fingerprint = (
        read_key_fingerprint(public) if isinstance(public, Path) else read_dataset_card(public).key_fingerprint
    )
    if key_fingerprint(manifest) != fingerprint:
        raise ArchiveError(
            f"{private} was written with another secret than the shards. Give the private folder of these shards"
        )
    census = compute_private_census(manifest, read_study_years(private, manifest.num_rows))
    cross, differing = _count_differences(private, manifest)
    return PrivateFacts(manifest.num_rows, census, _read_unmapped(private), cross, differing)


def _count_differences(private: Path, manifest: pa.Table) -> tuple[list[CrossTable], dict[str, int]]:
    """Cross tables and numbers of films of which the sources of a fact differ; none for scans of earlier releases."""
    stated = read_stated(private / STATED_FILE)
    if stated is None or not stated["row"].equals(manifest["row"]):
        return [], {}
    films = stated.filter(pc.is_null(manifest["reason"]))
    counts = {fact: pc.sum(differs(films, fact)).as_py() or 0 for fact in FACTS}
    cross = [table for table in cross_tables(films) if table.differing and table.fact in _CROSSED]
    return cross, {fact: count for fact, count in counts.items() if count}


def _read_unmapped(private: Path) -> list[tuple[str, str, int]]:
    try:
        with (private / UNMAPPED_FILE).open(encoding="utf-8", newline="") as file:
            rows = [(row["field"], row["word"], int(row["films"])) for row in csv.DictReader(file)]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError):
        raise ArchiveError(f"{private / UNMAPPED_FILE} cannot be read. Run the same scan command again.") from None
    return sorted(rows, key=lambda row: (-row[2], row[0], row[1]))


def _measure_throughput(folder: FolderState) -> Throughput:
    intervals = np.diff(folder.written_at)  # seconds between shards
    if len(intervals) < 2 or float(intervals.sum()) < 1:
        return Throughput(None, None, 0)
    # parallel workers can write shards at equal times, so the median is that of positive intervals
    median = max(float(np.median(intervals[intervals > 0])) if (intervals > 0).any() else 0.0, 0.1)
    is_pause = intervals > max(10 * median, 60)
    seconds_without_pauses = float(intervals[~is_pause].sum())
    films = folder.index.num_rows * (~is_pause).sum() / len(folder.written_at)
    films_per_hour = films / seconds_without_pauses * 3600 if seconds_without_pauses else None
    return Throughput(films_per_hour, float(intervals.sum()), int(is_pause.sum()))
