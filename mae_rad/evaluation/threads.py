"""How many threads the arithmetic of a comparison takes.

Idle threads of OpenBLAS and OpenMP spin: on a machine with other work each waits for its turn to do nothing.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits

from data_prep.runtime.worker_pool import available_cores


@contextmanager
def few_threads(wanted: int) -> Iterator[int]:
    """Limit every pool of threads to ``wanted``; 0 takes the cores that are idle now, one at least."""
    idle = available_cores() - round(os.getloadavg()[0])
    count = wanted or max(1, idle)
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count):
            yield count
    finally:
        torch.set_num_threads(before)
