"""How much space and time shards will take: from a few films of the archive, decoded and encoded as they will be."""

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_prep.errors import ShardFormatError
from data_prep.film.shard_values import shrunk_size
from data_prep.planning.known_failures import History
from data_prep.planning.plan import PlannedShard
from data_prep.planning.plan_inputs import ShardInputs
from data_prep.planning.shard_task import ShardTask
from data_prep.runtime.decode_process import Watch
from data_prep.runtime.progress import duration
from data_prep.shard_format.dataset_card import ShardCard
from data_prep.shard_format.sidecar import SPLITS, Split
from data_prep.sharding.shard_pool import Limits, write_shards
from data_prep.sharding.shard_writer import Unfinished, write_shard

SAMPLE = 96
"""Files that are tried."""
_SECONDS_FILE = "seconds"
_LARGEST_SIDECAR = 8192
"""Bytes of a sidecar and of the tar's own blocks, at most."""
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


@dataclass(frozen=True)
class Estimate:
    """What shards will take, from a sample of their files.

    Attributes:
        files: how many files the shards are made of.
        sampled: how many of them were tried, and could be had.
        bytes: of all shards.
        uncertainty: of the sizes, relative, 95 %.
        core_seconds: of all shards.
    """

    files: int
    sampled: int
    bytes: float
    uncertainty: float
    core_seconds: float


@dataclass(frozen=True)
class DryRun:
    """What the shard command would do."""

    files: int
    reasons: dict[str, int]
    """Files that by their header become no film."""
    planned: dict[Split, tuple[int, int]]
    """Files and shards of each split."""
    shards_done: int
    estimate: Estimate
    workers: int
    free: int

    def __str__(self) -> str:
        """A table for a person."""
        lines = [("files", self.files, ""), ("no films, by their header", sum(self.reasons.values()), "")]
        lines += [(f"  {reason}", count, "") for reason, count in self.reasons.items()]
        lines.append(("to be sharded", sum(files for files, _ in self.planned.values()), ""))
        lines += [(f"  {split}", files, f"in {shards} shards") for split, (files, shards) in self.planned.items()]
        lines.append(("shards that are there", self.shards_done, ""))
        table = "\n".join(f"{name:<30}{count:>10}  {note}".rstrip() for name, count, note in lines)
        return f"{table}\n{self._expected()}\nfree disk: {size_text(self.free)}\nnothing was written"

    def _expected(self) -> str:
        found = self.estimate
        if not found.files:
            return "nothing is left to write"
        if not found.sampled:
            return "estimate: none, as not one of the files tried could be read"
        seconds = found.core_seconds / self.workers
        return (
            f"estimate, from {found.sampled} files tried here: {size_text(found.bytes)}"
            f" (± {found.uncertainty:.0%}), {duration(seconds)} with {self.workers} processes"
        )


def estimate(inputs: ShardInputs, shards: Sequence[PlannedShard]) -> Estimate:
    """Shard a sample of the files into a temporary folder, in one process."""
    files = sum(len(one.rows) for one in shards)
    if not files:
        return Estimate(0, 0, 0, 0, 0)
    rows = np.concatenate([one.rows for one in shards])
    chosen = rows[np.linspace(0, files - 1, min(SAMPLE, files)).astype(np.int64)]  # the order is random already
    task = next(inputs.tasks([replace(shards[0], rows=np.unique(chosen))], History()))
    task = replace(task, files=sorted(task.files, key=lambda file: str(file[1]["key"])))
    runtime = inputs.settings.runtime
    limits = Limits(
        1, file_timeout_seconds=runtime.file_timeout_seconds, memory_gib=runtime.memory_gib, isolated=runtime.isolated
    )
    with tempfile.TemporaryDirectory(prefix="data_prep-") as folder:
        while task.files:
            (result,) = write_shards(iter([task]), Path(folder), limits, write=_timed)
            if isinstance(result, ShardCard):
                seconds = float((Path(folder) / _SECONDS_FILE).read_text(encoding="ascii"))
                return _scaled(files, len(task.files), pq.read_table(Path(folder) / f"{task.name}.parquet"), seconds)
            task = _without(task, result)
    return Estimate(files, 0, 0, 0, 0)


