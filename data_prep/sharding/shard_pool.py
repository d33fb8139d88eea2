"""Shards on the decode pool; the order in which they end changes nothing.

A file at which a process ends or stays too long is tried a second time: see ``decode_pool.py``. A file that could not
be read is tried again soon, one that could not be decoded once all others are done, alone. A file that fails twice is
given up, and the shard written without it, where such failures are accepted; else the shard stays unfinished.
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
from data_prep.runtime.decode_pool import TRIES, DecodeLimits, DecodePool, Lost, StartError
from data_prep.runtime.decode_process import Watch
from data_prep.shard_format.dataset_card import ShardCard
from data_prep.sharding.shard_writer import LOST, Unfinished, fault, write_shard

OnFiles = Callable[[int, int], None]
"""Called with the number of files done so far and of those that became no film."""
Learn = Callable[[Mapping[int, Reason]], None]
"""Called with rows of the manifest and the reasons why they are given up, before a shard is written without them."""
WriteShard: TypeAlias = Callable[[ShardTask, Path, Watch], ShardCard | Unfinished]

_FEW = 10
"""Files that may be gone from any shard, however small."""


@dataclass(frozen=True)
class Limits(DecodeLimits):
    """How shards are written.

    Attributes:
        accepted: failures for which a file is given up.
        isolated: False writes in this process, without limits.
    """

    accepted: frozenset[Reason] = frozenset({Reason.DECODER_CRASHED})
    isolated: bool = True


def write_shards(
    tasks: Iterator[ShardTask],
    public: Path,
    limits: Limits,
    on_files: OnFiles = lambda files, refused: None,
    learn: Learn = lambda verdicts: None,
    write: WriteShard = write_shard,
) -> Iterator[ShardCard | Unfinished]:
    """Write all ``tasks`` into the folder ``public``; results in any order.

    Args:
        tasks: to be written; they are taken when there is a process for them.
        public: an existing folder.
        limits: of the processes.
        on_files: is informed of progress.
        learn: is informed of files that are given up.
        write: writes one shard; travels to the processes.

    Raises:
        ArchiveError: processes end before they begin.
        OSError: the folder cannot be written.
    """
    failures = _Failures(limits.accepted, learn)
    if not limits.isolated:
        yield from _in_this_process(tasks, public, failures, on_files, write)
        return
    pool: DecodePool[ShardTask, ShardCard | Unfinished] = DecodePool(partial(_write, public, write), limits)
    files = refused = 0
    try:
        while True:
            for task in islice(tasks, max(0, limits.workers - pool.waiting)):
                pool.submit(task)
            if not pool.pending:
                return
            for task, outcome in pool.poll():
                result = _unfinished(task, outcome) if isinstance(outcome, Lost) else outcome
                if isinstance(result, Unfinished) and (again := failures.next_try(task, result)):
                    pool.submit(again, alone=again is task and _is_to_be_alone(result, outcome))
                    continue
                files += len(task.files)
                refused += len(result.rejects) if isinstance(result, ShardCard) else 0
                yield result
            films, none = pool.under_way()
            on_files(files + films + none, refused + none)
    except StartError as error:
        raise ArchiveError(
            f"the processes that write shards end before they begin (exit code {error}): is memory short? Try"
            " fewer runtime.workers; a script that calls shard() needs: if __name__ == '__main__'"
        ) from None
    finally:
        pool.close()


def is_mass_loss(task: ShardTask, result: Unfinished) -> bool:
    """Whether more than half of a shard, of more than a few files, is gone or changed.

    Shards are drawn from the whole archive, so it is the archive that is not there: no loss of files to accept. An
    appended shard may consist of files that were given up by name before; the next ``append`` tries them again.
    """
    lost = sum(reason in LOST for _, reason in result.failed)
    return not task.appended and lost > max(_FEW, len(task.files) // 2)


class _Failures:
    """Counts how often files failed, and decides about a shard that was not finished."""

    def __init__(self, accepted: frozenset[Reason], learn: Learn) -> None:
        self._accepted, self._learn = accepted, learn
        self._counts: Counter[int | str] = Counter()

    def next_try(self, task: ShardTask, result: Unfinished) -> ShardTask | None:
        """The task to try next, the same or one without the files that failed; None: the shard stays unfinished."""
        suspects: list[int | str] = [row for row, _ in result.failed] or [task.name]
        self._counts.update(suspects)
        if any(self._counts[suspect] < TRIES for suspect in suspects):
            return task
        if not result.failed or not self._accepted.issuperset(reason for _, reason in result.failed):
            return None
        if is_mass_loss(task, result):
            return None
        self._learn(dict(result.failed))
        return replace(task, verdicts={**task.verdicts, **dict(result.failed)})


def _unfinished(task: ShardTask, lost: Lost) -> Unfinished:
    return Unfinished(task.name, ((lost.file, lost.reason),) if lost.file >= 0 else ())


def _is_to_be_alone(result: Unfinished, outcome: Lost | ShardCard | Unfinished) -> bool:
    """Whether other processes may be the cause; of a file that is not there they are not."""
    return outcome.alone if isinstance(outcome, Lost) else not any(reason in LOST for _, reason in result.failed)


def _write(public: Path, write: WriteShard, task: ShardTask, watch: Watch) -> ShardCard | Unfinished:
    """Write one shard, in a process of the pool.

    Raises:
        UserError, OSError: the run cannot go on.
        RuntimeError: a fault of the program: its place, and not the message, which may quote a header.
    """
    try:
        return write(task, public, watch)
    except (UserError, OSError):
        raise
    except MemoryError:
        return Unfinished(task.name, ())
    except Exception as error:
        raise RuntimeError(f"{fault(error)}, shard {task.name}") from None


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
    """Reports how many files are done, in this process."""

    def __init__(self, on_files: OnFiles) -> None:
        self._on_files = on_files
        self._files = self._refused = 0

    def begins(self, file: int) -> None:
        """Nothing to count yet."""

    def ends(self, films: int, refused: int) -> None:
        self._files += films + refused
        self._refused += refused
        self._on_files(self._files, self._refused)
