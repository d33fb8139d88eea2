"""Transformer blocks of encoders and decoders, and their published initialisation."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mae_rad.encoders.attention import CrossAttention, Kernel, SelfAttention, unpack

EPSILON = 1e-6
"""Epsilon of every LayerNorm, as in the reference implementation."""


class Shape(NamedTuple):
    """Size of a stack of blocks: channels, number of blocks, attention heads."""

    dim: int
    depth: int
    heads: int


class Blocks(nn.Sequential):
    """A stack of pre-norm blocks (Dosovitskiy et al. 2021) of self-attention or cross-attention.

    Args:
        shape: size of the stack.
        cross: use cross-attention to a context without self-attention (Fu et al. 2024).
        kernel: kernel of attention.
        recompute: store only the input of each block for backward; takes a third more time, results are equal.
        drop_path: probability that the last block of self-attention drops a branch of a film; it rises from 0.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        cross: bool = False,
        kernel: Kernel = "auto",
        recompute: bool = False,
        drop_path: float = 0,
    ) -> None:
        rates = torch.linspace(0, drop_path, shape.depth, device="cpu").tolist()
        super().__init__(
            *(
                CrossBlock(shape.dim, shape.heads, kernel=kernel)
                if cross
                else Block(shape.dim, shape.heads, kernel=kernel, drop_path=rate)
                for rate in rates
            )
        )
        self.kernel = kernel
        self.recompute = recompute

    def forward(self, tokens: Tensor, *context: Any) -> Tensor:
        """Transform tokens.

        Args:
            tokens: [B, N, D].
            context: further inputs of every block.

        Returns:
            [B, N, D].
        """
        for block in self:
            if self.recompute and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, *context, use_reentrant=False)
            else:
                tokens = block(tokens, *context)
        return tokens


class Block(nn.Module):
    """Self-attention and MLP; weights have timm's names.

    In training a branch of a film is dropped with the probability ``drop_path`` (stochastic depth, Huang et al. 2016).
    """

    def __init__(self, dim: int, heads: int, *, kernel: Kernel = "auto", drop_path: float = 0) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.norm1 = nn.LayerNorm(dim, eps=EPSILON)
        self.attn = SelfAttention(dim, heads, kernel=kernel)
        self.norm2 = nn.LayerNorm(dim, eps=EPSILON)
        self.mlp = MLP(dim)

    def forward(self, tokens: Tensor, packed: Sequence[tuple[int, int]] | None = None) -> Tensor:
        """[B, N, D] → [B, N, D], or packed as in :class:`SelfAttention`."""
        tokens = tokens + self._drop(self.attn(self.norm1(tokens), packed), packed)
        changed: Tensor = tokens + self._drop(self.mlp(self.norm2(tokens)), packed)
        return changed

    def _drop(self, branch: Tensor, packed: Sequence[tuple[int, int]] | None) -> Tensor:
        """Drop a branch of some films, and scale that of the others up."""
        if not (self.training and self.drop_path):
            return branch
        from timm.layers import drop_path  # noqa: PLC0415 - takes a second, and is rarely needed

        if packed is None:
            dropped: Tensor = drop_path(branch, self.drop_path, training=True)
            return dropped
        groups = unpack(branch, packed)
        return torch.cat([drop_path(group, self.drop_path, training=True).flatten(0, 1) for group in groups])


class CrossBlock(nn.Module):
    """Cross-attention to a context and MLP; tokens do not attend to each other."""

    def __init__(self, dim: int, heads: int, *, kernel: Kernel = "auto") -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPSILON)
        self.attn = CrossAttention(dim, heads, kernel=kernel)
        self.norm2 = nn.LayerNorm(dim, eps=EPSILON)
        self.mlp = MLP(dim)

    def forward(self, tokens: Tensor, context: Tensor) -> Tensor:
        """Tokens [B, N, D] and context [B, M, D], which is not normalised here → [B, N, D]."""
        tokens = tokens + self.attn(self.norm1(tokens), context)
        changed: Tensor = tokens + self.mlp(self.norm2(tokens))
        return changed


class MLP(nn.Module):
    """Two linear layers with GELU and a hidden width of 4 D."""

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
