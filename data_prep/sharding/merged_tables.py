"""The tables of all shards together, and the card that says that the folder is complete."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_prep.errors import DROPPED, Reason
from data_prep.planning.known_failures import History, Verdicts
from data_prep.shard_format.dataset_card import DatasetCard, FileCounts, ShardCard
from data_prep.shard_format.index import across_splits, same_pixels
from data_prep.shard_format.index_schema import INDEX_SCHEMA, REJECTS_SCHEMA
from data_prep.shard_format.sidecar import SPLITS

DEIDENTIFICATION = {
    "113100": "Basic Application Confidentiality Profile",
    "113105": "Clean Descriptors Option",
    "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
    "113108": "Retain Patient Characteristics Option",
}
"""DICOM PS3.15 Annex E, code scheme DCM: no attribute but those of the sidecar's allow-list leaves the archive; body
part, view and device come from vocabularies; days are shifted per patient; sex and age (at most 90) are kept. Clean
Pixel Data (113101) is not claimed: films that declare burned-in text are left out, the others are not searched."""

_GIVEN_UP = (Reason.UNREADABLE_FILE, Reason.CHANGED_SINCE_SCAN, Reason.DECODER_CRASHED, Reason.DECODER_TIMEOUT)


def merged_index(public: Path, shards: Iterable[str]) -> pa.Table:
    """The rows of the shards' tables, in order of the shards' names, with ``same_pixels_as`` (INDEX_SCHEMA)."""
    parts = [pq.read_table(public / f"{name}.parquet").cast(INDEX_SCHEMA) for name in sorted(shards)]
    return same_pixels(pa.concat_tables(parts or [INDEX_SCHEMA.empty_table()]))


def written_files(index: pa.Table) -> int:
    """Files that became films; one with several frames became several, of which the first is counted."""
    return int(pc.sum(pc.equal(pc.fill_null(index["frame"], 0), 0)).as_py() or 0)


def merged_rejects(by_header: pa.Table, cards: Sequence[ShardCard]) -> pa.Table:
    """The reason of every file that became no film (REJECTS_SCHEMA), in order of the rows.

    Args:
        by_header: files that are in no shard (REJECTS_SCHEMA).
        cards: of all shards.
    """
    of_shards = [{"row": row, "reason": reason} for card in cards for row, reason in card.rejects]
    return pa.concat_tables([by_header, pa.Table.from_pylist(of_shards, REJECTS_SCHEMA)]).sort_by("row")


def given_up(rejects: pa.Table, by_header: pa.Table) -> Verdicts:
    """Row → verdict of the files that could not be had, or that stopped their decoder, whichever process learnt it."""
    of_pixels = rejects.filter(pc.invert(pc.is_in(rejects["row"], by_header["row"].combine_chunks())))
    chosen = of_pixels.filter(pc.is_in(of_pixels["reason"], pa.array([reason.value for reason in _GIVEN_UP])))
    return {row["row"]: Reason(row["reason"]) for row in chosen.to_pylist()}


def dataset_card(
    identity: dict[str, Any],
    config_sha256: str,
    history: History,
    cards: Sequence[ShardCard],
    index: pa.Table,
    rejects: pa.Table,
) -> DatasetCard:
    """``dataset.json`` of a folder with these tables."""
    reasons = Counter(rejects["reason"].to_pylist())
    dropped = sum(count for reason, count in reasons.items() if reason in DROPPED)
    of_split = {split: index.filter(pc.equal(index["split"], split)) for split in SPLITS}
    shards = {f"{card.shard}.tar": card.tar_sha256 for card in cards}
    return DatasetCard(
        **identity,
        plan_sha256=history.plan_sha256,
        quarantined=history.pairs(),
        config_sha256=config_sha256,
        dataset_sha256=dataset_sha256(shards),
        files=FileCounts(written=written_files(index), rejected=rejects.num_rows - dropped, dropped=dropped),
        reasons=dict(sorted(reasons.items())),
        films={split: films.num_rows for split, films in of_split.items()},
        patients={split: pc.count_distinct(films["patient"]).as_py() for split, films in of_split.items()},
        same_pixels=index.num_rows - index["same_pixels_as"].null_count,
        same_pixels_across_splits=across_splits(index),
        shards=shards,
        deidentification=DEIDENTIFICATION,
    )


def dataset_sha256(shards: dict[str, str]) -> str:
    """SHA-256 over names and checksums of all shards, in order of their names."""
    return hashlib.sha256("".join(f"{name} {sha256}\n" for name, sha256 in sorted(shards.items())).encode()).hexdigest()
