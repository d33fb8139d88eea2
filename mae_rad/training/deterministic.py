"""Kernels that give the same bits each time, so that a training goes on bit for bit on GPUs, too.

An operation that has none is refused by torch, not taken. NCCL sums in one order as long as hosts, GPUs, its version
and its variables stay the same. A compiled model chooses its kernels by the clock: settings refuse it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch.utils import deterministic

_WORKSPACES = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@contextmanager
def deterministic_kernels(wanted: bool) -> Iterator[None]:
    """Only such kernels within the block, if ``wanted``; it begins before the first product of matrices on a GPU."""
    if not wanted:
        yield
        return
    os.environ.setdefault(*_WORKSPACES)  # cuBLAS looks at it once; torch refuses another value that is not fit
    cudnn, memory = torch.backends.cudnn, cast(Any, deterministic)  # whose properties have no types
    before = torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark
    filled = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    cudnn.deterministic, cudnn.benchmark = True, False
    memory.fill_uninitialized_memory = False  # with NaN, which the padding of DeepSpeed's partitions would keep
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        cudnn.deterministic, cudnn.benchmark = before[1:]
        memory.fill_uninitialized_memory = filled
