"""Tables and card of a public folder, merged from the tables and cards of its shards."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_prep.errors import DROP_REASONS, Reason
from data_prep.planning.known_failures import KnownFailures, RowReasons
from data_prep.shard_format.dataset_card import DatasetCard, FileCounts, ShardCard
from data_prep.shard_format.index import count_across_splits, fill_same_pixels, same_pixels
from data_prep.shard_format.index_schema import INDEX_SCHEMA, REJECTS_SCHEMA
from data_prep.shard_format.parquet_bytes import with_null_columns
from data_prep.shard_format.sidecar import SPLITS

DEIDENTIFICATION = {
    "113100": "Basic Application Confidentiality Profile",
    "113105": "Clean Descriptors Option",
    "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
    "113108": "Retain Patient Characteristics Option",
}
"""Codes of DICOM PS3.15 Annex E, scheme DCM: only attributes of the sidecar's allow-list leave the archive; body part,
view and device come from vocabularies; days are shifted per patient; sex and age (at most 90) are kept. Clean Pixel
Data (113101) is not claimed: films that declare burned-in text are rejected, the others are not searched for text."""

_FAILURES = (Reason.UNREADABLE_FILE, Reason.CHANGED_SINCE_SCAN, Reason.DECODER_CRASHED, Reason.DECODER_TIMEOUT)


class EqualPixels(NamedTuple):
    """Names of the pixels of films that are not published.

    Attributes:
        names: columns ``key`` and ``pixels``, equal for films of equal pixels.
        earlier: name → film of an earlier generation that represents it; grows, see :func:`fill_same_pixels`.
    """

    names: pa.Table
    earlier: dict[str, str]


def merge_index(public: Path, shards: Iterable[str], pixels: EqualPixels | None = None) -> pa.Table:
    """Merge the index tables of shards in order of their names, and fill ``same_pixels_as``.

    Args:
        public: folder of the shards.
        shards: their names.
        pixels: which films have equal pixels, where the tables hold no checksums.

    Returns:
        One row per film (INDEX_SCHEMA).
    """
    tables = [
        with_null_columns(pq.read_table(public / f"{name}.parquet"), INDEX_SCHEMA).cast(INDEX_SCHEMA)
        for name in sorted(shards)
    ]
    index = pa.concat_tables(tables or [INDEX_SCHEMA.empty_table()])
    if pixels is None:
        return same_pixels(index)
    names = pixels.names["pixels"].take(pc.index_in(index["key"], pixels.names["key"].combine_chunks()))
    return fill_same_pixels(index, pc.coalesce(names, index["key"]), pixels.earlier)


def count_written_files(index: pa.Table) -> int:
    """Count the files that became films: a multi-frame file gives several films, of which the first is counted."""
    return int(pc.sum(pc.equal(pc.fill_null(index["frame"], 0), 0)).as_py() or 0)


def merge_rejects(by_header: pa.Table, cards: Sequence[ShardCard]) -> pa.Table:
    """Merge the reasons of all files that became no film (REJECTS_SCHEMA), in order of the rows.

    Args:
        by_header: files that were rejected by their header (REJECTS_SCHEMA).
        cards: of all shards.
    """
    from_shards = [{"row": row, "reason": reason} for card in cards for row, reason in card.rejects]
    return pa.concat_tables([by_header, pa.Table.from_pylist(from_shards, REJECTS_SCHEMA)]).sort_by("row")


def failed_files(rejects: pa.Table, by_header: pa.Table) -> RowReasons:
    """Row → reason of the files that could not be read, or that crashed or blocked their decoder.

    Args:
        rejects: all files that became no film (REJECTS_SCHEMA).
        by_header: those of them that were rejected by their header.
    """
    by_shard = rejects.filter(pc.invert(pc.is_in(rejects["row"], by_header["row"].combine_chunks())))
    failed = by_shard.filter(pc.is_in(by_shard["reason"], pa.array([reason.value for reason in _FAILURES])))
    return {row["row"]: Reason(row["reason"]) for row in failed.to_pylist()}


def make_dataset_card(
    identity: dict[str, Any],
    config_sha256: str,
    failures: KnownFailures,
    cards: Sequence[ShardCard],
    index: pa.Table,
    rejects: pa.Table,
) -> DatasetCard:
    """Make the content of ``dataset.json``.

    Args:
        identity: format_version, key_fingerprint, config and after.
        config_sha256: of the settings.
        failures: files that are not tried again.
        cards: of all shards.
        index: of all films (INDEX_SCHEMA).
        rejects: of all other files (REJECTS_SCHEMA).
    """
    reasons = Counter(rejects["reason"].to_pylist())
    dropped = sum(count for reason, count in reasons.items() if reason in DROP_REASONS)
    by_split = {split: index.filter(pc.equal(index["split"], split)) for split in SPLITS}
    shards = {f"{card.shard}.tar": card.tar_sha256 for card in cards}
    return DatasetCard(
        **identity,
        plan_sha256=failures.plan_sha256,
        quarantined=failures.pairs(),
        config_sha256=config_sha256,
        dataset_sha256=dataset_sha256(shards),
        files=FileCounts(written=count_written_files(index), rejected=rejects.num_rows - dropped, dropped=dropped),
        reasons=dict(sorted(reasons.items())),
        films={split: films.num_rows for split, films in by_split.items()},
        patients={split: pc.count_distinct(films["patient"]).as_py() for split, films in by_split.items()},
        same_pixels=index.num_rows - index["same_pixels_as"].null_count,
        same_pixels_across_splits=count_across_splits(index),
        shards=shards,
        deidentification=DEIDENTIFICATION,
    )


def dataset_sha256(shards: dict[str, str]) -> str:
    """SHA-256 of the names and checksums (name → SHA-256) of all shards, in order of their names."""
    return hashlib.sha256("".join(f"{name} {sha256}\n" for name, sha256 in sorted(shards.items())).encode()).hexdigest()
