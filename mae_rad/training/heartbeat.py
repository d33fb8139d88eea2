"""Detect and name lost ranks: every rank writes a heartbeat each second to a key-value store on rank 0.

A killed rank breaks the collective operation that the others wait in: within :data:`_QUICK_SECONDS` rank 0 knows whose
heartbeat is missing. A vanished node or a cut link breaks nothing: after ``runtime.timeout_seconds`` without a
heartbeat the ranks that still reach each other exit. A hanging rank sends heartbeats, but is the only one whose
operation is not broken when those of the others are. One rank reports which ranks are missing.
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

EXIT_RANK_LOST = 1
"""Exit code of a training that lost a rank."""

_BEAT_SECONDS = 1.0
_QUICK_SECONDS = 5.0
"""Time in which a running rank certainly writes a heartbeat, and detects a broken operation when others do."""
_EXIT_DELAY_SECONDS = 3.0
"""Time that rank 0 keeps the store, so that the others can read the decision."""
_FAILURE_SECONDS = 60.0
"""Time in which all ranks exit after one that failed alone: its last request to MLflow may be slow."""

_log = logging.getLogger(__name__)


class Heartbeat:
    """A context that monitors the ranks of a training; it does nothing for a single rank.

    Args:
        ranks: rank of this process and number of ranks.
        timeout_seconds: longest time without a heartbeat, in seconds.
    """

    def __init__(self, ranks: Ranks, timeout_seconds: float) -> None:
        self._ranks, self._timeout = ranks, timeout_seconds
        if ranks.world == 1:
            return
        self._hosts = gather_over_ranks(socket.gethostname())
        self._peers = [rank for rank in range(ranks.world) if rank != ranks.rank]
        self._is_ended, self._has_left = threading.Event(), threading.Event()
        self._step, self._is_alarmed, self._failed_since = 0, False, math.inf
        # A separate store: a call to the default one may wait for that of the main thread.
        address, store_timeout = os.environ["MASTER_ADDR"], timedelta(seconds=min(timeout_seconds, 60))
        self._server = _store(address, 0, is_master=True) if ranks.first else None
        port = on_first_rank(ranks, lambda: self._server.port if self._server else 0)
        self._store = _store(address, port, is_master=False, timeout=store_timeout)
        self._store.set(f"sign/{ranks.rank}", "0")
        dist.barrier()
        self._answered_at = time.monotonic()
        self._last_beats = dict.fromkeys(self._peers if ranks.first else [0], (b"", self._answered_at))

    def __enter__(self) -> Self:
        if self._ranks.world > 1:
            threading.Thread(target=self._watch, daemon=True, name="heartbeat").start()
            threading.Thread(target=self._guard, daemon=True, name="heartbeat guard").start()
        return self

    def set_step(self, step: int) -> None:
        """Record the current optimiser step, which the message about a lost rank states."""
        self._step = step

    def __exit__(self, _: type | None, error: BaseException | None, __: TracebackType | None) -> None:
        if self._ranks.world == 1:
            return
        is_lost = error is not None and _is_broken_operation(error) and self._resolve_broken_operation()
        is_common_exit = error is None or isinstance(error, SystemExit)
        if (
            is_common_exit and not self._ranks.first
        ):  # rank 0 may still be writing, and a queue may kill it when other ranks exit
            self._wait(math.inf, lambda: self._has("left/0"))
        if not is_common_exit and not is_lost:
            self._set("failed")
        self._is_ended.set()
        self._set(f"left/{self._ranks.rank}")
        if self._ranks.first:  # the store ends with this process: the others read it before they exit
            have_all_left = lambda: all(self._has(f"left/{rank}") for rank in self._peers)  # noqa: E731
            self._wait(_FAILURE_SECONDS if is_common_exit else _EXIT_DELAY_SECONDS, have_all_left)
        self._has_left.set()
        if is_lost:
            raise SystemExit(EXIT_RANK_LOST)

    def _resolve_broken_operation(self) -> bool:
        """After a broken operation, wait for the decision of rank 0 or an exited rank, else report hanging ranks.

        Returns:
            Whether the error has been reported.
        """
        self._is_alarmed = True
        self._set("alarm")
        self._set(f"broken/{self._ranks.rank}")
        if self._wait(2 * _QUICK_SECONDS, lambda: any(self._has(f"left/{rank}") for rank in self._peers)):
            return True
        if dist.get_backend() == "nccl":  # fails on one rank and blocks the others, so it does not show who hangs
            return False
        hanging = [rank for rank in self._peers if not self._has(f"broken/{rank}")]
        if not any(self._has(f"broken/{rank}") for rank in range(self._ranks.rank)):
            if hanging:
                self._report(
                    self._names(hanging),
                    "did not take part in an operation",
                    "it hangs, or reads from a disk that hangs",
                )
            else:
                reason = f"a rank exceeded runtime.timeout_seconds ({self._timeout:g} s), or a link was interrupted"
                self._report("all ranks are running, but", "lost an operation", reason)
            self._set("decided")
            self._exit()
        self._wait(
            2 * _QUICK_SECONDS, lambda: self._has("decided")
        )  # by a lower rank, which may have started to wait later
        return True

    @staticmethod
    def _wait(seconds: float, condition: Callable[[], bool]) -> bool:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with suppress(dist.DistError):  # if the store is gone, the monitoring thread ends the process
                if condition():
                    return True
            time.sleep(0.1)
        return False

    def _watch(self) -> None:
        beats = 0
        while not self._is_ended.wait(_BEAT_SECONDS):
            beats += 1
            try:
                self._store.set(f"sign/{self._ranks.rank}", str(beats))
                if self._has("decided") or self._has_failed_long_ago():
                    self._exit()  # another rank has reported it
                missing = self._find_missing(
                    min(_QUICK_SECONDS, self._timeout) if self._has("alarm") else self._timeout
                )
                self._answered_at = time.monotonic()
            except dist.DistError:
                missing = [0]
            if missing and not self._is_ended.is_set():
                if self._failed_since == math.inf:  # else rank 0 failed, has reported it, and ended the store
                    self._report_missing(missing)
                if self._ranks.first:
                    self._set("decided")
                self._exit()

    def _guard(self) -> None:
        """Exit if the store does not answer: a request over a cut link waits for many minutes."""
        while not self._has_left.wait(_BEAT_SECONDS):
            timeout = min(2 * _QUICK_SECONDS, self._timeout) if self._is_alarmed else self._timeout
            if time.monotonic() - self._answered_at > timeout + 2 * _BEAT_SECONDS:
                self._report_missing([0])
                os._exit(EXIT_RANK_LOST)

    def _has_failed_long_ago(self) -> bool:
        """Whether another rank failed long ago while the main thread of this one waits for its GPU."""
        if self._failed_since == math.inf and self._has("failed"):
            self._failed_since = time.monotonic()
        return time.monotonic() - self._failed_since > _FAILURE_SECONDS

    def _find_missing(self, timeout: float) -> list[int]:
        now = time.monotonic()
        for rank in self._last_beats:
            beat = self._store.get(f"sign/{rank}")
            if beat != self._last_beats[rank][0]:
                self._last_beats[rank] = (beat, now)
        return [
            rank
            for rank, (_, since) in self._last_beats.items()
            if now - since > timeout and not self._has(f"left/{rank}")
        ]

    def _report_missing(self, missing: list[int]) -> None:
        if self._ranks.rank in (0, 1) or os.environ.get("LOCAL_RANK") == "0":
            self._report(
                self._names(missing),
                "missed its heartbeat",
                "it was killed, ran out of memory, or its node or link failed",
            )

    def _names(self, ranks: list[int]) -> str:
        return ", ".join(f"rank {rank} on {self._hosts[rank]}" for rank in ranks[:8])

    def _report(self, subject: str, event: str, reason: str) -> None:
        sys.stderr.write(
            f"error: {subject} {event} at step {self._step}: {reason}. All ranks exit."
            " Run the same command again to resume from the last checkpoint.\n"
        )
        sys.stderr.flush()

    def _exit(self) -> NoReturn:
        if self._ranks.first:
            time.sleep(_EXIT_DELAY_SECONDS)  # the others read the decision
        os._exit(EXIT_RANK_LOST)

    def _has(self, key: str) -> bool:
        return bool(self._store.check([key]))

    def _set(self, key: str) -> None:
        try:
            self._store.set(key, "1")
        except dist.DistError:
            _log.debug("the store of heartbeats has ended")


def _store(address: str, port: int, **options: Any) -> Any:
    return dist.TCPStore(address, port, wait_for_workers=False, **options)  # type: ignore[attr-defined]


def _is_broken_operation(error: BaseException) -> bool:
    """Whether a collective operation failed: gloo raises plain RuntimeErrors."""
    markers = ("gloo", "NCCL", "Connection", "Timed out", "Socket")
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(marker in str(error) for marker in markers)
    )
