"""A file that crashes or blocks its process costs only itself; files keep their order and are decoded ahead."""

import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_prep.errors import Reason
from data_prep.runtime.decode_pool import DecodeLimits, DecodePool, LostJob, StartError, decode_in_order
from data_prep.runtime.decode_process import Watch

CRASHED, TIMEOUT = Reason.DECODER_CRASHED, Reason.DECODER_TIMEOUT


def decode(folder: Path, file: str) -> str:
    """Does what the file's first word says; each try leaves a file with its process and its end."""
    with (folder / file.replace(" ", "-")).open("a") as tries:
        tries.write(f"{os.getpid()}\n")
    tried = len((folder / file.replace(" ", "-")).read_text().split())
    match file.split(maxsplit=1)[0]:
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "killed-once" if tried == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        case "sleeps":
            time.sleep(600)
        case "slow":
            time.sleep(0.3)
        case "eats":
            np.ones(2**31)
        case "fails":
            raise ValueError(file)
    return file.upper()


def tries(folder: Path, file: str) -> list[int]:
    path = folder / file.replace(" ", "-")
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def test_results_are_in_order_and_a_file_that_ends_its_process_twice_is_rejected(tmp_path: Path) -> None:
    files = ["slow 1", "a", "segfault", "b", "killed-once", "slow 2", "killed", "c"]
    found = list(decode_in_order(files, partial(decode, tmp_path), DecodeLimits(2)))
    assert [file for file, _ in found] == files
    given_up = {"segfault": CRASHED, "killed": CRASHED}
    assert [result for _, result in found] == [given_up.get(file, file.upper()) for file in files]
    assert {file: len(tries(tmp_path, file)) for file in files} == {
        file: 2 if file in {*given_up, "killed-once"} else 1 for file in files
    }


def test_a_file_that_takes_too_long_is_rejected_after_two_tries(tmp_path: Path) -> None:
    files, start = ["a", "sleeps", "b"], time.monotonic()
    found = [
        result
        for _, result in decode_in_order(files, partial(decode, tmp_path), DecodeLimits(1, file_timeout_seconds=0.5))
    ]
    assert found == ["A", TIMEOUT, "B"] and len(tries(tmp_path, "sleeps")) == 2
    assert time.monotonic() - start < 60


def test_a_process_that_the_kernel_ended_is_followed_by_one_that_is_alone(tmp_path: Path) -> None:
    pool: DecodePool[str, str] = DecodePool(partial(_decode_job, tmp_path), DecodeLimits(2))
    try:
        for file in ("killed", "slow 1", "slow 2", "slow 3"):
            pool.submit(file)
        outcomes: list[tuple[str, Any]] = []
        while pool.pending:
            for file, outcome in pool.poll():
                outcomes.append((file, outcome))
                if len(tries(tmp_path, file)) == 1 and isinstance(outcome, LostJob):
                    pool.submit(file, alone=outcome.alone)
        lost = LostJob(7, CRASHED, alone=True)
        assert outcomes[-1] == ("killed", lost) and outcomes.count(("killed", lost)) == 2
        others = {pid for number in (1, 2, 3) for pid in tries(tmp_path, f"slow {number}")}
        assert not any(Path(f"/proc/{pid}").exists() for pid in others - {tries(tmp_path, "killed")[1]})
    finally:
        pool.close()


def test_memory_is_limited_and_the_process_is_the_first_to_lack_it(tmp_path: Path) -> None:
    with pytest.raises(MemoryError):
        list(decode_in_order(["eats"], partial(decode, tmp_path), DecodeLimits(1, memory_gib=1)))
    ((_, state),) = decode_in_order([""], _state, DecodeLimits(1))
    assert state == ("500", True)


def test_files_are_decoded_while_the_caller_is_busy(tmp_path: Path) -> None:
    files = [f"file {number}" for number in range(20)]
    results = decode_in_order(files, partial(decode, tmp_path), DecodeLimits(1))
    assert next(results) == ("file 0", "FILE 0")
    until = time.monotonic() + 30
    while not tries(tmp_path, "file 1") and time.monotonic() < until:
        time.sleep(0.01)
    assert tries(tmp_path, "file 1") and not tries(tmp_path, "file 10")
    results.close()


def test_processes_are_replaced_after_so_many_files(tmp_path: Path) -> None:
    files = [f"file {number}" for number in range(6)]
    list(decode_in_order(files, partial(decode, tmp_path), DecodeLimits(1, restart_after_files=2)))
    processes = [tries(tmp_path, file) for file in files]
    assert len({pid for (pid,) in processes}) == 3 and processes[0] == processes[1]


def test_an_exception_of_the_decoder_ends_the_pool_and_its_processes(tmp_path: Path) -> None:
    results = decode_in_order(["slow 1", "fails", "a"], partial(decode, tmp_path), DecodeLimits(1))
    with pytest.raises(ValueError, match="fails"):
        list(results)
    assert not Path(f"/proc/{tries(tmp_path, 'slow 1')[0]}").exists()


def test_no_process_outlives_a_caller_that_stops_early(tmp_path: Path) -> None:
    results = decode_in_order(["a", "sleeps", "b"], partial(decode, tmp_path), DecodeLimits(2))
    assert next(results) == ("a", "A")
    results.close()
    pids = tries(tmp_path, "a") + tries(tmp_path, "sleeps") + tries(tmp_path, "b")
    assert pids and not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_processes_that_cannot_start_are_reported() -> None:
    with pytest.raises(StartError) as caught:
        list(decode_in_order(["a"], _Deadly(), DecodeLimits(1)))
    assert caught.value.args == (3,)


class _Deadly:
    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (3,)

    def __call__(self, file: str) -> str:
        raise AssertionError


def _state(_: str) -> tuple[str, bool]:
    blocked = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    return Path("/proc/self/oom_score_adj").read_text().strip(), blocked


def _decode_job(folder: Path, file: str, watch: Watch) -> str:
    watch.begins(7)
    result = decode(folder, file)
    watch.ends(1, 0)
    return result
