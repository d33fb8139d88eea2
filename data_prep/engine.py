"""Private folder → public folder: plan, write the shards that are not there yet, then publish the whole.

Running the same command again finishes what was interrupted; finished shards are not touched.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from data_prep import public_folder
from data_prep.atomic import canonical_json, published
from data_prep.config import ShardSettings
from data_prep.errors import DROPPED, ArchiveError, ShardFormatError
from data_prep.manifest import key_fingerprint, read_linkage, read_manifest
from data_prep.plan import Plan, PlannedShard, plan_shards
from data_prep.progress import Progress
from data_prep.shard_format import (
    FORMAT_VERSION,
    INDEX_SCHEMA,
    REJECTS_SCHEMA,
    SPLITS,
    DatasetCard,
    FileCounts,
    ShardCard,
    read_dataset_card,
)
from data_prep.shard_pool import processes, write_shards
from data_prep.shard_writer import ShardTask, Unfinished, index_bytes

DEIDENTIFICATION = {
    "113100": "Basic Application Confidentiality Profile",
    "113105": "Clean Descriptors Option",
    "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
    "113108": "Retain Patient Characteristics Option",
}
"""DICOM PS3.15 Annex E, code scheme DCM: no attribute but those of the sidecar's allow-list leaves the archive; body
part, view and device come from vocabularies; days are shifted per patient; sex and age (at most 90) are kept. Clean
Pixel Data (113101) is not claimed: films that declare burned-in text are left out, the others are not searched."""


def shard(private: Path, public: Path, settings: ShardSettings) -> DatasetCard:
    """Write the shards of the private folder ``private`` into ``public``.

    Raises:
        ArchiveError: no private folder, a folder inside the other, or files that could not be read this time.
        ShardFormatError: ``public`` was begun with other settings, another secret or another format version, or cannot
            be written.
    """
    manifest, linkage = read_manifest(private), read_linkage(private)
    public_folder.check_apart(private, public)
    config = settings.model_dump(mode="json", exclude={"runtime"})
    fingerprint = key_fingerprint(manifest)
    identity = {"format_version": FORMAT_VERSION, "key_fingerprint": fingerprint, "config": config}
    plan = plan_shards(manifest, settings)
    try:
        return _shard(public, identity, plan, manifest, linkage, settings)
    except OSError as error:  # of writing; trouble with reading leaves a shard unfinished
        raise ShardFormatError(
            f"{public} cannot be written ({error.strerror}); mend that, then run the same command again"
        ) from None


def _shard(
    public: Path, identity: dict[str, Any], plan: Plan, manifest: pa.Table, linkage: pa.Table, settings: ShardSettings
) -> DatasetCard:
    config_sha256 = hashlib.sha256(canonical_json(identity["config"])).hexdigest()
    with public_folder.claimed(public, identity):
        cards = {one.name: card for one in plan.shards if (card := _finished(public, one, config_sha256))}
        todo = [one for one in plan.shards if one.name not in cards]
        if todo:
            public_folder.reopen(public, identity)
            tasks = _tasks(todo, manifest, linkage, settings, config_sha256)
            cards |= {card.shard: card for card in _write_all(tasks, todo, public, settings.runtime.workers)}
        ordered = [cards[name] for name in sorted(cards)]
        public_folder.remove_other_shards(public, set(cards))
        return _publish(public, identity, config_sha256, ordered, plan.rejects, manifest.num_rows)


def _finished(public: Path, planned: PlannedShard, config_sha256: str) -> ShardCard | None:
    """The card of a shard that is there and was made from the same inputs with the same settings."""
    try:
        card = ShardCard.model_validate_json((public / f"{planned.name}.json").read_bytes())
        index = (public / f"{planned.name}.parquet").read_bytes()
        size = (public / f"{planned.name}.tar").stat().st_size
    except (OSError, ValidationError):
        return None
    same = (card.config_sha256, card.inputs_sha256) == (config_sha256, planned.inputs_sha256)
    whole = card.tar_size == size and card.index_sha256 == hashlib.sha256(index).hexdigest()
    return card if same and whole else None


def _tasks(
    shards: Sequence[PlannedShard], manifest: pa.Table, linkage: pa.Table, settings: ShardSettings, config_sha256: str
) -> Iterator[ShardTask]:
    rows, paths = manifest["row"].to_numpy(), linkage["path"].combine_chunks()
    if not np.array_equal(rows, linkage["row"].to_numpy()):
        raise ArchiveError("manifest and linkage of the private folder do not go together; scan the archive again")
    for one in shards:
        places = np.searchsorted(rows, one.rows)
        files = zip(paths.take(places).to_pylist(), manifest.take(places).to_pylist(), strict=True)
        yield ShardTask(one.name, one.split, tuple(files), settings.max_side, config_sha256, one.inputs_sha256)


def _write_all(
    tasks: Iterator[ShardTask], todo: Sequence[PlannedShard], public: Path, workers: int
) -> Iterator[ShardCard]:
    """Write shards and show progress; what stays unfinished is reported once all others are done.

    Raises:
        ArchiveError: some files could not be read or have changed.
    """
    progress = Progress("shard", "files", sum(len(one.rows) for one in todo))
    counted = 0

    def show(files: int, refused: int) -> None:
        nonlocal counted
        progress.add(files - counted, f"{refused} no film" if refused else "")
        counted = files

    unfinished: list[Unfinished] = []
    try:
        for result in write_shards(tasks, public, processes(workers, len(todo)), show):
            if isinstance(result, Unfinished):
                unfinished.append(result)
            else:
                yield result
    finally:
        progress.close()
    if unfinished:
        raise ArchiveError(_explain(unfinished, len(todo)))


def _explain(unfinished: Sequence[Unfinished], shards: int) -> str:
    unreadable = sorted(row for one in unfinished for row in one.unreadable)
    changed = sorted(row for one in unfinished for row in one.changed)
    parts = []
    if unreadable:
        parts.append(f"{len(unreadable)} files could not be read (manifest {_rows(unreadable)}): mount or mend them")
    if changed:
        parts.append(f"{len(changed)} files have changed since the scan (manifest {_rows(changed)}): scan again")
    return f"{len(unfinished)} of {shards} shards are unfinished; {'; '.join(parts)}; then run the same command again"


def _rows(rows: Sequence[int]) -> str:
    shown = ", ".join(str(row) for row in rows[:5])
    return f"row{'s' if len(rows) > 1 else ''} {shown}{', …' if len(rows) > 5 else ''}"


def _publish(
    public: Path,
    identity: dict[str, Any],
    config_sha256: str,
    cards: Sequence[ShardCard],
    header_rejects: pa.Table,
    files: int,
) -> DatasetCard:
    """Merge the shards' tables, then write ``dataset.json``; a folder that is complete already is left alone."""
    parts = [pq.read_table(public / f"{card.shard}.parquet").cast(INDEX_SCHEMA) for card in cards]
    index = pa.concat_tables(parts or [INDEX_SCHEMA.empty_table()])
    told = [{"row": row, "reason": reason} for card in cards for row, reason in card.rejects]
    rejects = pa.concat_tables([header_rejects, pa.Table.from_pylist(told, REJECTS_SCHEMA)])
    card = _dataset_card(identity, config_sha256, cards, index, rejects)
    if card.files.written + card.files.rejected + card.files.dropped != files:
        raise AssertionError("the ledger does not add up: a file is neither written, rejected nor dropped")
    tables = {"index.parquet": index, "rejects.parquet": rejects.sort_by("row")}
    if _is_published(public, card) and all((public / name).exists() for name in tables):
        return card
    public_folder.reopen(public, identity)
    for name, table in tables.items():
        with published(public / name) as file:
            file.write(index_bytes(table))
    public_folder.finish(public, json.dumps(card.model_dump(mode="json"), indent=2, sort_keys=True).encode())
    return card


