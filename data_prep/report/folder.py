"""What a public folder holds at this moment, finished or not: the tables and facts that a report is made of."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from data_prep import public_folder
from data_prep.errors import ShardFormatError
from data_prep.ledger import DEIDENTIFICATION
from data_prep.shard_format import INDEX_SCHEMA, REJECTS_SCHEMA, FileCounts, ShardCard, read_dataset_card


@dataclass(frozen=True)
class Folder:
    """A public folder.

    Attributes:
        public: where it is; not shown in a report.
        complete: whether its run has finished.
        dataset_sha256: empty while it is unfinished.
        files: what became of all files; None while it is unfinished.
        index: one row per film of the shards that are there.
        rejects: one row per file that became no film; of an unfinished folder, those of its finished shards.
        shards: finished ones.
        size: of their tars, in bytes.
        written_at: [shards] when each was written, seconds since 1970, sorted, by the clock of the file system.
    """

    public: Path
    complete: bool
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
    if not public.is_dir() or not public_folder.is_begun(public):
        raise ShardFormatError(f"{public} is no shard folder; make one with: python -m data_prep shard")
    config, _ = public_folder.read_begun(public)
    cards = _shard_cards(public)
    complete = public_folder.is_complete(public)
    if complete:
        card = read_dataset_card(public)
        index, rejects = _table(public / "index.parquet"), _table(public / "rejects.parquet")
    else:
        parts = [_table(public / f"{one.shard}.parquet") for one in cards]
        index = pa.concat_tables(parts, promote_options="default") if parts else INDEX_SCHEMA.empty_table()
        told = [{"row": row, "reason": reason} for one in cards for row, reason in one.rejects]
        rejects = pa.Table.from_pylist(told, REJECTS_SCHEMA)
    return Folder(
        public=public,
        complete=complete,
        dataset_sha256=card.dataset_sha256 if complete else "",
        files=card.files if complete else None,
        config=config,
        codes=card.deidentification if complete else DEIDENTIFICATION,
        index=index,
        rejects=rejects,
        shards=len(cards),
        size=sum(one.tar_size for one in cards),
        written_at=sorted((public / f"{one.shard}.json").stat().st_mtime for one in cards),
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
    """A table of the folder, without columns that no page shows and that would take most of the memory."""
    unused = {"series", "study_day", "site", "pixel_spacing_from"}
    try:
        names = [name for name in pq.read_schema(path).names if name not in unused]
        return pq.read_table(path, columns=names)
    except (OSError, pa.ArrowException):
        raise ShardFormatError(f"{path} cannot be read; run the same shard command again to rewrite it") from None
