"""Which film goes into which shard, in which order: a pure function of header facts, settings and seed.

Neither workers nor interruptions nor the order of the manifest have a say, so the bytes of every shard are the same
however it is made.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from data_prep.archive.reject_rules import select
from data_prep.planning.settings import ShardSettings
from data_prep.planning.splits import GivenSplits, split_of
from data_prep.shard_format.content_mask_bits import CONTENT_MASK_VERSION
from data_prep.shard_format.folder_layout import FORMAT_VERSION
from data_prep.shard_format.index_schema import REJECTS_SCHEMA
from data_prep.shard_format.sidecar import SPLITS, Split


@dataclass(frozen=True)
class PlannedShard:
    """One shard to be.

    Attributes:
        name: such as train-000000.
        split: of all its films.
        rows: [files] rows of the manifest in writing order; files with the same key follow each other.
        inputs_sha256: over all that the manifest says of these files.
    """

    name: str
    split: Split
    rows: NDArray[np.int64]
    inputs_sha256: str


@dataclass(frozen=True)
class Plan:
    """All shards, and the files that by their header are no films (REJECTS_SCHEMA)."""

    shards: tuple[PlannedShard, ...]
    rejects: pa.Table

    def files(self, manifest: pa.Table) -> pa.Table:
        """Columns key, patient and split of the files of all shards."""
        rows = np.concatenate([np.array([], dtype=np.int64), *(one.rows for one in self.shards)])
        splits = [one.split for one in self.shards for _ in one.rows]
        places = np.searchsorted(manifest["row"].to_numpy(), rows)
        return manifest.select(["key", "patient"]).take(places).append_column("split", pa.array(splits, pa.string()))

    @cached_property
    def sha256(self) -> str:
        """Identity of the plan: which files go where, and all that the manifest says of them."""
        lines = (f"{one.name} {one.inputs_sha256}\n" for one in self.shards)
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def plan_shards(manifest: pa.Table, settings: ShardSettings, given: GivenSplits | None = None) -> Plan:
    """Plan the shards of a private manifest (one row per file, ``row`` counting from 0).

    Args:
        manifest: of the private folder.
        settings: size of shards, splits, selection and seed.
        given: splits of patients who are not drawn; with none, all known patients are drawn.
    """
    manifest = manifest.combine_chunks()
    reason = select(manifest, settings.selection, settings.min_side)
    rejected = pc.is_valid(reason)
    rejects = pa.table([manifest["row"], reason], schema=REJECTS_SCHEMA).filter(rejected)
    films = np.flatnonzero(~rejected.to_numpy())
    return Plan(tuple(_shards(manifest, films, settings, given or {})), rejects)


def _shards(
    manifest: pa.Table, films: NDArray[np.int64], settings: ShardSettings, given: GivenSplits
) -> Iterator[PlannedShard]:
    """Shards of the files at the places ``films`` of the manifest."""
    films = films[np.argsort(manifest["row"].to_numpy()[films], kind="stable")]
    keys, unit, first = _units(manifest["key"].take(films))
    splits = _splits(manifest.select(["patient", "patient_known"]).take(films[first]), settings, given)
    order = _shuffled(keys, settings.seed)
    by_unit = np.argsort(unit, kind="stable")  # the files of each unit, in order of row
    ends = np.cumsum(np.bincount(unit, minlength=len(keys)))
    for split in SPLITS:
        chosen = order[splits[order] == split]
        for number, start in enumerate(range(0, len(chosen), settings.films_per_shard)):
            units = chosen[start : start + settings.films_per_shard]
            places = np.concatenate([by_unit[ends[one - 1] if one else 0 : ends[one]] for one in units])
            part = manifest.take(films[places])
            yield PlannedShard(f"{split}-{number:06d}", split, part["row"].to_numpy(), _digest(part))


def _units(keys: pa.ChunkedArray) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """(keys of the units, [files] unit of each file, [units] first file of each unit)."""
    encoded = keys.combine_chunks().dictionary_encode()
    unit = encoded.indices.to_numpy().astype(np.int64)
    return encoded.dictionary.to_pylist(), unit, np.unique(unit, return_index=True)[1]


def _splits(films: pa.Table, settings: ShardSettings, given: GivenSplits) -> NDArray[np.str_]:
    patients = films["patient"].combine_chunks().dictionary_encode()
    known = films["patient_known"].to_numpy()
    val, test = settings.splits.val, settings.splits.test
    others: Split | None = "train" if given and settings.splits.unnamed == "train" else None
    drawn = [
        given.get(patient) or others or split_of(patient, settings.seed, val, test, True)
        for patient in patients.dictionary.to_pylist()
    ]
    unknown = split_of("", settings.seed, val, test, False)
    by_patient = np.array(drawn, dtype=np.str_)[patients.indices.to_numpy()] if drawn else np.array([], dtype=np.str_)
    return np.where(known, by_patient, unknown)


def _shuffled(keys: list[str], seed: int) -> NDArray[np.int64]:
    """Order of the keys by their hash: films of a patient, a day or a device do not stay together."""
    draws = [hashlib.sha256(f"order:{seed}:{key}".encode()).digest() for key in keys]
    return np.argsort(np.array(draws, dtype="S32"), kind="stable") if draws else np.array([], dtype=np.int64)


def _digest(part: pa.Table) -> str:
    """SHA-256 over the facts of files; as text, which no version of a library writes in another way."""
    spacing = part["pixel_spacing_mm"]
    flat = part.drop_columns(["pixel_spacing_mm"])
    for place in (0, 1):
        flat = flat.append_column(f"spacing_{place}", pc.list_element(spacing, place))
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(flat, sink)
    versions = f"{FORMAT_VERSION} {CONTENT_MASK_VERSION}\n".encode()
    return hashlib.sha256(versions + sink.getvalue().to_pybytes()).hexdigest()
