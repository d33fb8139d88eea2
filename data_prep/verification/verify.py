"""Verify a public folder: checksums, tables, tars, sidecars and every film; problems name shards and keys only."""

import hashlib
import tarfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from data_prep.errors import DROP_REASONS, ShardFormatError
from data_prep.film.sample import pixel_sha256
from data_prep.runtime.progress import Progress
from data_prep.runtime.worker_pool import process_count, spawn_pool
from data_prep.shard_format.apply_display import display_table
from data_prep.shard_format.content_mask_bits import pack_mask, unpack_mask
from data_prep.shard_format.dataset_card import DatasetCard, ShardCard, read_dataset_card
from data_prep.shard_format.film_codec import codec_of, decode_film
from data_prep.shard_format.folder_layout import FORMAT_VERSION, SIDECAR_SUFFIX, film_suffix
from data_prep.shard_format.index import count_across_splits, read_index, same_pixels
from data_prep.shard_format.index_schema import EARLIER_INDEX_SCHEMA, INDEX_SCHEMA, REJECTS_SCHEMA
from data_prep.shard_format.label_tables import (
    AGREEMENT_FILE,
    AGREEMENT_SCHEMA,
    BOXES_FILE,
    LABELS_FILE,
    STATISTICS_FILE,
    STATISTICS_SCHEMA,
    read_boxes,
    read_labels,
)
from data_prep.shard_format.parquet_bytes import read_parquet, with_null_columns
from data_prep.shard_format.sidecar import SPLITS, Sidecar
from data_prep.sharding.merged_tables import count_written_files, dataset_sha256

_MAX_LISTED_PROBLEMS = 20
"""Problems of one shard that are listed; a damaged tar has thousands."""


def verify(public: Path) -> list[str]:
    """Find all problems of a complete public folder; an empty list means that it is valid.

    Raises:
        ShardFormatError: the folder does not exist, is not finished, or has another format version.
    """
    card = read_dataset_card(public)
    problems = _folder_problems(public, card)
    problems += _shard_problems(public, card)
    index = _read_table(public / "index.parquet", INDEX_SCHEMA)
    rejects = _read_table(public / "rejects.parquet", REJECTS_SCHEMA)
    if index is None or rejects is None:
        return [*problems, "index.parquet or rejects.parquet is missing or damaged; run the same shard command again"]
    shard_tables = [_read_table(public / f"{Path(name).stem}.parquet", INDEX_SCHEMA) for name in sorted(card.shards)]
    readable = [table for table in shard_tables if table is not None]
    merged = pa.concat_tables(readable or [INDEX_SCHEMA.empty_table()])
    if not _without_unpublished(index).equals(_without_unpublished(same_pixels(merged))):
        problems.append("index.parquet: not the rows of the shards, in their order")
    for name, read in ((LABELS_FILE, read_labels), (BOXES_FILE, read_boxes)):
        try:
            read(public)
        except ShardFormatError:
            problems.append(f"{name}: damaged; write it again with: mae-rad label")
    for name, schema in ((STATISTICS_FILE, STATISTICS_SCHEMA), (AGREEMENT_FILE, AGREEMENT_SCHEMA)):
        if (public / name).exists() and _read_table(public / name, schema) is None:
            problems.append(f"{name}: damaged; write it again with: mae-rad label")
    return problems + _table_problems(card, index, rejects)


def _without_unpublished(index: pa.Table) -> pa.Table:
    """The index without ``same_pixels_as`` where the checksums from which it was made are not published."""
    return index.drop_columns(["same_pixels_as"]) if index["pixel_sha256"].null_count else index


def _folder_problems(public: Path, card: DatasetCard) -> list[str]:
    listed = {Path(name).stem for name in card.shards}
    paths = [path for suffix in ("tar", "parquet", "json") for path in public.glob(f"*-*.{suffix}")]
    problems = [f"{path.name}: not in dataset.json" for path in sorted(paths) if path.stem not in listed]
    problems += [f"{path.name}: left by an interrupted command" for path in sorted(public.glob(".*.part"))]
    if card.dataset_sha256 != dataset_sha256(card.shards):
        problems.append("dataset.json: dataset_sha256 is not that of its shards")
    return problems


def _read_table(path: Path, schema: pa.Schema) -> pa.Table | None:
    """Table of a Parquet file; None if it is missing, damaged or of another schema. An earlier index is completed."""
    try:
        table = read_parquet(path)
    except (OSError, pa.ArrowException):
        return None
    if schema is INDEX_SCHEMA and table.schema.equals(EARLIER_INDEX_SCHEMA):
        table = with_null_columns(table, INDEX_SCHEMA)
    return table if table.schema.equals(schema) else None


