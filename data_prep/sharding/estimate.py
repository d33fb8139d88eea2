"""Estimate of the space and time that shards take, from a sample of their films that is decoded and encoded."""

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
from data_prep.planning.known_failures import KnownFailures
from data_prep.planning.plan import PlannedShard
from data_prep.planning.plan_inputs import ShardInputs
from data_prep.planning.shard_task import ShardTask
from data_prep.runtime.decode_process import Watch
from data_prep.runtime.progress import duration
from data_prep.shard_format.dataset_card import ShardCard
from data_prep.shard_format.sidecar import SPLITS, Split
from data_prep.sharding.shard_pool import Limits, write_shards
from data_prep.sharding.shard_writer import Unfinished, write_shard

SAMPLE_FILES = 96
"""Number of files in the sample."""
_SECONDS_FILE = "seconds"
_MAX_SIDECAR_BYTES = 8192
"""Largest number of bytes of a sidecar and of the tar headers of a film."""
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


@dataclass(frozen=True)
class Estimate:
    """Space and time of shards, estimated from a sample of their files.

    Attributes:
        files: number of files of the shards.
        sampled: number of files that were tried and could be read.
        bytes: bytes of all shards.
        uncertainty: half of the 95 % interval of ``bytes``, as a fraction of it.
        core_seconds: seconds of one core for all shards.
    """

    files: int
    sampled: int
    bytes: float
    uncertainty: float
    core_seconds: float


@dataclass(frozen=True)
class DryRun:
    """Plan and estimate of a shard command.

    Attributes:
        files: number of files in the private folder.
        reasons: reason → number of files that are rejected by their header.
        planned: split → (files, shards).
        shards_done: number of shards that are complete.
        estimate: of the other shards.
        workers: number of processes.
        free: bytes that are free on the disk.
    """

    files: int
    reasons: dict[str, int]
    planned: dict[Split, tuple[int, int]]
    shards_done: int
    estimate: Estimate
    workers: int
    free: int

    def __str__(self) -> str:
        """The plan and the estimate as a text table."""
        lines = [("files", self.files, ""), ("rejected by their header", sum(self.reasons.values()), "")]
        lines += [(f"  {reason}", count, "") for reason, count in self.reasons.items()]
        lines.append(("to be sharded", sum(files for files, _ in self.planned.values()), ""))
        lines += [(f"  {split}", files, f"in {shards} shards") for split, (files, shards) in self.planned.items()]
        lines.append(("complete shards", self.shards_done, ""))
        table = "\n".join(f"{name:<30}{count:>10}  {note}".rstrip() for name, count, note in lines)
        return f"{table}\n{self._estimate_line()}\nfree disk: {format_bytes(self.free)}\nnothing was written"

    def _estimate_line(self) -> str:
        expected = self.estimate
        if not expected.files:
            return "all shards are complete"
        if not expected.sampled:
            return "estimate: none, since none of the sampled files could be read"
        seconds = expected.core_seconds / self.workers
        return (
            f"estimate, from {expected.sampled} sampled files: {format_bytes(expected.bytes)}"
            f" (± {expected.uncertainty:.0%}), {duration(seconds)} with {self.workers} processes"
        )


def estimate(inputs: ShardInputs, shards: Sequence[PlannedShard]) -> Estimate:
    """Estimate space and time of shards: write a sample of their files to a temporary folder, in one process.

    Args:
        inputs: of the run.
        shards: shards of the plan that are still to be written.
    """
    files = sum(len(shard.rows) for shard in shards)
    if not files:
        return Estimate(0, 0, 0, 0, 0)
    rows = np.concatenate([shard.rows for shard in shards])
    chosen = rows[np.linspace(0, files - 1, min(SAMPLE_FILES, files)).astype(np.int64)]  # the order is random already
    task = next(inputs.tasks([replace(shards[0], rows=np.unique(chosen))], KnownFailures()))
    task = replace(task, files=sorted(task.files, key=lambda file: str(file[1]["key"])))
    runtime = inputs.settings.runtime
    limits = Limits(
        1, file_timeout_seconds=runtime.file_timeout_seconds, memory_gib=runtime.memory_gib, isolated=runtime.isolated
    )
    with tempfile.TemporaryDirectory(prefix="data_prep-") as folder:
        while task.files:
            (result,) = write_shards(iter([task]), Path(folder), limits, write=_write_timed)
            if isinstance(result, ShardCard):
                seconds = float((Path(folder) / _SECONDS_FILE).read_text(encoding="ascii"))
                return _scale(files, len(task.files), pq.read_table(Path(folder) / f"{task.name}.parquet"), seconds)
            task = _without(task, result)
    return Estimate(files, 0, 0, 0, 0)


