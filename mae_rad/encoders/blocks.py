"""Transformer blocks and their published initialisation, as encoders and decoders use them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mae_rad.encoders.attention import CrossAttention, Kernel, SelfAttention

EPSILON = 1e-6
"""Of every LayerNorm, as in the reference implementation."""


class Shape(NamedTuple):
    """Size of a stack of blocks."""

    dim: int
    depth: int
    heads: int


class Blocks(nn.Sequential):
    """Pre-norm blocks (Dosovitskiy et al. 2021), of self-attention or, with a context, of cross-attention.

    Args:
        shape: size of the stack.
        cross: every block attends from the tokens to a context, the tokens not to each other (Fu et al. 2024).
        kernel: of attention.
        recompute: keep only the input of each block for backward; a third more time, the results stay.
    """

    def __init__(self, shape: Shape, *, cross: bool = False, kernel: Kernel = "auto", recompute: bool = False) -> None:
        block = CrossBlock if cross else Block
        super().__init__(*(block(shape.dim, shape.heads, kernel=kernel) for _ in range(shape.depth)))
        self.kernel = kernel
        self.recompute = recompute

    def forward(self, tokens: Tensor, *context: Any) -> Tensor:
        """Transform tokens; ``context`` is what a block takes besides them."""
        for block in self:
            if self.recompute and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, *context, use_reentrant=False)
            else:
                tokens = block(tokens, *context)
        return tokens


class Block(nn.Module):
    """Self-attention, then a perceptron; the weights have timm's names."""

    def __init__(self, dim: int, heads: int, *, kernel: Kernel = "auto") -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPSILON)
        self.attn = SelfAttention(dim, heads, kernel=kernel)
        self.norm2 = nn.LayerNorm(dim, eps=EPSILON)
        self.mlp = MLP(dim)

    def forward(self, tokens: Tensor, packed: Sequence[tuple[int, int]] | None = None) -> Tensor:
        """[B, N, D] → [B, N, D]; or packed, as attention takes them."""
        tokens = tokens + self.attn(self.norm1(tokens), packed)
        changed: Tensor = tokens + self.mlp(self.norm2(tokens))
        return changed


class CrossBlock(nn.Module):
    """Attention to a context, then a perceptron; no token sees another."""

    def __init__(self, dim: int, heads: int, *, kernel: Kernel = "auto") -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPSILON)
        self.attn = CrossAttention(dim, heads, kernel=kernel)
        self.norm2 = nn.LayerNorm(dim, eps=EPSILON)
        self.mlp = MLP(dim)

    def forward(self, tokens: Tensor, context: Tensor) -> Tensor:
        """Tokens [B, N, D] and context [B, M, D], which is taken as it is → [B, N, D]."""
        tokens = tokens + self.attn(self.norm1(tokens), context)
        changed: Tensor = tokens + self.mlp(self.norm2(tokens))
        return changed


class MLP(nn.Module):
    """Two layers, four times as wide between them."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """[..., D] → [..., D]."""
        changed: Tensor = self.fc2(self.act(self.fc1(tokens)))
        return changed


def initialise(module: nn.Module) -> None:
    """Initialise one module as published (He et al. 2022): Linear Xavier-uniform without bias, LayerNorm 1 and 0."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
