"""Which rank is lost, on which host: every rank sends a heartbeat each second, and rank 0 keeps the list.

A rank that is killed breaks the exchange that the others wait in: within :data:`_QUICK` seconds rank 0 knows whose
heartbeat is missing. A node that vanishes, or a link that is cut, breaks nothing: after ``runtime.timeout_seconds``
without a heartbeat the ranks that still reach each other end. A rank that hangs sends heartbeats, but is the one that
does not find its exchange broken when the others do. One rank reports which ranks are missing.
"""

import logging
import math
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Any, NoReturn, Self

import torch.distributed as dist

from mae_rad.training.deepspeed_engine import Ranks, gather_over_ranks, on_first_rank

LOST = 1
"""Exit code of a training that lost a rank."""

_BEAT = 1.0
_QUICK = 5.0
"""Seconds in which a living rank sends a heartbeat for certain, and finds its exchange broken when others do."""
_GOODBYE = 3.0
_STRAY = 60.0
"""Seconds in which all ranks have left after one that failed alone: MLflow may take long to hear of it."""

_log = logging.getLogger(__name__)


class Heartbeat:
    """A context in which the ranks of a training watch over each other; nothing happens where there is one."""

    def __init__(self, ranks: Ranks, timeout_seconds: float) -> None:
        self._ranks, self._patience = ranks, timeout_seconds
        if ranks.world == 1:
            return
        self._hosts = gather_over_ranks(socket.gethostname())
        self._others = [rank for rank in range(ranks.world) if rank != ranks.rank]
        self._ended, self._gone = threading.Event(), threading.Event()
        self._step, self._alarmed, self._failed_since = 0, False, math.inf
        # Its own store: a call to the common one may wait for the main thread's.
        address, wait = os.environ["MASTER_ADDR"], timedelta(seconds=min(timeout_seconds, 60))
        self._server = _store(address, 0, is_master=True) if ranks.first else None
        port = on_first_rank(ranks, lambda: self._server.port if self._server else 0)
        self._store = _store(address, port, is_master=False, timeout=wait)
        self._store.set(f"sign/{ranks.rank}", "0")
        dist.barrier()
        self._received = time.monotonic()
        self._seen = dict.fromkeys(self._others if ranks.first else [0], (b"", self._received))

    def __enter__(self) -> Self:
        if self._ranks.world > 1:
            threading.Thread(target=self._watch, daemon=True, name="heartbeat").start()
            threading.Thread(target=self._guard, daemon=True, name="guard of the heartbeat").start()
        return self

    def at(self, step: int) -> None:
        """Remember the step, for the message."""
        self._step = step

    def __exit__(self, _: type | None, error: BaseException | None, __: TracebackType | None) -> None:
        if self._ranks.world == 1:
            return
        lost = error is not None and _broken_exchange(error) and self._someone_is_lost()
        together = error is None or isinstance(error, SystemExit)
        if together and not self._ranks.first:  # rank 0 may have something to write yet, and a queue ends what is left
            self._wait(math.inf, lambda: self._has("left/0"))
        if not together and not lost:
            self._set("failed")
        self._ended.set()
        self._set(f"left/{self._ranks.rank}")
        if self._ranks.first:  # the list ends with this process: the others look at it before they leave
            everyone = lambda: all(self._has(f"left/{rank}") for rank in self._others)  # noqa: E731
            self._wait(_STRAY if together else _GOODBYE, everyone)
        self._gone.set()
        if lost:
            raise SystemExit(LOST)

    def _someone_is_lost(self) -> bool:
        """After a broken exchange: wait for the decision, or for a rank that left and said why, or find who hangs."""
        self._alarmed = True
        self._set("alarm")
        self._set(f"broken/{self._ranks.rank}")
        if self._wait(2 * _QUICK, lambda: any(self._has(f"left/{rank}") for rank in self._others)):
            return True
        if dist.get_backend() == "nccl":  # breaks on one rank and keeps the others waiting: that tells nothing of them
            return False
        hanging = [rank for rank in self._others if not self._has(f"broken/{rank}")]
        if not any(self._has(f"broken/{rank}") for rank in range(self._ranks.rank)):
            if hanging:
                self._report(
                    self._names(hanging), "did not come to an exchange", "hangs, or reads from a disk that does"
                )
            else:
                late = f"one came later than runtime.timeout_seconds ({self._patience:g} s), or a link was interrupted"
                self._report("all ranks live, but", "lost an exchange", late)
            self._set("decided")
            self._leave()
        self._wait(2 * _QUICK, lambda: self._has("decided"))  # of a lower rank, which began to wait a little later
        return True

    @staticmethod
    def _wait(seconds: float, for_what: Callable[[], bool]) -> bool:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with suppress(dist.DistError):  # without a list the watch ends us
                if for_what():
                    return True
            time.sleep(0.1)
        return False

    def _watch(self) -> None:
        beats = 0
        while not self._ended.wait(_BEAT):
            beats += 1
            try:
                self._store.set(f"sign/{self._ranks.rank}", str(beats))
                if self._has("decided") or self._strayed():
                    self._leave()  # another rank has reported it
                missing = self._missing(min(_QUICK, self._patience) if self._has("alarm") else self._patience)
                self._received = time.monotonic()
            except dist.DistError:
                missing = [0]
            if missing and not self._ended.is_set():
                if self._failed_since == math.inf:  # else rank 0 failed, has reported it, and took the list along
                    self._report_missing(missing)
                if self._ranks.first:
                    self._set("decided")
                self._leave()

    def _guard(self) -> None:
        """End this rank where the list does not answer: behind a cut link a question to it waits for many minutes."""
        while not self._gone.wait(_BEAT):
            patience = min(2 * _QUICK, self._patience) if self._alarmed else self._patience
            if time.monotonic() - self._received > patience + 2 * _BEAT:
                self._report_missing([0])
                os._exit(LOST)

    def _strayed(self) -> bool:
        """Whether a rank failed long ago, and this one does not come to know: it waits for its GPU, which waits."""
        if self._failed_since == math.inf and self._has("failed"):
            self._failed_since = time.monotonic()
        return time.monotonic() - self._failed_since > _STRAY

    def _missing(self, patience: float) -> list[int]:
        now = time.monotonic()
        for rank in self._seen:
            sign = self._store.get(f"sign/{rank}")
            if sign != self._seen[rank][0]:
                self._seen[rank] = (sign, now)
        return [
            rank for rank, (_, since) in self._seen.items() if now - since > patience and not self._has(f"left/{rank}")
        ]

    def _report_missing(self, missing: list[int]) -> None:
        if self._ranks.rank in (0, 1) or os.environ.get("LOCAL_RANK") == "0":
            self._report(
                self._names(missing),
                "missed its heartbeat",
                "killed, out of memory, or its node or link is gone",
            )

    def _names(self, ranks: list[int]) -> str:
        return ", ".join(f"rank {rank} on {self._hosts[rank]}" for rank in ranks[:8])

    def _report(self, subject: str, what: str, why: str) -> None:
        sys.stderr.write(
            f"error: {subject} {what}, at step {self._step}: {why}; all ranks end now."
            " The same command goes on from the last checkpoint\n"
        )
        sys.stderr.flush()

    def _leave(self) -> NoReturn:
        if self._ranks.first:
            time.sleep(_GOODBYE)  # the others read the decision
        os._exit(LOST)

    def _has(self, key: str) -> bool:
        return bool(self._store.check([key]))

    def _set(self, key: str) -> None:
        try:
            self._store.set(key, "1")
        except dist.DistError:
            _log.debug("the list of heartbeats is gone")


def _store(address: str, port: int, **more: Any) -> Any:
    return dist.TCPStore(address, port, wait_for_workers=False, **more)  # type: ignore[attr-defined]


def _broken_exchange(error: BaseException) -> bool:
    """Whether the ranks could not exchange what they had: gloo raises plain RuntimeErrors."""
    words = ("gloo", "NCCL", "Connection", "Timed out", "Socket")
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )
