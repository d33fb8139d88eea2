"""Worker processes: a file that crashes or blocks one costs only itself."""

import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data_prep.errors import ArchiveError, Reason
from data_prep.planning.shard_task import ShardTask
from data_prep.runtime.decode_process import Watch
from data_prep.shard_format.dataset_card import ShardCard
from data_prep.sharding.shard_pool import Limits, write_shards
from data_prep.sharding.shard_writer import Unfinished, write_shard
from tests.builders.dicom_builder import write_film
from tests.builders.faulty_writer import EAT, HANG, KILL, SEGFAULT, write_faulty
from tests.builders.private_builder import anatomy
from tests.data_prep.sharding.test_shard_writer import facts

CRASHED = Reason.DECODER_CRASHED
LIMITS = Limits(2, file_timeout_seconds=2, memory_gib=1)


def tasks(folder: Path, comments: list[str | None], films: int = 3) -> Iterator[ShardTask]:
    """One shard of ``films`` films per comment, which is in the header of the second film."""
    for number, comment in enumerate(comments):
        files = []
        for place in range(films):
            path, row = folder / f"{number}-{place}.dcm", number * films + place
            write_film(path, values=anatomy((number, place)), ImageComments=comment if place == 1 else None)
            files.append((str(path), facts(path, row, key=f"{row:032x}")))
        yield ShardTask(f"train-{number:06d}", "train", files, 64, "c" * 64, "i" * 64)


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("train-*")}


def test_files_that_crash_their_decoder_are_rejected_and_all_others_written(tmp_path: Path) -> None:
    failures: dict[int, Reason] = {}
    work = tasks(tmp_path, [None, SEGFAULT, KILL, EAT])
    results = list(write_shards(work, tmp_path, LIMITS, on_failures=failures.update, write=write_faulty))
    assert {card.shard: card.rejects for card in results if isinstance(card, ShardCard)} == {
        "train-000000": [], "train-000001": [(4, CRASHED)], "train-000002": [(7, CRASHED)],
        "train-000003": [(10, CRASHED)],
    }  # fmt: skip
    assert failures == {4: CRASHED, 7: CRASHED, 10: CRASHED}
    before = shards(tmp_path)
    planned = tasks(tmp_path, [None, SEGFAULT, KILL, EAT])
    known = [ShardTask(**{**vars(task), "not_tried": failures}) for task in planned]
    for task in known:  # in this process: known failures are not tried
        write_shard(task, tmp_path)
    assert shards(tmp_path) == before


def test_a_file_that_takes_too_long_leaves_its_shard_unfinished_until_accepted(tmp_path: Path) -> None:
    limits = Limits(1, file_timeout_seconds=0.3, accepted=frozenset({CRASHED}))
    start = time.monotonic()
    (result,) = write_shards(tasks(tmp_path, [HANG]), tmp_path, limits, write=write_faulty)
    assert result == Unfinished("train-000000", ((1, Reason.DECODER_TIMEOUT),))
    assert not list(tmp_path.glob("train-*")) and time.monotonic() - start < 30
    limits = Limits(1, file_timeout_seconds=0.3, accepted=frozenset({CRASHED, Reason.DECODER_TIMEOUT}))
    (card,) = write_shards(tasks(tmp_path, [HANG]), tmp_path, limits, write=write_faulty)
    assert isinstance(card, ShardCard)
    assert (card.films, card.rejects) == (2, [(1, Reason.DECODER_TIMEOUT)])


def test_workers_are_replaced_and_every_file_is_counted_once(tmp_path: Path) -> None:
    pids: set[str] = set()
    seen: list[tuple[int, int]] = []
    limits = Limits(1, restart_after_files=4)
    work = tasks(tmp_path, [None] * 4)
    for _ in write_shards(work, tmp_path, limits, lambda *counts: seen.append(counts), write=_write_pid):
        pids.add((tmp_path / "pid").read_text())
    assert len(pids) == 2 and seen[-1] == (12, 0) and seen == sorted(seen)


