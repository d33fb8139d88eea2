"""Collective operations of losses over all ranks: gathering and sums with gradient, and sums without.

Without a process group, the number of ranks is 1 and nothing is communicated.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import FunctionCtx


def rank_and_world() -> tuple[int, int]:
    """Return the rank of this process and the number of ranks; (0, 1) without a process group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def gather_columns(z: Tensor) -> Tensor:
    """Concatenate the tensors of all ranks along the first dimension, in the order of ranks. A collective call.

    All ranks must pass equal shapes, and all or none must require gradient. Backward sums the gradients of all ranks
    for the part of this rank. If the mean over ranks of the loss equals the loss of one process, averaging parameter
    gradients over ranks then gives exactly the gradient of one process.

    Args:
        z: [n, ...], float or integer.

    Returns:
        [n x world, ...].
    """
    _, world = rank_and_world()
    if world == 1:
        return z
    gathered: Tensor = _Gather.apply(z)
    return gathered


def sum_over_ranks(count: Tensor) -> Tensor:
    """Sum a tensor of any shape over all ranks, without gradient. A collective call."""
    total = count.detach().clone()
    if rank_and_world()[1] > 1:
        dist.all_reduce(total)
    return total


def add_over_ranks(part: Tensor) -> Tensor:
    """Sum a tensor of any shape over all ranks. A collective call.

    Backward sums the gradients of all ranks, as :func:`gather_columns` does.
    """
    if rank_and_world()[1] == 1:
        return part
    total: Tensor = _Add.apply(part)
    return total


def count_rows(z: Tensor) -> Tensor:
    """Count the rows of all ranks. A collective call.

    Args:
        z: [n, ...] rows of this rank.

    Returns:
        [] in the type of ``z``, for divisions.
    """
    return sum_over_ranks(torch.tensor(float(len(z)), dtype=z.dtype, device=z.device))


def centre_over_ranks(x: Tensor) -> tuple[Tensor, Tensor]:
    """Subtract the mean of every channel over the rows of all ranks, with gradient. A collective call.

    Args:
        x: [n, C]; half precision is computed in float32.

    Returns:
        [n, C] in float32 or float64, and the number of rows of all ranks [].
    """
    values = x if x.dtype == torch.float64 else x.float()
    rows = count_rows(values)
    return values - add_over_ranks(values.sum(dim=0)) / rows, rows


def batch_normalise(x: Tensor) -> tuple[Tensor, Tensor]:
    """Batch norm without weights (Ioffe and Szegedy 2015) over the rows of all ranks. A collective call.

    Args:
        x: [n, C]; half precision is computed in float32.

    Returns:
        [n, C] in float32 or float64, and the number of rows of all ranks [].
    """
    centred, rows = centre_over_ranks(x)
    variance = add_over_ranks(centred.square().sum(dim=0)) / rows
    return centred * torch.rsqrt(variance + 1e-5), rows


class _Add(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, part: Tensor) -> Tensor:
        return sum_over_ranks(part)

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Any) -> Tensor:
        return sum_over_ranks(gradients[0].contiguous())


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, z: Tensor) -> Tensor:
        parts = [torch.empty_like(z, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, z.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Any) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        # Not a reduce-scatter: gloo lacks it for some types, and a column is a short vector.
        dist.all_reduce(total)
        rank_part: Tensor = total.chunk(dist.get_world_size())[dist.get_rank()]
        return rank_part
