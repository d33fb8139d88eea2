"""Decodes files for a program that answers requests: under the limits of a decode pool whose processes stay."""

import os
import threading
import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

from data_prep.errors import Reason
from data_prep.runtime.decode_pool import BackgroundPool, DecodeLimits, StartError

File = TypeVar("File")
Result = TypeVar("Result")


class DecodeService(Generic[File, Result]):
    """Decodes files in other processes, which start with the first file; may be called by several threads.

    Args:
        decode: is called in another process; must be picklable and must not raise.
        limits: of the processes.
        initializer: is called first in each process, before memory is limited.
    """

    def __init__(
        self,
        decode: Callable[[File], Result],
        limits: DecodeLimits,
        initializer: Callable[[], object] | None = None,
    ) -> None:
        self._start: Callable[[], BackgroundPool[File, Result]] = lambda: BackgroundPool(decode, limits, initializer)
        self._pool: BackgroundPool[File, Result] | None = None
        self._lock, self._process = threading.Lock(), os.getpid()

    def __call__(self, file: File) -> Result | Reason:
        """Decode one file.

        Args:
            file: what ``decode`` takes.

        Returns:
            Its result or, where the process crashed or took too long at every try, the reason.

        Raises:
            StartError: the processes end at their start.
        """
        pool = self._running_pool()
        try:
            return pool.submit(file).result()
        except StartError:
            self._pool = None  # the next file tries again
            raise

    def _running_pool(self) -> BackgroundPool[File, Result]:
        if self._process != os.getpid():  # a server has forked since, perhaps while another thread held the lock
            self._lock, self._pool, self._process = threading.Lock(), None, os.getpid()
        with self._lock:
            if self._pool is None:
                self._pool = self._start()
                weakref.finalize(self, self._pool.close)
            return self._pool
