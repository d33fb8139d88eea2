"""Which rank is lost, on which host: every rank gives a sign of life each second, and rank 0 keeps the list.

A rank that is killed breaks the exchange that the others wait in: within :data:`_QUICK` seconds rank 0 knows who gives
no sign any more. A node that vanishes, or a link that is cut, breaks nothing: after ``runtime.timeout_seconds`` without
a sign the ranks that can still hear each other end. One of them says whom they miss.
"""

import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import torch.distributed as dist

from mae_rad.training.engine import Ranks, gather_over_ranks, on_first_rank

LOST = 1
"""Exit code of a training that lost a rank."""

_BEAT = 1.0
_QUICK = 5.0
"""Seconds in which a living rank gives a sign for certain."""
_GOODBYE = 3.0

_log = logging.getLogger(__name__)


class RollCall:
    """A context in which the ranks of a training watch over each other; nothing happens where there is one."""

    def __init__(self, who: Ranks, timeout_seconds: float) -> None:
        self._who, self._patience = who, timeout_seconds
        if who.world == 1:
            return
        self._hosts = gather_over_ranks(socket.gethostname())
        self._ended = threading.Event()
        self._step = 0
        # Its own store: a call to the common one may wait for the main thread's.
        address, wait = os.environ["MASTER_ADDR"], timedelta(seconds=min(timeout_seconds, 60))
        self._server = _store(address, 0, is_master=True) if who.first else None
        port = on_first_rank(who, lambda: self._server.port if self._server else 0)
        self._store = _store(address, port, is_master=False, timeout=wait)
        self._store.set(self._key("sign"), "0")
        dist.barrier()
        self._seen = {rank: (b"", time.monotonic()) for rank in self._watched()}

    def __enter__(self) -> Self:
        if self._who.world > 1:
            threading.Thread(target=self._watch, daemon=True, name="roll call").start()
        return self

    def at(self, step: int) -> None:
        """Remember the step, for the message."""
        self._step = step

    def __exit__(self, _: type | None, error: BaseException | None, __: TracebackType | None) -> None:
        if self._who.world == 1:
            return
        told = error is not None and _broken_exchange(error) and self._someone_told()
        self._ended.set()
        self._set(self._key("left"), "1")
        if self._who.first:  # the list ends with this process: the others look at it before they leave
            self._wait(_GOODBYE, lambda: all(self._has(f"left/{rank}") for rank in self._watched()))
        if told:
            raise SystemExit(LOST)

    def _someone_told(self) -> bool:
        """Wait for rank 0 to find who is missing and end us, or for a rank that left by itself and said why."""
        self._set("alarm", "1")
        others = [rank for rank in range(self._who.world) if rank != self._who.rank]
        return self._wait(2 * _QUICK, lambda: any(self._has(f"left/{rank}") for rank in others))

    @staticmethod
    def _wait(seconds: float, for_what: Callable[[], bool]) -> bool:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with suppress(dist.DistError):  # without a list the watch ends us
                if for_what():
                    return True
            time.sleep(0.1)
        return False

    def _watched(self) -> list[int]:
        return [rank for rank in range(self._who.world) if rank != self._who.rank] if self._who.first else [0]

    def _watch(self) -> None:
        beats = 0
        while not self._ended.wait(_BEAT):
            beats += 1
            try:
                self._store.set(self._key("sign"), str(beats))
                if self._has("verdict"):
                    os._exit(LOST)  # rank 0 has told it
                patience = min(_QUICK, self._patience) if self._has("alarm") else self._patience
                self._judge(self._missing(patience))
            except dist.DistError:
                if not self._ended.is_set():
                    self._judge([0])

    def _missing(self, patience: float) -> list[int]:
        now = time.monotonic()
        for rank in self._watched():
            sign = self._store.get(f"sign/{rank}")
            if sign != self._seen[rank][0]:
                self._seen[rank] = (sign, now)
        return [
            rank for rank, (_, since) in self._seen.items() if now - since > patience and not self._has(f"left/{rank}")
        ]

    def _judge(self, missing: list[int]) -> None:
        if not missing or self._ended.is_set():
            return
        if self._who.first:
            self._set("verdict", "1")
        if self._who.rank in (0, 1) or os.environ.get("LOCAL_RANK") == "0":
            names = ", ".join(f"rank {rank} on {self._hosts[rank]}" for rank in missing[:8])
            sys.stderr.write(
                f"error: {names} gave no sign of life any more, at step {self._step}: killed, out of memory, or its"
                " node or link is gone; all ranks end now. The same command goes on from the last checkpoint\n"
            )
            sys.stderr.flush()
        if self._who.first:
            time.sleep(_GOODBYE)  # the others read the verdict
        os._exit(LOST)

    def _key(self, what: str) -> str:
        return f"{what}/{self._who.rank}"

    def _has(self, key: str) -> bool:
        return bool(self._store.check([key]))

    def _set(self, key: str, value: str) -> None:
        try:
            self._store.set(key, value)
        except dist.DistError:
            _log.debug("the roll call has no list any more")


def _store(address: str, port: int, **more: Any) -> Any:
    return dist.TCPStore(address, port, wait_for_workers=False, **more)  # type: ignore[attr-defined]


def _broken_exchange(error: BaseException) -> bool:
    """Whether the ranks could not exchange what they had: gloo raises plain RuntimeErrors."""
    words = ("gloo", "NCCL", "Connection", "Timed out", "Socket")
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )
