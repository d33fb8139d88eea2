"""What a public folder holds at this moment, finished or not: the tables and facts that a report is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from data_prep.errors import Reason, ShardFormatError
from data_prep.planning import folder_identity
from data_prep.shard_format.appended_folders import generation_folders
from data_prep.shard_format.dataset_card import DatasetCard, FileCounts, ShardCard, read_dataset_card
from data_prep.shard_format.index import read_index
from data_prep.shard_format.index_schema import INDEX_SCHEMA, REJECTS_SCHEMA
from data_prep.sharding.merged_tables import DEIDENTIFICATION


@dataclass(frozen=True)
class Folder:
    """A public folder.

    Attributes:
        public: where it is; not shown in a report.
        complete: whether its run has finished.
        generations: how many it has, all of which are read.
        dataset_sha256: of the last generation; empty while it is unfinished.
        files: what became of all files; None while it is unfinished. A file that an earlier generation holds counts
            there alone.
        index: one row per film of the shards that are there.
        rejects: one row per file that became no film; of an unfinished folder, those of its finished shards.
        shards: finished ones.
        size: of their tars, in bytes.
        written_at: [shards] when each was written, seconds since 1970, sorted, by the clock of the file system.
    """

    public: Path
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
        """Files that became films, so far. Frames of one file are films of their own; the first counts for it."""
        if self.files is not None:
            return self.files.written
        frames = self.index["frame"] if "frame" in self.index.column_names else None
        later = pc.sum(pc.greater(frames, 0)).as_py() or 0 if frames is not None else 0
        return int(self.index.num_rows - later)

    def reasons(self) -> dict[str, int]:
        """Reason → files, the most frequent first."""
        counted = self.rejects.group_by("reason").aggregate([("row", "count")]).to_pylist()
        return {
            row["reason"]: row["row_count"]
            for row in sorted(counted, key=lambda row: (-row["row_count"], row["reason"]))
        }


def read_folder(public: Path) -> Folder:
    """Read tables and cards; films are not touched.

    Raises:
        ShardFormatError: it is no public folder, damaged, or of another version.
    """
    if not public.is_dir() or not folder_identity.is_public(public):
        raise ShardFormatError(f"{public} is no shard folder; make one with: python -m data_prep shard")
    config, _ = folder_identity.read_unfinished(public)
    complete = folder_identity.is_complete(public)
    folders = generation_folders(public) if complete else [public]
    cards = {folder / f"{one.shard}.json": one for folder in folders for one in _shard_cards(folder)}
    told: list[DatasetCard] = []
    if complete:
        told = [read_dataset_card(folder) for folder in folders]
        index = read_index(public, _columns(public / "index.parquet"))
        rejects = pa.concat_tables(_table(folder / "rejects.parquet") for folder in folders)
        rejects = rejects.filter(pc.not_equal(rejects["reason"], Reason.ALREADY_SHARDED.value))
    else:
        parts = [_table(path.with_suffix(".parquet")) for path in cards]
        index = pa.concat_tables(parts, promote_options="default") if parts else INDEX_SCHEMA.empty_table()
        lines = [{"row": row, "reason": reason} for one in cards.values() for row, reason in one.rejects]
        rejects = pa.Table.from_pylist(lines, REJECTS_SCHEMA)
    return Folder(
        public=public,
        complete=complete,
        generations=len(folders),
        dataset_sha256=told[-1].dataset_sha256 if complete else "",
        files=_together(told) if complete else None,
        config=config,
        codes=told[0].deidentification if complete else DEIDENTIFICATION,
        index=index,
        rejects=rejects,
        shards=len(cards),
        size=sum(one.tar_size for one in cards.values()),
        written_at=sorted(path.stat().st_mtime for path in cards),
    )


def _together(cards: Sequence[DatasetCard]) -> FileCounts:
    """The ledgers of all generations as one."""
    known = sum(card.reasons.get(Reason.ALREADY_SHARDED.value, 0) for card in cards)
    return FileCounts(
        written=sum(card.files.written for card in cards),
        rejected=sum(card.files.rejected for card in cards),
        dropped=sum(card.files.dropped for card in cards) - known,
    )


def _shard_cards(public: Path) -> list[ShardCard]:
    cards = []
    for path in sorted(public.glob("*-*.json")):
        try:
            cards.append(ShardCard.model_validate_json(path.read_bytes()))
        except (OSError, ValidationError):
            raise ShardFormatError(f"{path} is damaged; run: python -m data_prep verify {public}") from None
    return cards


def _table(path: Path) -> pa.Table:
    try:
        return pq.read_table(path, columns=_columns(path))
    except (OSError, pa.ArrowException):
        raise ShardFormatError(f"{path} cannot be read; run the same shard command again to rewrite it") from None


def _columns(path: Path) -> list[str]:
    """The columns of a table, without those that no page shows and that would take most of the memory."""
    unused = {"series", "study_day", "site", "pixel_spacing_from"}
    try:
        return [name for name in pq.read_schema(path).names if name not in unused]
    except (OSError, pa.ArrowException):
        raise ShardFormatError(f"{path} cannot be read; run the same shard command again to rewrite it") from None
