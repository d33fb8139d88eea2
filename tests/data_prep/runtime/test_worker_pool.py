"""Worker processes end with their parent, and are as many as the cores that a command may use."""

import ctypes
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_prep.runtime.worker_pool import process_count, spawn_pool

ROOT = Path(__file__).parents[3]
POOL = """
import os, sys, time
from data_prep.runtime.worker_pool import spawn_pool
if __name__ == "__main__":
    pool = spawn_pool(2)
    numbers = {pool.submit(os.getpid).result() for _ in range(50)}
    pool.submit(time.sleep, 600)
    print(*numbers, flush=True)
    time.sleep(600)
"""

EMBEDDING = """
import os, signal, sys, time
from torch.multiprocessing.spawn import start_processes
from mae_rad.embedding.embed import _process
class Slow:
    def stores(self, process):
        print(os.getpid(), flush=True)
        time.sleep(600)
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as under nohup: torch's own way to end them goes unheard
    start_processes(_process, (os.getpid(), Slow(), [0], None), nprocs=1, join=False, start_method="spawn")
    time.sleep(600)
"""


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.parametrize("script", [POOL, pytest.param(EMBEDDING, marks=pytest.mark.slow)], ids=["pool", "embedding"])
def test_processes_end_with_their_parent(script: str, tmp_path: Path) -> None:
    (tmp_path / "lead.py").write_text(script)
    lead = subprocess.Popen(
        [sys.executable, str(tmp_path / "lead.py")], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert lead.stdout is not None
    with lead.stdout as output:
        workers = [int(pid) for pid in output.readline().split()]
    assert workers and all(map(_runs, workers))
    lead.send_signal(signal.SIGKILL)
    lead.wait(30)
    until = time.monotonic() + 30
    while any(map(_runs, workers)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(_runs, workers))


def test_there_are_as_many_processes_as_cores_that_the_job_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3, 5, 7})
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    assert [process_count(0, tasks) for tasks in (0, 1, 2, 9)] == [1, 1, 2, 3]
    assert [process_count(workers, 9) for workers in (1, 4, 12)] == [1, 4, 9]


def test_pools_and_their_size_come_from_one_module() -> None:
    """Other pools would outlive a killed command; other counts would use cores of other jobs."""
    own = re.compile(r"\bProcessPoolExecutor\(|\bcpu_count\(|\bsched_getaffinity\(|\bmultiprocessing\.Pool\(")
    found = {
        path.relative_to(ROOT).as_posix()
        for package in ("data_prep", "mae_rad", "launch")
        for path in (ROOT / package).rglob("*.py")
        if own.search(path.read_text(encoding="utf-8"))
        and "bench" not in path.parts  # benchmarks pin processes to cores
    }
    assert found == {"data_prep/runtime/worker_pool.py"}


def _exposure() -> tuple[tuple[int, int], int]:
    """Limit of core files, and whether the memory of this process may be read (PR_GET_DUMPABLE)."""
    return resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3)


def test_no_process_that_holds_films_leaves_a_core_file() -> None:
    pool = spawn_pool(1)
    try:
        assert pool.submit(_exposure).result() == ((0, 0), 0)
    finally:
        pool.shutdown()
