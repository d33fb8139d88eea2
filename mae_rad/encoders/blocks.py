"""Transformer blocks and their published initialisation, as encoders and decoders use them."""

from functools import partial
from typing import Any, NamedTuple

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

LONGEST_PLAIN_ATTENTION = 1024
"""Tokens up to which a CPU computes attention in plain matrix products, which takes memory with their square."""


class Shape(NamedTuple):
    """Size of a stack of blocks."""

    dim: int
    depth: int
    heads: int


class Blocks(nn.Sequential):
    """Pre-norm blocks with biased query, key and value (Dosovitskiy et al. 2021).

    Args:
        shape: size of the stack.
        recompute: keep only the input of each block for backward; a third more time, the results stay.
    """

    def __init__(self, shape: Shape, *, recompute: bool = False) -> None:
        norm = partial(nn.LayerNorm, eps=1e-6)
        super().__init__(*(Block(shape.dim, shape.heads, qkv_bias=True, norm_layer=norm) for _ in range(shape.depth)))
        self.recompute = recompute

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform [B, N, D] tokens."""
        # Torch's fused kernel for CPU has a slow backward: a step takes 1.5 times as long at 49 to 196 tokens.
        fused = tokens.device.type != "cpu" or tokens.shape[1] > LONGEST_PLAIN_ATTENTION
        block: Any  # timm is not typed
        for block in self:
            block.attn.fused_attn = fused
            if self.recompute and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, use_reentrant=False)
            else:
                tokens = block(tokens)
        return tokens


def initialise(module: nn.Module) -> None:
    """Initialise one module as published (He et al. 2022): Linear Xavier-uniform without bias, LayerNorm 1 and 0."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
