"""Read the tables and cards of a public folder, finished or unfinished, for the report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from data_prep.bounded_reading import open_regular
from data_prep.errors import Reason, ShardFormatError
from data_prep.folder_url import FolderUrl, PublicFolder
from data_prep.object_storage.published_files import local_file
from data_prep.planning import folder_identity
from data_prep.shard_format.appended_folders import generation_folders
from data_prep.shard_format.dataset_card import DatasetCard, FileCounts, ShardCard, read_dataset_card
from data_prep.shard_format.index import read_index
from data_prep.shard_format.index_schema import INDEX_SCHEMA, REJECTS_SCHEMA
from data_prep.shard_format.parquet_bytes import read_parquet
from data_prep.sharding.merged_tables import DEIDENTIFICATION


@dataclass(frozen=True)
class FolderState:
    """Tables and counts of a public folder.

    Attributes:
        public: path; not shown in a report.
        complete: whether its run has finished.
        generations: number of generations, all of which are read.
        dataset_sha256: checksum of the last generation; empty while unfinished.
        files: counts of all files; None while unfinished. A file counts in the first generation that holds it only.
        config: settings of the run.
        codes: de-identification codes of DICOM PS3.15 → meanings.
        index: one row per film of the finished shards.
        rejects: one row per file that is not among the films; while unfinished, those of the finished shards.
        shards: number of finished shards.
        size: bytes of their tars.
        written_at: [shards] times of modification, seconds since 1970, sorted; empty for a folder in object storage.
    """

    public: PublicFolder
    complete: bool
    generations: int
    dataset_sha256: str
    files: FileCounts | None
    config: dict[str, Any]
    codes: dict[str, str]
    index: pa.Table
    rejects: pa.Table
    shards: int
    size: int
    written_at: list[float]

    def written(self) -> int:
        """Count the files whose films are in the shards; a file with several frames counts once."""
        if self.files is not None:
            return self.files.written
        frames = self.index["frame"] if "frame" in self.index.column_names else None
        further_frames = pc.sum(pc.greater(frames, 0)).as_py() or 0 if frames is not None else 0
        return int(self.index.num_rows - further_frames)

    def reasons(self) -> dict[str, int]:
        """Count files by reason, the most frequent first."""
        counts = self.rejects.group_by("reason").aggregate([("row", "count")]).to_pylist()
        return {
            row["reason"]: row["row_count"]
            for row in sorted(counts, key=lambda row: (-row["row_count"], row["reason"]))
        }


def read_folder(public: PublicFolder) -> FolderState:
    """Read tables and cards of a public folder; films are not read.

    Raises:
        ShardFormatError: it is not a public folder, is damaged, or is of another format version.
    """
    if isinstance(public, Path) and not (public.is_dir() and folder_identity.is_public(public)):
        raise ShardFormatError(f"{public} is not a public folder; write one with: mae-rad shard")
    complete = not isinstance(public, Path) or folder_identity.is_complete(public)
    folders = generation_folders(public) if complete else [public]
    shard_cards = {path: card for folder in folders for path, card in _shard_cards(folder)}
    dataset_cards: list[DatasetCard] = []
    if isinstance(public, FolderUrl) or complete:
        dataset_cards = [read_dataset_card(folder) for folder in folders]
        config = dataset_cards[0].config
        index = read_index(public, _columns(local_file(public, "index.parquet")))
        rejects = pa.concat_tables(_read_table(local_file(folder, "rejects.parquet")) for folder in folders)
        rejects = rejects.filter(pc.not_equal(rejects["reason"], Reason.ALREADY_SHARDED.value))
    else:
        config, _ = folder_identity.read_unfinished(public)
        tables = [_read_table(path.with_suffix(".parquet")) for path in shard_cards]
        index = pa.concat_tables(tables, promote_options="default") if tables else INDEX_SCHEMA.empty_table()
        lines = [{"row": row, "reason": reason} for card in shard_cards.values() for row, reason in card.rejects]
        rejects = pa.Table.from_pylist(lines, REJECTS_SCHEMA)
    return FolderState(
        public=public,
        complete=complete,
        generations=len(folders),
        dataset_sha256=dataset_cards[-1].dataset_sha256 if complete else "",
        files=_total_counts(dataset_cards) if complete else None,
        config=config,
        codes=dataset_cards[0].deidentification if complete else DEIDENTIFICATION,
        index=index,
        rejects=rejects,
        shards=len(shard_cards),
        size=sum(card.tar_size for card in shard_cards.values()),
        written_at=[] if isinstance(public, FolderUrl) else sorted(path.stat().st_mtime for path in shard_cards),
    )


def _total_counts(cards: Sequence[DatasetCard]) -> FileCounts:
    """Counts of all generations; files of an earlier generation count once."""
    repeated = sum(card.reasons.get(Reason.ALREADY_SHARDED.value, 0) for card in cards)
    return FileCounts(
        written=sum(card.files.written for card in cards),
        rejected=sum(card.files.rejected for card in cards),
        dropped=sum(card.files.dropped for card in cards) - repeated,
    )


def _shard_cards(public: PublicFolder) -> list[tuple[Path, ShardCard]]:
    """Cards of finished shards, and their files on this machine."""
    if isinstance(public, FolderUrl):
        shards = [Path(name).with_suffix(".json").name for name in read_dataset_card(public).shards]
        paths = [local_file(public, name) for name in shards]
    else:
        paths = sorted(public.glob("*-*.json"))
    cards = []
    for path in paths:
        try:
            cards.append((path, ShardCard.model_validate_json(path.read_bytes())))
        except (OSError, ValidationError):
            raise ShardFormatError(f"{path.name} is damaged; run: mae-rad verify {public}") from None
    return cards


def _read_table(path: Path) -> pa.Table:
    try:
        return read_parquet(path, _columns(path))
    except (OSError, pa.ArrowException):
        raise ShardFormatError(f"{path} cannot be read; run the same shard command again to rewrite it") from None


def _columns(path: Path) -> list[str]:
    """Columns of a table without those that the report does not use and that need most of the memory."""
    unused = {"series", "study_day", "site", "pixel_spacing_from"}
    try:
        with open_regular(path) as file:
            return [name for name in pq.read_schema(file).names if name not in unused]
    except (OSError, pa.ArrowException):
        raise ShardFormatError(f"{path} cannot be read; run the same shard command again to rewrite it") from None