def verify_generations(public: Path) -> list[str]:
    """Find problems between the generations of a folder: a film twice, a patient in two splits.

    Raises:
        ShardFormatError: as :func:`verify`.
    """
    return _duplicate_problems(read_index(public, ["key", "split", "patient"]))


def _duplicate_problems(index: pa.Table) -> list[str]:
    """Find films with several rows, and patients in several splits."""
    keys = index["key"].value_counts().to_pylist()
    problems = [f"{key['values']}: in the index {key['counts']} times" for key in keys if key["counts"] > 1]
    pairs = index.group_by(["patient", "split"]).aggregate([]).sort_by([("patient", "ascending")])
    splits_of: dict[str, list[str]] = defaultdict(list)
    for patient, split in zip(pairs["patient"].to_pylist(), pairs["split"].to_pylist(), strict=True):
        splits_of[patient].append(split)
    return problems + [
        f"patient {patient}: in the splits {', '.join(sorted(splits))}"
        for patient, splits in splits_of.items()
        if len(splits) > 1
    ]


def _table_problems(card: DatasetCard, index: pa.Table, rejects: pa.Table) -> list[str]:
    keys, splits = (index[name].to_pylist() for name in ("key", "split"))
    problems = _duplicate_problems(index)
    patient_known = index["patient_known"].to_pylist()
    holds_out = not {"hold_out", "hold_out_of_table"}.isdisjoint(card.config.get("splits", {}))
    problems += [
        f"{key}: of an unknown patient, but in {split}"
        for key, split, is_known in zip(keys, splits, patient_known, strict=True)
        if not is_known and split != "train" and not (holds_out and split == "test")
    ]
    reasons = Counter(rejects["reason"].to_pylist())
    dropped = sum(count for reason, count in reasons.items() if reason in DROP_REASONS)
    counts = {
        "files.written": (card.files.written, count_written_files(index)),
        "files.rejected": (card.files.rejected, rejects.num_rows - dropped),
        "files.dropped": (card.files.dropped, dropped),
        "same_pixels": (card.same_pixels, len(keys) - index["same_pixels_as"].null_count),
        "same_pixels_across_splits": (card.same_pixels_across_splits, count_across_splits(index)),
        "reasons": (card.reasons, dict(reasons)),
        "films": (card.films, {split: splits.count(split) for split in SPLITS}),
        "patients": (card.patients, {split: _patient_count(index, split) for split in SPLITS}),
    }
    problems += [
        f"dataset.json: {name} is {on_card}, but {in_tables} in the tables"
        for name, (on_card, in_tables) in counts.items()
        if on_card != in_tables
    ]
    return problems


def _patient_count(index: pa.Table, split: str) -> int:
    return int(pc.count_distinct(index["patient"].filter(pc.equal(index["split"], split))).as_py())


def _shard_problems(public: Path, card: DatasetCard) -> Iterator[str]:
    names = sorted(card.shards)
    check = partial(check_shard, public, config_sha256=card.config_sha256, suffix=film_suffix(card.config))
    hashes = [card.shards[name] for name in names]
    progress = Progress("verify", "shards", len(names))
    workers = process_count(0, len(names))
    pool = spawn_pool(workers) if workers > 1 else None
    try:
        for problems in (pool.map if pool else map)(check, names, hashes):
            yield from problems
            progress.add()
    finally:
        if pool:
            pool.shutdown(cancel_futures=True)
        progress.close()


def check_shard(public: Path, name: str, sha256: str, *, config_sha256: str, suffix: str) -> list[str]:
    """Find the problems of one shard.

    Args:
        public: public folder.
        name: file name of the tar.
        sha256: checksum of the tar in ``dataset.json``.
        config_sha256: checksum of the settings in ``dataset.json``.
        suffix: file suffix of the films, without a dot.
    """
    stem = name.removesuffix(".tar")
    index = _read_table(public / f"{stem}.parquet", INDEX_SCHEMA)
    try:
        card = ShardCard.model_validate_json((public / f"{stem}.json").read_bytes())
        table = (public / f"{stem}.parquet").read_bytes()
        with (public / name).open("rb") as tar:
            tar_sha256 = hashlib.file_digest(tar, "sha256").hexdigest()
            facts = {
                "SHA-256 of the tar": (tar_sha256, sha256),
                "SHA-256 of the tar on its card": (card.tar_sha256, sha256),
                "size of the tar": (tar.tell(), card.tar_size),
                "SHA-256 of its parquet": (hashlib.sha256(table).hexdigest(), card.index_sha256),
                "SHA-256 of the settings": (card.config_sha256, config_sha256),
                "number of films": (-1 if index is None else index.num_rows, card.films),
            }
            problems = [
                f"{name}: {fact} is {actual}, not {expected}"
                for fact, (actual, expected) in facts.items()
                if actual != expected
            ]
            if index is not None and not problems:  # damaged bytes can crash a decoder, and the shard is rewritten
                problems += _tar_problems(name, tar, index.to_pylist(), suffix)
    except (OSError, ValidationError):
        return [f"{name}: tar, parquet or card is missing or damaged"]
    if (more := len(problems) - _MAX_LISTED_PROBLEMS) > 0:
        problems = [*problems[:_MAX_LISTED_PROBLEMS], f"{name}: {more} more problems"]
    return problems


