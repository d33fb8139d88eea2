"""Patch tokens of a film → one vector: what linear, MLP and attentive heads and probes stand on.

Legend: B films, N patches, D channels.
"""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, scaled_dot_product_attention

from mae_rad.encoders.blocks import EPSILON
from mae_rad.encoders.film_pooling import pool_film
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
        self.name: PoolName = name
        self.width = 2 * dim if name == "cls_mean" else dim
        self.attention = AttentivePooling(dim, heads) if name == "attentive" else None

    def forward(self, features: Features) -> Tensor:
        """One vector per film."""
        if self.name == "attentive":
            assert self.attention is not None
            pooled: Tensor = self.attention(features.tokens)
            return pooled
        return pool_film(self.name, features.tokens, features.cls)


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


def pool_each(poolings: Sequence[AttentivePooling], tokens: Tensor, mask: Tensor) -> list[Tensor]:
    """[B, D] of each of ``poolings`` for the patches of ``tokens`` [B, N, D] in ``mask`` [B, N]: as their ``forward``.

    For probes: many poolings over the same tokens, which need no gradient. With one query no key or value is made per
    patch: q·(K x) = (Kᵀ q)·x, and Σ aᵢ V xᵢ = V (Σ aᵢ xᵢ). That is 4 D × heads operations a patch in place of 4 D², in
    one product for all poolings. Weights are read past their modules, so not under ZeRO stage 3.
    """
    films, _, dim = tokens.shape
    normed = layer_norm(tokens, (dim,), eps=EPSILON)
    asked = torch.cat([_keyed_query(pooling) for pooling in poolings], dim=1)  # [D, heads of all]
    attention = (normed @ asked).masked_fill(~mask[..., None], -math.inf).softmax(dim=1)
    seen = torch.split(attention.transpose(1, 2) @ normed, [pooling.heads for pooling in poolings], dim=1)
    pooled = []
    for pooling, mean in zip(poolings, seen, strict=True):
        values = pooling.key_value.weight[dim:].view(pooling.heads, -1, dim)
        scaled = mean * pooling.norm.weight + pooling.norm.bias
        each = torch.einsum("bhd,hwd->bhw", scaled, values).reshape(films, dim)
        pooled.append(pooling.projection(each + pooling.key_value.bias[dim:]))
    return pooled


def _keyed_query(pooling: AttentivePooling) -> Tensor:
    """[D, heads] what a normalised patch is multiplied by to give its scores; biases are the same for every patch."""
    dim = len(pooling.query)
    wide = dim // pooling.heads
    keys = pooling.key_value.weight[:dim].view(pooling.heads, wide, dim)
    query = pooling.query.view(pooling.heads, wide) / math.sqrt(wide)
    return torch.einsum("hw,hwd->dh", query, keys) * pooling.norm.weight[:, None]
