"""Multi-head self-attention and cross-attention (Vaswani et al. 2017) with a choice of kernels.

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
"""``fused`` does not store the [N, M] weights; ``plain`` is two matrix products and a softmax."""

MAX_PLAIN_PAIRS = 18_000
"""Largest number of pairs N * M per channel of a head for which ``auto`` selects the plain kernel on a CPU. In bf16,
torch's fused kernel takes two to five times as long there, forward and backward, at 50 to 700 tokens. At 1,000 tokens
the plain kernel takes half as long for heads of 64 channels, and a third longer for heads of 32."""

torch.backends.cuda.enable_cudnn_sdp(False)
# Applies to the whole process. cuDNN attention, torch's default on recent GPUs, is planned again for each number of
# tokens, and whole films differ in it: on an H200 a backward pass of finetuning took 3.2 s with it, 0.37 s without.

KEPT_PAIRS = 300 * 300
"""Largest number of pairs N * M for which the plain kernel stores its weights for backward; else it recomputes them."""


def attend(query: Tensor, key: Tensor, value: Tensor, kernel: Kernel = "auto") -> Tensor:
    """Compute softmax attention, scaled by 1 / sqrt(d).

    Args:
        query: [B, H, N, d].
        key: [B, H, M, d].
        value: [B, H, M, d].
        kernel: affects rounding, time and memory; ``auto`` is fused on a GPU, and plain on a CPU for few tokens.

    Returns:
        [B, H, N, d].
    """
    pairs = query.shape[-2] * key.shape[-2]
    if kernel == "auto":
        is_small = pairs <= MAX_PLAIN_PAIRS * query.shape[-1]
        kernel = "plain" if is_small and query.device.type == "cpu" else "fused"
    if kernel == "fused":
        return scaled_dot_product_attention(query, key, value)
    if pairs > KEPT_PAIRS and torch.is_grad_enabled():
        recomputed: Tensor = checkpoint(_plain, query, key, value, use_reentrant=False, preserve_rng_state=False)
        return recomputed
    return _plain(query, key, value)


def _plain(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    weights = (query / math.sqrt(query.shape[-1]) @ key.transpose(-2, -1)).softmax(dim=-1)
    return weights @ value


class SelfAttention(nn.Module):
    """Attention of every token to all tokens of its film."""

    def __init__(self, dim: int, heads: int, *, kernel: Kernel = "auto") -> None:
        super().__init__()
        self.heads, self.kernel = heads, kernel
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, packed: Sequence[tuple[int, int]] | None = None) -> Tensor:
        """Apply self-attention.

        Args:
            tokens: [B, N, D] of films of equal size, or [sum of B * N, D] of several groups of films, concatenated.
            packed: (B, N) of each group, in their order; None for films of equal size.

        Returns:
            Tensor of the shape of ``tokens``.
        """
        qkv = self.qkv(tokens)
        if packed is None:
            mixed = self._attend(qkv)
        else:
            mixed = torch.cat([self._attend(films).flatten(0, 1) for films in unpack(qkv, packed)])
        projected: Tensor = self.proj(mixed)
        return projected

    def _attend(self, qkv: Tensor) -> Tensor:
        query, key, value = (_split(part, self.heads) for part in qkv.chunk(3, dim=-1))
        return _join(attend(query, key, value, self.kernel))


class CrossAttention(nn.Module):
    """Attention of every query to all tokens of a context."""

    def __init__(self, dim: int, heads: int, *, kernel: Kernel = "auto") -> None:
        super().__init__()
        self.heads, self.kernel = heads, kernel
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, queries: Tensor, context: Tensor) -> Tensor:
        """Apply cross-attention: queries [B, N, D] and context [B, M, D] → [B, N, D]."""
        key, value = (_split(part, self.heads) for part in self.kv(context).chunk(2, dim=-1))
        mixed: Tensor = self.proj(_join(attend(_split(self.q(queries), self.heads), key, value, self.kernel)))
        return mixed


def unpack(tokens: Tensor, packed: Sequence[tuple[int, int]]) -> list[Tensor]:
    """Split concatenated tokens into groups.

    Args:
        tokens: [sum of B * N, D].
        packed: (B, N) of each group.

    Returns:
        [B, N, D] of each group.
    """
    parts = torch.split(tokens, [films * count for films, count in packed])
    return [part.reshape(*size, -1) for part, size in zip(parts, packed, strict=True)]


def _split(tokens: Tensor, heads: int) -> Tensor:
    films, count, dim = tokens.shape
    return tokens.reshape(films, count, heads, dim // heads).transpose(1, 2)


def _join(values: Tensor) -> Tensor:
    return values.transpose(1, 2).flatten(2)
