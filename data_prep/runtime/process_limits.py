"""Memory limit of a process, and how early the kernel ends it when memory runs out."""

import contextlib
import os
import resource
from pathlib import Path

_GIB = 2**30


def raise_oom_score() -> None:
    """Where memory is short let the kernel end this process, which is replaced, before the one that leads the run."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


def limit_memory(gib: float) -> None:
    """Let allocations fail that go ``gib`` beyond what the process has to begin with; 0 sets no limit."""
    if not gib:
        return
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + int(gib * _GIB)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
