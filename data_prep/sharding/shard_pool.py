"""Writing shards with the processes of a decode pool; the order in which shards finish does not change their bytes.

A file that crashes its process or takes too long is tried a second time: see ``decode_pool.py``. A file that could not
be read is tried again soon; a file that could not be decoded is tried again once all others are done, with no other
process. Where a file fails twice, its shard is written without it if such failures are accepted, else the shard stays
unfinished.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from data_prep.errors import ArchiveError, Reason, UserError
from data_prep.planning.shard_task import ShardTask
from data_prep.runtime.decode_pool import MAX_TRIES, DecodeLimits, DecodePool, LostJob, StartError
from data_prep.runtime.decode_process import Watch
from data_prep.shard_format.dataset_card import ShardCard
from data_prep.sharding.shard_writer import UNAVAILABLE, Unfinished, describe_error, write_shard

OnFiles = Callable[[int, int], None]
"""Called with the number of files done so far and the number of those that became no film."""
OnFailures = Callable[[Mapping[int, Reason]], None]
"""Called with row → reason of rejected files, before their shard is written without them."""
WriteShard: TypeAlias = Callable[[ShardTask, Path, Watch], ShardCard | Unfinished]

_MAX_MISSING_FILES = 10
"""Number of files that may be missing from any shard, however small."""


@dataclass(frozen=True)
class Limits(DecodeLimits):
    """Limits of the processes that write shards.

    Attributes:
        accepted: failures for which a file is rejected and its shard written without it.
        isolated: False: write in this process, without limits.
    """

    accepted: frozenset[Reason] = frozenset({Reason.DECODER_CRASHED})
    isolated: bool = True


def write_shards(
    tasks: Iterator[ShardTask],
    public: Path,
    limits: Limits,
    on_files: OnFiles = lambda files, refused: None,
    on_failures: OnFailures = lambda failures: None,
    write: WriteShard = write_shard,
) -> Iterator[ShardCard | Unfinished]:
    """Write shards into a folder and yield the results in any order.

    Args:
        tasks: shards to write; a task is taken when a process is free for it.
        public: an existing folder.
        limits: of the processes.
        on_files: receives the progress.
        on_failures: receives the files that are rejected.
        write: writes one shard; must be picklable.

    Raises:
        ArchiveError: processes end before they can start.
        OSError: the folder cannot be written.
    """
    failures = _Failures(limits.accepted, on_failures)
    if not limits.isolated:
        yield from _in_this_process(tasks, public, failures, on_files, write)
        return
    pool: DecodePool[ShardTask, ShardCard | Unfinished] = DecodePool(partial(_write_in_pool, public, write), limits)
    files = rejected = 0
    try:
        while True:
            for task in islice(tasks, max(0, limits.workers - pool.waiting)):
                pool.submit(task)
            if not pool.pending:
                return
            for task, outcome in pool.poll():
                result = _unfinished(task, outcome) if isinstance(outcome, LostJob) else outcome
                if isinstance(result, Unfinished) and (retry := failures.next_try(task, result)):
                    pool.submit(retry, alone=retry is task and _retry_alone(result, outcome))
                    continue
                files += len(task.files)
                rejected += len(result.rejects) if isinstance(result, ShardCard) else 0
                yield result
            current_films, current_rejected = pool.under_way()
            on_files(files + current_films + current_rejected, rejected + current_rejected)
    except StartError as error:
        raise ArchiveError(
            f"the processes that write shards cannot start (exit code {error}). Check free memory, or give fewer"
            " runtime.workers"
        ) from None
    finally:
        pool.close()


def is_mass_loss(task: ShardTask, result: Unfinished) -> bool:
    """Whether more than half of the files of a shard, and more than _MAX_MISSING_FILES, are missing or changed.

    Shards are drawn from the whole archive, so this means that the archive is not mounted: it is not accepted as a loss
    of files. An appended shard may consist of files that failed before; the next ``append`` tries them again.
    """
    missing = sum(reason in UNAVAILABLE for _, reason in result.failed)
    return not task.appended and missing > max(_MAX_MISSING_FILES, len(task.files) // 2)


class _Failures:
    """Counts how often files failed, and decides whether an unfinished shard is tried again."""

    def __init__(self, accepted: frozenset[Reason], on_failures: OnFailures) -> None:
        self._accepted, self._on_failures = accepted, on_failures
        self._counts: Counter[int | str] = Counter()

    def next_try(self, task: ShardTask, result: Unfinished) -> ShardTask | None:
        """The same task, or one that rejects the files that failed; None: the shard stays unfinished."""
        suspects: list[int | str] = [row for row, _ in result.failed] or [task.name]
        self._counts.update(suspects)
        if any(self._counts[suspect] < MAX_TRIES for suspect in suspects):
            return task
        if not result.failed or not self._accepted.issuperset(reason for _, reason in result.failed):
            return None
        if is_mass_loss(task, result):
            return None
        self._on_failures(dict(result.failed))
        return replace(task, not_tried={**task.not_tried, **dict(result.failed)})


def _unfinished(task: ShardTask, lost: LostJob) -> Unfinished:
    return Unfinished(task.name, ((lost.file, lost.reason),) if lost.file >= 0 else ())


def _retry_alone(result: Unfinished, outcome: LostJob | ShardCard | Unfinished) -> bool:
    """Whether other processes may have caused the failure, so that the next try runs alone; not for missing files."""
    return (
        outcome.alone if isinstance(outcome, LostJob) else not any(reason in UNAVAILABLE for _, reason in result.failed)
    )


def _write_in_pool(public: Path, write: WriteShard, task: ShardTask, watch: Watch) -> ShardCard | Unfinished:
    """Write one shard, in a process of the pool.

    Raises:
        UserError, OSError: the run cannot continue.
        RuntimeError: an error of the program, described without its message, which may quote a header.
    """
    try:
        return write(task, public, watch)
    except (UserError, OSError):
        raise
    except MemoryError:
        return Unfinished(task.name, ())
    except Exception as error:
        raise RuntimeError(f"{describe_error(error)}, shard {task.name}") from None


def _in_this_process(
    tasks: Iterator[ShardTask], public: Path, failures: _Failures, on_files: OnFiles, write: WriteShard
) -> Iterator[ShardCard | Unfinished]:
    counts = _Counts(on_files)
    for first in tasks:
        task: ShardTask | None = first
        while task:
            result = write(task, public, counts)
            task = failures.next_try(task, result) if isinstance(result, Unfinished) else None
        yield result


class _Counts:
    """Reports the number of files that are done in this process."""

    def __init__(self, on_files: OnFiles) -> None:
        self._on_files = on_files
        self._files = self._rejected = 0

    def begins(self, file: int) -> None:
        """Do nothing."""

    def ends(self, films: int, refused: int) -> None:
        self._files += films + refused
        self._rejected += refused
        self._on_files(self._files, self._rejected)
