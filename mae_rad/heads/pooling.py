"""Patch tokens of a film → one vector: what linear, MLP and attentive heads and probes stand on.

Legend: B films, N patches, D channels.
"""

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from mae_rad.encoders.blocks import EPSILON
from mae_rad.encoders.vit import Features

PoolName = Literal["cls", "mean", "cls_mean", "attentive"]
"""Class token; mean of the patch tokens; both, one after the other; or learned attention over the patch tokens."""
POOLS: tuple[PoolName, ...] = get_args(PoolName)


class Pooling(nn.Module):
    """Features of an encoder → [B, width].

    Attributes:
        width: channels that come out: D, or 2 D for ``cls_mean``.
    """

    def __init__(self, name: PoolName, dim: int, heads: int) -> None:
        super().__init__()
        self.name = name
        self.width = 2 * dim if name == "cls_mean" else dim
        self.attention = AttentivePooling(dim, heads) if name == "attentive" else None

    def forward(self, features: Features) -> Tensor:
        """One vector per film."""
        if self.attention is not None:
            pooled: Tensor = self.attention(features.tokens)
            return pooled
        return fixed_pooling(self.name, features)


class AttentivePooling(nn.Module):
    """One learned query attends to all patch tokens (the attentive probe of Chen et al. 2024, "Context Autoencoder").

    A findings head needs it: a finding covers a few patches, which a mean over all of them drowns.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim, eps=EPSILON)
        self.query = nn.Parameter(torch.empty(dim))
        self.key_value = nn.Linear(dim, 2 * dim)
        self.projection = nn.Linear(dim, dim)
        nn.init.normal_(self.query, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, N, D] → [B, D]."""
        films, _, dim = tokens.shape
        keys, values = self.key_value(self.norm(tokens)).view(films, -1, 2, self.heads, dim // self.heads).unbind(2)
        query = self.query.to(keys.dtype).view(1, self.heads, 1, -1).expand(films, -1, -1, -1)
        seen = scaled_dot_product_attention(query, keys.transpose(1, 2), values.transpose(1, 2))
        pooled: Tensor = self.projection(seen.reshape(films, dim))
        return pooled


def fixed_pooling(name: str, features: Features) -> Tensor:
    """[B, width] of a pooling that learns nothing: ``cls``, ``mean`` or ``cls_mean``."""
    if name == "cls":
        return features.cls
    mean = features.tokens.mean(dim=1)
    return mean if name == "mean" else torch.cat([features.cls, mean], dim=1)