def _tar_problems(name: str, tar: BinaryIO, rows: Sequence[dict[str, Any]], film_suffix: str) -> list[str]:
    expected = [
        (f"{row['key']}.{suffix}", row[f"{kind}_offset"], row[f"{kind}_size"])
        for row in rows
        for kind, suffix in (("film", film_suffix), ("sidecar", SIDECAR_SUFFIX))
    ]
    tar.seek(0)
    try:
        with tarfile.open(fileobj=tar) as archive:
            members = [(member.name, member.offset_data, member.size) for member in archive]
    except tarfile.TarError:
        return [f"{name}: not a tar"]
    problems = [] if members == expected else [f"{name}: the members of the tar are not those of the index"]
    for row in rows:
        problems += [f"{name} {row['key']}: {problem}" for problem in _film_problems(name, tar, row)]
    return problems


def _read_member(tar: BinaryIO, row: dict[str, Any], kind: str) -> bytes:
    tar.seek(row[f"{kind}_offset"])
    return tar.read(row[f"{kind}_size"])


def _film_problems(name: str, tar: BinaryIO, row: dict[str, Any]) -> Iterator[str]:
    try:
        sidecar = Sidecar.model_validate_json(_read_member(tar, row, "sidecar"))
        mask = unpack_mask(sidecar.content_mask, sidecar.rows, sidecar.columns)
        table = display_table(sidecar.display)
    except ValueError:
        yield "the sidecar is damaged"
        return
    if sidecar.format_version != FORMAT_VERSION:
        yield f"the sidecar has format version {sidecar.format_version}"
    if not name.startswith(f"{sidecar.split}-"):
        yield f"a film of {sidecar.split}"
    if pack_mask(mask) != sidecar.content_mask or not mask.any():
        yield "the content mask is damaged"
    if len(table) != 2**sidecar.display.bits or table.min() == table.max():
        yield "the display maps all values to one grey"
    if row["shard"] != name:
        yield "the index lists it in another shard"
    if differing := _differing_columns(sidecar, row):
        yield f"index and sidecar differ in {', '.join(differing)}"
    try:
        stream = _read_member(tar, row, "film")
        values = decode_film(stream, bits=sidecar.display.bits)
    except Exception:  # codecs raise many kinds of exceptions on damaged data
        yield "the film cannot be decoded"
        return
    if values.shape != (sidecar.rows, sidecar.columns):
        expected = f"{sidecar.rows} x {sidecar.columns}"
        yield f"the film has {values.shape[0]} x {values.shape[1]} pixels, not {expected} as in its sidecar"
    if int(values.max()) >> sidecar.display.bits:
        yield f"the film has values of more than {sidecar.display.bits} bits"
    source = (sidecar.source_rows, sidecar.source_columns)
    is_checked = codec_of(stream) != "jpeg" and sidecar.pixel_sha256 is not None
    if is_checked and pixel_sha256(values, source) != sidecar.pixel_sha256:
        yield "the pixels of the film differ from their checksum"


def _differing_columns(sidecar: Sidecar, row: dict[str, Any]) -> list[str]:
    """Columns of the index that differ from the fields of the sidecar."""
    fields = sidecar.model_dump()
    spacing = fields["pixel_spacing_mm"]
    fields["pixel_spacing_mm"] = None if spacing is None else np.array(spacing, dtype=np.float32).tolist()
    fields |= {"display_source": sidecar.display.source, "display_invert": sidecar.display.invert}
    fields["provenance"] = list(sidecar.display.provenance)
    return [column for column in INDEX_SCHEMA.names if column in fields and fields[column] != row[column]]
