"""Ranks of a training, forked from this process, which has imported everything once.

What a launcher does, less its start: each rank runs ``launch/pretrain.py``'s ``main`` with the variables that torchrun
sets, in a process of its own, and nothing restarts or ends the others. To be used in a process that has computed
nothing: what has used OpenMP leaves the processes it forks a pool without threads, and their first product waits for
ever.
"""

import atexit
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import mae_rad.training.loop  # noqa: F401 - torch, DeepSpeed and everything else, once
from launch.pretrain import main


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class WarmRanks:
    """A started training; ``log`` takes what all its ranks write, ``command`` is what each of them runs."""

    def __init__(
        self, arguments: Sequence[str], world: int, log: Path, command: Callable[[Sequence[str]], int] = main
    ) -> None:
        self.log, self._codes, self._command = log, dict[int, int](), command
        port = free_port()
        self.pids = [self._fork(arguments, rank, world, port) for rank in range(world)]

    def _fork(self, arguments: Sequence[str], rank: int, world: int, port: int) -> int:
        pid = os.fork()
        if pid:
            return pid
        code = 70
        atexit._clear()  # what the first process has open is its own to close
        try:
            output = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(output, 1)
            os.dup2(output, 2)
            names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
            values = (rank, rank, world, world, "127.0.0.1", port)
            os.environ.update(dict(zip(names, map(str, values), strict=True)))
            code = self._command(arguments)
            atexit._run_exitfuncs()
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def kill(self, number: signal.Signals, ranks: Sequence[int] | None = None) -> None:
        """Signal the ranks that still run."""
        for rank in range(len(self.pids)) if ranks is None else ranks:
            if self.running(rank):
                os.kill(self.pids[rank], number)

    def running(self, rank: int) -> bool:
        pid = self.pids[rank]
        if pid not in self._codes:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._codes[pid] = os.waitstatus_to_exitcode(status)
        return pid not in self._codes

    def wait(self, seconds: float) -> list[int]:
        """Exit codes of all ranks; a rank that still runs after ``seconds`` is an error."""
        until = time.monotonic() + seconds
        while any(self.running(rank) for rank in range(len(self.pids))):
            if time.monotonic() > until:
                self.kill(signal.SIGKILL)
                raise AssertionError(f"a rank still runs after {seconds} s:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.01)
        return [self._codes[pid] for pid in self.pids]
