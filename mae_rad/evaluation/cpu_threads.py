"""Limit the threads of the numerical libraries during a comparison.

Idle threads of OpenBLAS and OpenMP use processor time while they wait, which slows other programs and themselves.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits

from data_prep.runtime.worker_pool import available_cores


@contextmanager
def limit_threads(threads: int) -> Iterator[int]:
    """Limit every thread pool to ``threads`` and yield the number; 0 is the number of idle cores, at least one."""
    idle = available_cores() - round(os.getloadavg()[0])
    count = threads or max(1, idle)
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count):
            yield count
    finally:
        torch.set_num_threads(before)