def check_disk(inputs: ShardInputs, shards: Sequence[PlannedShard], public: Path) -> None:
    """Refuse to begin where ``shards`` will not find room. Films are tried only where the room is not plentiful.

    Raises:
        ShardFormatError: they need more than is free.
    """
    free = free_bytes(public)
    if _at_most(inputs, shards) <= free:
        return
    expected = estimate(inputs, shards)
    if expected.bytes > free:
        raise ShardFormatError(
            f"the shards will take about {size_text(expected.bytes)} (from {expected.sampled} films tried), and"
            f" {public} has {size_text(free)} free; make room, give another --out, or go on all the same with"
            " runtime.check_disk=false"
        )


def free_bytes(folder: Path) -> int:
    """Free space where ``folder`` is, or will be made."""
    resolved = folder.resolve()
    return shutil.disk_usage(next(place for place in (resolved, *resolved.parents) if place.exists())).free


def planned_files(shards: Sequence[PlannedShard]) -> dict[Split, tuple[int, int]]:
    """Files and shards of each split."""
    files: Counter[Split] = Counter()
    for one in shards:
        files[one.split] += len(one.rows)
    return {split: (files[split], sum(one.split == split for one in shards)) for split in SPLITS}


def size_text(count: float) -> str:
    """Bytes as 1.3 TB."""
    power = 0
    while count >= 999.5 and power < len(_UNITS) - 1:
        count, power = count / 1000, power + 1
    return f"{count:.{int(power > 0 and count < 10)}f} {_UNITS[power]}"


def _timed(task: ShardTask, public: Path, watch: Watch) -> ShardCard | Unfinished:
    start = time.perf_counter()
    result = write_shard(task, public, watch)
    (public / _SECONDS_FILE).write_text(str(time.perf_counter() - start), encoding="ascii")
    return result


def _without(task: ShardTask, result: Unfinished) -> ShardTask:
    """The task less the files that could not be had; without any if there is nothing to tell which."""
    gone = {row for row, _ in result.failed}
    return replace(task, files=[file for file in task.files if gone and file[1]["row"] not in gone])


def _scaled(files: int, sampled: int, index: pa.Table, seconds: float) -> Estimate:
    sizes = np.zeros(sampled)  # files that become no film take no space
    films = index["film_size"].to_numpy() + index["sidecar_size"].to_numpy() + 2048  # tar's blocks
    first = np.flatnonzero(pc.fill_null(index["frame"], 0).to_numpy() == 0)  # of each file
    sizes[: len(first)] = np.add.reduceat(films, first) if len(first) else 0
    spread = 1.96 * sizes.std() / sampled**0.5
    mean = float(sizes.mean())
    return Estimate(files, sampled, mean * files, spread / mean if mean else 0.0, seconds / sampled * files)


def _at_most(inputs: ShardInputs, shards: Sequence[PlannedShard]) -> float:
    """Bytes that the shards take if no film can be compressed at all."""
    rows = np.concatenate([one.rows for one in shards]) if shards else np.array([], dtype=np.int64)
    places = np.searchsorted(inputs.manifest["row"].to_numpy(), rows)
    told = (pc.fill_null(inputs.manifest[name].take(places), 1) for name in ("rows", "columns", "frames"))
    sizes, counts = np.unique(np.stack([one.to_numpy().astype(np.int64) for one in told]), axis=1, return_counts=True)
    side = inputs.settings.max_side
    pixels = [frames * np.prod(shrunk_size(int(down), int(across), side)) for down, across, frames in sizes.T]
    return float(np.dot(pixels, counts)) * 2 * 1.05 + len(rows) * _LARGEST_SIDECAR
