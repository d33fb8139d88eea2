"""Memory limit of a process, its priority when the kernel has to free memory, and no core dump of it."""

import contextlib
import ctypes
import os
import resource
from pathlib import Path

_GIB = 2**30
_PR_SET_DUMPABLE = 4
"""Option of prctl(2): whether the kernel may write the memory of this process to disk, or show it to others."""


def raise_oom_score() -> None:
    """Make the kernel kill this replaceable process before the main process when memory runs out."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


def forbid_core_dump() -> None:
    """Keep the films, headers and secret in the memory of this process out of a core file, should it crash.

    The limit is inherited by the processes that it starts; what the kernel may show of it is not.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0)


def limit_memory(gib: float) -> None:
    """Limit the address space of this process to its current size plus ``gib`` GiB; 0 sets no limit."""
    if not gib:
        return
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + int(gib * _GIB)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