def check_disk(inputs: ShardInputs, shards: Sequence[PlannedShard], public: Path) -> None:
    """Refuse to start where the shards need more disk space than is free.

    Films are sampled only where uncompressed films would not fit.

    Args:
        inputs: of the run.
        shards: shards of the plan that are still to be written.
        public: folder of the shards.

    Raises:
        ShardFormatError: the shards are expected to need more space than is free.
    """
    free = free_bytes(public)
    if _uncompressed_bytes(inputs, shards) <= free:
        return
    expected = estimate(inputs, shards)
    if expected.bytes > free:
        raise ShardFormatError(
            f"{public} has too little free disk space: {format_bytes(free)} for shards of about"
            f" {format_bytes(expected.bytes)} (estimated from {expected.sampled} films). Free disk space, give another"
            " --out, or skip this check with runtime.check_disk=false"
        )


def free_bytes(folder: Path) -> int:
    """Free bytes on the disk of ``folder``, which need not exist."""
    resolved = folder.resolve()
    return shutil.disk_usage(next(path for path in (resolved, *resolved.parents) if path.exists())).free


def planned_files(shards: Sequence[PlannedShard]) -> dict[Split, tuple[int, int]]:
    """Count files and shards: split → (files, shards)."""
    files: Counter[Split] = Counter()
    for shard in shards:
        files[shard.split] += len(shard.rows)
    return {split: (files[split], sum(shard.split == split for shard in shards)) for split in SPLITS}


def format_bytes(count: float) -> str:
    """Format a number of bytes, such as 1.3 TB."""
    power = 0
    while count >= 999.5 and power < len(_UNITS) - 1:
        count, power = count / 1000, power + 1
    return f"{count:.{int(power > 0 and count < 10)}f} {_UNITS[power]}"


def _write_timed(task: ShardTask, public: Path, watch: Watch) -> ShardCard | Unfinished:
    start = time.perf_counter()
    result = write_shard(task, public, watch)
    (public / _SECONDS_FILE).write_text(str(time.perf_counter() - start), encoding="ascii")
    return result


def _without(task: ShardTask, result: Unfinished) -> ShardTask:
    """The task without the files that failed; without any file where it is not known which failed."""
    failed = {row for row, _ in result.failed}
    return replace(task, files=[file for file in task.files if failed and file[1]["row"] not in failed])


def _scale(files: int, sampled: int, index: pa.Table, seconds: float) -> Estimate:
    """Extrapolate the index and seconds of ``sampled`` files to ``files`` files."""
    sizes = np.zeros(sampled)  # rejected files take no space
    films = index["film_size"].to_numpy() + index["sidecar_size"].to_numpy() + 2048  # tar headers and padding
    first = np.flatnonzero(pc.fill_null(index["frame"], 0).to_numpy() == 0)  # first frame of each file
    sizes[: len(first)] = np.add.reduceat(films, first) if len(first) else 0
    half_width = 1.96 * sizes.std() / sampled**0.5
    mean = float(sizes.mean())
    return Estimate(files, sampled, mean * files, half_width / mean if mean else 0.0, seconds / sampled * files)


def _uncompressed_bytes(inputs: ShardInputs, shards: Sequence[PlannedShard]) -> float:
    """Bytes of the shards if no film could be compressed."""
    rows = np.concatenate([shard.rows for shard in shards]) if shards else np.array([], dtype=np.int64)
    positions = np.searchsorted(inputs.manifest["row"].to_numpy(), rows)
    columns = (pc.fill_null(inputs.manifest[name].take(positions), 1) for name in ("rows", "columns", "frames"))
    shapes = np.stack([column.to_numpy().astype(np.int64) for column in columns])
    sizes, counts = np.unique(shapes, axis=1, return_counts=True)
    side, short_side = inputs.settings.max_side, inputs.settings.min_short_side
    pixels = [
        frames * np.prod(shrunk_size(int(down), int(across), side, min_short_side=short_side))
        for down, across, frames in sizes.T
    ]
    return float(np.dot(pixels, counts)) * 2 * 1.05 + len(rows) * _MAX_SIDECAR_BYTES
