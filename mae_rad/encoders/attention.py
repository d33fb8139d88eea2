"""Multi-head attention of tokens to each other, or to a context (Vaswani et al. 2017), by one kernel or another.

Legend: B films, N queries, M keys, H heads, d channels of a head, D = H * d.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

Kernel = Literal["auto", "fused", "plain"]
"""``fused`` never holds the [N, M] weights in memory; ``plain`` is two matrix products and a softmax."""

PLAIN_PAIRS = 18_000
"""Pairs N * M per channel of a head up to which ``auto`` takes the plain kernel on a CPU. Forward and backward in bf16,
torch's fused one takes two to five times as long there at 50 to 700 tokens; at 1,000 tokens the plain one still takes
half as long for heads of 64 channels, and a third longer for heads of 32."""

torch.backends.cuda.enable_cudnn_sdp(False)
# For the whole process: cuDNN attention, which torch prefers on recent GPUs, plans anew for each number of tokens, and
# whole films have many: finetuning took 3.2 s for a backward pass on an H200, 0.37 s without it.

KEPT_PAIRS = 300 * 300
"""Pairs up to which the plain kernel keeps its weights for the backward pass; above it computes them again."""


def attend(query: Tensor, key: Tensor, value: Tensor, kernel: Kernel = "auto") -> Tensor:
    """Softmax attention, scaled by 1 / sqrt(d).

    Args:
        query: [B, H, N, d].
        key: [B, H, M, d].
        value: [B, H, M, d].
        kernel: changes rounding, time and memory; ``auto`` is fused on a GPU, and on a CPU plain where it is small.

    Returns:
        [B, H, N, d].
    """
    pairs = query.shape[-2] * key.shape[-2]
    if kernel == "auto":
        few = pairs <= PLAIN_PAIRS * query.shape[-1]
        kernel = "plain" if few and query.device.type == "cpu" else "fused"
    if kernel == "fused":
        return scaled_dot_product_attention(query, key, value)
    if pairs > KEPT_PAIRS and torch.is_grad_enabled():
        again: Tensor = checkpoint(_plain, query, key, value, use_reentrant=False, preserve_rng_state=False)
        return again
    return _plain(query, key, value)


def _plain(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    weights = (query / math.sqrt(query.shape[-1]) @ key.transpose(-2, -1)).softmax(dim=-1)
    return weights @ value


class SelfAttention(nn.Module):
    """Every token attends to all."""

    def __init__(self, dim: int, heads: int, *, kernel: Kernel = "auto") -> None:
        super().__init__()
        self.heads, self.kernel = heads, kernel
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, packed: Sequence[tuple[int, int]] | None = None) -> Tensor:
        """[B, N, D] → [B, N, D].

        Args:
            tokens: of films of equal size; or [sum of B * N, D] of films of several sizes, one after the other.
            packed: (B, N) of each size, in their order.
        """
        qkv = self.qkv(tokens)
        if packed is None:
            mixed = self._mixed(qkv)
        else:
            mixed = torch.cat([self._mixed(films).flatten(0, 1) for films in unpack(qkv, packed)])
        projected: Tensor = self.proj(mixed)
        return projected

    def _mixed(self, qkv: Tensor) -> Tensor:
        query, key, value = (_split(part, self.heads) for part in qkv.chunk(3, dim=-1))
        return _join(attend(query, key, value, self.kernel))


class CrossAttention(nn.Module):
    """Every query attends to all of a context."""

    def __init__(self, dim: int, heads: int, *, kernel: Kernel = "auto") -> None:
        super().__init__()
        self.heads, self.kernel = heads, kernel
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, queries: Tensor, context: Tensor) -> Tensor:
        """Queries [B, N, D] and context [B, M, D] → [B, N, D]."""
        key, value = (_split(part, self.heads) for part in self.kv(context).chunk(2, dim=-1))
        mixed: Tensor = self.proj(_join(attend(_split(self.q(queries), self.heads), key, value, self.kernel)))
        return mixed


def unpack(tokens: Tensor, packed: Sequence[tuple[int, int]]) -> list[Tensor]:
    """[sum of B * N, D] → [B, N, D] of each size."""
    parts = torch.split(tokens, [films * count for films, count in packed])
    return [part.reshape(*size, -1) for part, size in zip(parts, packed, strict=True)]


def _split(tokens: Tensor, heads: int) -> Tensor:
    films, count, dim = tokens.shape
    return tokens.reshape(films, count, heads, dim // heads).transpose(1, 2)


def _join(values: Tensor) -> Tensor:
    return values.transpose(1, 2).flatten(2)