def test_a_process_killed_from_outside_costs_nothing(tmp_path: Path) -> None:
    def kill() -> None:
        while not (tmp_path / "pid").exists():
            time.sleep(0.01)
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    results = list(write_shards(tasks(tmp_path, [None] * 2), tmp_path, Limits(1), write=_write_slowly))
    killer.join()
    assert [card.films for card in results if isinstance(card, ShardCard)] == [3, 3]


def test_a_full_disk_ends_the_run_and_every_worker(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        list(write_shards(tasks(tmp_path, [None] * 3), tmp_path, LIMITS, write=_write_on_full_disk))


def test_short_memory_leaves_a_shard_unfinished_and_the_others_written(tmp_path: Path) -> None:
    results = list(write_shards(tasks(tmp_path, [None] * 2), tmp_path, Limits(1), write=_write_hungrily))
    assert Unfinished("train-000000", ()) in results and len(results) == 2
    assert [card.shard for card in results if isinstance(card, ShardCard)] == ["train-000001"]


def test_workers_end_before_the_main_process_and_leave_interrupts_to_it(tmp_path: Path) -> None:
    list(write_shards(tasks(tmp_path, [None]), tmp_path, Limits(1), write=_write_state))
    assert (tmp_path / "state").read_text() == "500 True"
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_processes_that_cannot_start_are_reported(tmp_path: Path) -> None:
    class Deadly:
        def __reduce__(self) -> tuple[Any, ...]:
            return os._exit, (3,)

        def __call__(self, task: ShardTask, public: Path, watch: Watch) -> ShardCard:
            raise AssertionError

    with pytest.raises(ArchiveError, match=r"cannot start \(exit code .*fewer runtime.workers"):
        list(write_shards(tasks(tmp_path, [None]), tmp_path, Limits(1), write=Deadly()))


def test_a_program_error_reports_its_place_and_nothing_else(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError) as caught:
        list(write_shards(tasks(tmp_path, [None]), tmp_path, Limits(1), write=_write_wrongly))
    assert "ValueError in test_shard_pool.py" in str(caught.value) and "DOE" not in str(caught.value)


def _write_pid(task: ShardTask, public: Path, watch: Watch) -> ShardCard | Unfinished:
    (public / "pid").write_text(str(os.getpid()))
    return write_shard(task, public, watch)


def _write_slowly(task: ShardTask, public: Path, watch: Watch) -> ShardCard | Unfinished:
    first = not (public / "pid").exists()
    result = _write_pid(task, public, watch)
    if first:
        time.sleep(600)
    return result


def _write_hungrily(task: ShardTask, public: Path, watch: Watch) -> ShardCard | Unfinished:
    if task.name == "train-000000":
        raise MemoryError
    return write_shard(task, public, watch)


def _write_state(task: ShardTask, public: Path, watch: Watch) -> ShardCard | Unfinished:
    blocked = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    (public / "state").write_text(f"{Path('/proc/self/oom_score_adj').read_text().strip()} {blocked}")
    return write_shard(task, public, watch)


def _write_on_full_disk(task: ShardTask, public: Path, watch: Watch) -> ShardCard | Unfinished:
    raise OSError(28, "No space left on device")


def _write_wrongly(task: ShardTask, public: Path, watch: Watch) -> ShardCard | Unfinished:
    raise ValueError("PatientName DOE^JANE")


def test_shards_written_in_this_process_reject_the_same_files(tmp_path: Path) -> None:
    work = list(itertools.islice(tasks(tmp_path, [None] * 2), 2))
    Path(work[1].files[0][0]).unlink()
    for accepted, expected in ((frozenset[Reason](), Unfinished), (frozenset({Reason.UNREADABLE_FILE}), ShardCard)):
        results = list(write_shards(iter(work), tmp_path, Limits(1, accepted=accepted, isolated=False)))
        assert isinstance(results[1], expected)
