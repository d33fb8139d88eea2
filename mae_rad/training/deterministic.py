"""Use deterministic kernels, so that a resumed training has the same weights bit for bit on GPUs, too.

An operation without one raises an error in torch. NCCL sums in the same order as long as hosts, GPUs, its version and
its variables stay the same. A compiled model selects kernels by measured time: settings exclude it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch.utils import deterministic

_WORKSPACES = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@contextmanager
def deterministic_kernels(enabled: bool) -> Iterator[None]:
    """Use only deterministic kernels within the context, if ``enabled``; enter it before any GPU matrix product."""
    if not enabled:
        yield
        return
    os.environ.setdefault(*_WORKSPACES)  # cuBLAS reads it once; torch rejects unsuitable values
    cudnn, memory = torch.backends.cudnn, cast(Any, deterministic)  # its properties have no types
    before = torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark
    fill_before = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    cudnn.deterministic, cudnn.benchmark = True, False
    memory.fill_uninitialized_memory = (
        False  # it fills with NaN, which would stay in the padding of DeepSpeed's partitions
    )
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        cudnn.deterministic, cudnn.benchmark = before[1:]
        memory.fill_uninitialized_memory = fill_before
