"""Assignment of films to shards and their order: a pure function of header facts, settings and seed.

The number of workers, interruptions and the order of the manifest do not change the bytes of any shard.
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

from data_prep.archive.manifest import LATER_COLUMNS
from data_prep.archive.reject_by_header import find_reject_reasons
from data_prep.planning.settings import ShardSettings
from data_prep.planning.splits import GivenSplits, draw_split
from data_prep.shard_format.content_mask_bits import CONTENT_MASK_VERSION
from data_prep.shard_format.folder_layout import FORMAT_VERSION
from data_prep.shard_format.index_schema import REJECTS_SCHEMA
from data_prep.shard_format.sidecar import SPLITS, Split


@dataclass(frozen=True)
class PlannedShard:
    """A shard that is to be written.

    Attributes:
        name: such as train-000000.
        split: of all its films.
        rows: [files] rows of the manifest in writing order; files with the same key follow each other.
        inputs_sha256: SHA-256 of all manifest columns of these files.
    """

    name: str
    split: Split
    rows: NDArray[np.int64]
    inputs_sha256: str


@dataclass(frozen=True)
class Plan:
    """All planned shards, and the files that are rejected by their header.

    Attributes:
        shards: in order of split and number.
        rejects: rejected files (REJECTS_SCHEMA).
    """

    shards: tuple[PlannedShard, ...]
    rejects: pa.Table

    def files(self, manifest: pa.Table) -> pa.Table:
        """Columns key, patient and split of the files of all shards, in writing order."""
        rows = np.concatenate([np.array([], dtype=np.int64), *(shard.rows for shard in self.shards)])
        splits = [shard.split for shard in self.shards for _ in shard.rows]
        positions = np.searchsorted(manifest["row"].to_numpy(), rows)
        return manifest.select(["key", "patient"]).take(positions).append_column("split", pa.array(splits, pa.string()))

    @cached_property
    def sha256(self) -> str:
        """Identity of the plan: SHA-256 of the names and inputs of all shards."""
        lines = (f"{shard.name} {shard.inputs_sha256}\n" for shard in self.shards)
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def plan_shards(
    manifest: pa.Table,
    settings: ShardSettings,
    given: GivenSplits | None = None,
    held_out: frozenset[str] = frozenset(),
) -> Plan:
    """Plan the shards of a private manifest.

    Args:
        manifest: one row per file, ``row`` counting from 0.
        settings: size of shards, splits, selection and seed.
        given: splits of patients that a table states or that are kept; None or empty: the splits of all known patients
            are drawn.
        held_out: patients without a number whose films may not train: they are in test, where nothing is scored on
            them.
    """
    manifest = manifest.combine_chunks()
    reason = find_reject_reasons(manifest, settings.selection, settings.min_side)
    rejected = pc.is_valid(reason)
    rejects = pa.table([manifest["row"], reason], schema=REJECTS_SCHEMA).filter(rejected)
    films = np.flatnonzero(~rejected.to_numpy())
    return Plan(tuple(_shards(manifest, films, settings, given or {}, held_out)), rejects)


def _shards(
    manifest: pa.Table,
    films: NDArray[np.int64],
    settings: ShardSettings,
    given: GivenSplits,
    held_out: frozenset[str],
) -> Iterator[PlannedShard]:
    """Shards of the films at the positions ``films`` of the manifest."""
    films = films[np.argsort(manifest["row"].to_numpy()[films], kind="stable")]
    keys, unit, first = _units(manifest["key"].take(films))
    splits = _draw_splits(manifest.select(["patient", "patient_known"]).take(films[first]), settings, given, held_out)
    order = _shuffle_keys(keys, settings.seed)
    by_unit = np.argsort(unit, kind="stable")  # the files of each unit, in order of row
    ends = np.cumsum(np.bincount(unit, minlength=len(keys)))
    for split in SPLITS:
        chosen = order[splits[order] == split]
        for number, start in enumerate(range(0, len(chosen), settings.films_per_shard)):
            units = chosen[start : start + settings.films_per_shard]
            positions = np.concatenate([by_unit[ends[u - 1] if u else 0 : ends[u]] for u in units])
            files = manifest.take(films[positions])
            yield PlannedShard(f"{split}-{number:06d}", split, files["row"].to_numpy(), _digest(files))


def _units(keys: pa.ChunkedArray) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """Group files by key: (key of each unit, [files] unit of each file, [units] first file of each unit)."""
    encoded = keys.combine_chunks().dictionary_encode()
    unit = encoded.indices.to_numpy().astype(np.int64)
    return encoded.dictionary.to_pylist(), unit, np.unique(unit, return_index=True)[1]


def _draw_splits(
    films: pa.Table, settings: ShardSettings, given: GivenSplits, held_out: frozenset[str]
) -> NDArray[np.str_]:
    """[films] split of each film: stated, else drawn for known patients, else train."""
    patients = films["patient"].combine_chunks().dictionary_encode()
    known = films["patient_known"].to_numpy()
    val, test = settings.splits.val, settings.splits.test
    of_unnamed: Split | None = "train" if given and settings.splits.unnamed == "train" else None
    splits = [
        given.get(patient) or of_unnamed or draw_split(patient, settings.seed, val, test, True)
        for patient in patients.dictionary.to_pylist()
    ]
    unknown = draw_split("", settings.seed, val, test, False)
    by_film = np.array(splits, dtype=np.str_)[patients.indices.to_numpy()] if splits else np.array([], dtype=np.str_)
    is_held_out = pc.is_in(films["patient"], pa.array(sorted(held_out), pa.string())).to_numpy()
    return np.where(known, by_film, np.where(is_held_out, "test", unknown))


def _shuffle_keys(keys: list[str], seed: int) -> NDArray[np.int64]:
    """Order of the keys by their hash: films of a patient, a day or a device do not stay together."""
    draws = [hashlib.sha256(f"order:{seed}:{key}".encode()).digest() for key in keys]
    return np.argsort(np.array(draws, dtype="S32"), kind="stable") if draws else np.array([], dtype=np.int64)


def _digest(files: pa.Table) -> str:
    """SHA-256 of manifest rows as CSV text, which is the same in every version of the library."""
    spacing = files["pixel_spacing_mm"]
    unused = {name for name in LATER_COLUMNS if files[name].null_count == files.num_rows}  # as earlier releases had it
    flat = files.drop_columns(["pixel_spacing_mm", *unused])
    for axis in (0, 1):
        flat = flat.append_column(f"spacing_{axis}", pc.list_element(spacing, axis))
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(flat, sink)
    versions = f"{FORMAT_VERSION} {CONTENT_MASK_VERSION}\n".encode()
    return hashlib.sha256(versions + sink.getvalue().to_pybytes()).hexdigest()