def _is_published(public: Path, card: DatasetCard) -> bool:
    try:
        return read_dataset_card(public) == card
    except ShardFormatError:
        return False


def _dataset_card(
    identity: dict[str, Any], config_sha256: str, cards: Sequence[ShardCard], index: pa.Table, rejects: pa.Table
) -> DatasetCard:
    reasons = Counter(rejects["reason"].to_pylist())
    dropped = sum(count for reason, count in reasons.items() if reason in DROPPED)
    of_split = {split: index.filter(pc.equal(index["split"], split)) for split in SPLITS}
    shards = {f"{card.shard}.tar": card.tar_sha256 for card in cards}
    return DatasetCard(
        **identity,
        config_sha256=config_sha256,
        dataset_sha256=dataset_sha256(shards),
        files=FileCounts(written=index.num_rows, rejected=rejects.num_rows - dropped, dropped=dropped),
        reasons=dict(sorted(reasons.items())),
        films={split: films.num_rows for split, films in of_split.items()},
        patients={split: pc.count_distinct(films["patient"]).as_py() for split, films in of_split.items()},
        shards=shards,
        deidentification=DEIDENTIFICATION,
    )


def dataset_sha256(shards: dict[str, str]) -> str:
    """SHA-256 over names and checksums of all shards, in order of their names."""
    return hashlib.sha256("".join(f"{name} {sha256}\n" for name, sha256 in sorted(shards.items())).encode()).hexdigest()
