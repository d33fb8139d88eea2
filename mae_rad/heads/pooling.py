"""Pooling of the patch tokens of a film into one vector, for heads and probes.

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
"""Class token; mean of the patch tokens; both, concatenated; or learned attention over the patch tokens."""
POOLS: tuple[PoolName, ...] = get_args(PoolName)


class Pooling(nn.Module):
    """Pools the features of an encoder into [B, width].

    Args:
        name: of the pooling.
        dim: D.
        heads: attention heads, for ``attentive``.

    Attributes:
        name: of the pooling.
        width: output channels: D, or 2 D for ``cls_mean``.
        attention: for ``attentive``, else None.
    """

    def __init__(self, name: PoolName, dim: int, heads: int) -> None:
        super().__init__()
        self.name: PoolName = name
        self.width = 2 * dim if name == "cls_mean" else dim
        self.attention = AttentivePooling(dim, heads) if name == "attentive" else None

    def forward(self, features: Features) -> Tensor:
        """Return one vector per film, [B, width]."""
        if self.name == "attentive":
            assert self.attention is not None
            pooled: Tensor = self.attention(features.tokens)
            return pooled
        return pool_film(self.name, features.tokens, features.cls)


class AttentivePooling(nn.Module):
    """One learned query attends to all patch tokens (the attentive probe of Chen et al. 2024, "Context Autoencoder").

    A finding covers a few patches, which have little weight in a mean over all patches.
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
        attended = scaled_dot_product_attention(query, keys.transpose(1, 2), values.transpose(1, 2))
        pooled: Tensor = self.projection(attended.reshape(films, dim))
        return pooled


def pool_each(poolings: Sequence[AttentivePooling], tokens: Tensor, mask: Tensor) -> list[Tensor]:
    """Apply several attentive poolings to the same tokens; equal to ``forward`` of each.

    For probes, where the tokens need no gradient. With one query, keys and values per patch need not be computed:
    q·(K x) = (Kᵀ q)·x, and Σ aᵢ V xᵢ = V (Σ aᵢ xᵢ). This takes 4 D × heads operations per patch instead of 4 D², in one
    product for all poolings. Weights are read without calling their modules, so ZeRO stage 3 is not supported.

    Args:
        poolings: to apply.
        tokens: [B, N, D].
        mask: [B, N] bool, patches to attend to.

    Returns:
        [B, D] per pooling.
    """
    films, _, dim = tokens.shape
    normed = layer_norm(tokens, (dim,), eps=EPSILON)
    queries = torch.cat([_keyed_query(pooling) for pooling in poolings], dim=1)  # [D, heads of all]
    attention = (normed @ queries).masked_fill(~mask[..., None], -math.inf).softmax(dim=1)
    attended = torch.split(attention.transpose(1, 2) @ normed, [pooling.heads for pooling in poolings], dim=1)
    pooled = []
    for pooling, mean in zip(poolings, attended, strict=True):
        values = pooling.key_value.weight[dim:].view(pooling.heads, -1, dim)
        scaled = mean * pooling.norm.weight + pooling.norm.bias
        per_head = torch.einsum("bhd,hwd->bhw", scaled, values).reshape(films, dim)
        pooled.append(pooling.projection(per_head + pooling.key_value.bias[dim:]))
    return pooled


def _keyed_query(pooling: AttentivePooling) -> Tensor:
    """[D, heads] product of query and key weights; key biases shift all scores equally and are left out."""
    dim = len(pooling.query)
    head_dim = dim // pooling.heads
    keys = pooling.key_value.weight[:dim].view(pooling.heads, head_dim, dim)
    query = pooling.query.view(pooling.heads, head_dim) / math.sqrt(head_dim)
    return torch.einsum("hw,hwd->dh", query, keys) * pooling.norm.weight[:, None]
