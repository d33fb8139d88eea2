"""Memory limit of a process, and its priority when the kernel has to free memory."""

import contextlib
import os
import resource
from pathlib import Path

_GIB = 2**30


def raise_oom_score() -> None:
    """Make the kernel kill this replaceable process before the main process when memory runs out."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


def limit_memory(gib: float) -> None:
    """Limit the address space of this process to its current size plus ``gib`` GiB; 0 sets no limit."""
    if not gib:
        return
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + int(gib * _GIB)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
