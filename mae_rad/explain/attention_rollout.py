"""Attention rollout (Abnar & Zuidema 2020): the share of each patch in the vector of a film.

The attention of a block, averaged over its heads, and the identity of its residual connection have equal weights; the
product over all blocks is the share of every patch in every token. The map does not depend on the label.

Deviation: instead of the row of the class token, the rows of all tokens are averaged with the weights of the pooling.

Legend: B films, N patches, M = 1 + N tokens (the class token first), H heads, D channels.
"""

import math

import torch
from torch import Tensor

from mae_rad.data.batch import Patches
from mae_rad.encoders.attention import SelfAttention
from mae_rad.encoders.blocks import Block
from mae_rad.encoders.vit import Features, ViT
from mae_rad.heads.pooling import AttentivePooling, Pooling
from mae_rad.heads.window_attention import Windows


@torch.no_grad()
def attention_rollout(encoder: ViT, pooling: Pooling, patches: Patches, *, window: int | None = None) -> Tensor:
    """Compute the share of each patch in the vector of a film.

    Args:
        encoder: in evaluation mode; its blocks are called directly, without hooks.
        pooling: of the head.
        patches: of B films of one grid.
        window: side of the windows of the encoder in patches; None for whole films.

    Returns:
        [B, N] shares; the remainder to 1 is that of the class token and of padding.
    """
    windows = Windows.of(patches, window)
    tokens = encoder.embed(windows.cut(patches))
    flow = torch.eye(tokens.shape[1], device=tokens.device).expand(len(tokens), -1, -1)
    for block in encoder.blocks:
        assert isinstance(block, Block)
        mixed_flow = (mean_attention(block.attn, block.norm1(tokens)) @ flow + flow) / 2
        flow, tokens = mixed_flow, block(tokens)
    weights = _to_window_tokens(token_weights(pooling, windows.features(encoder, encoder.features(tokens))), windows)
    return windows.crop_padding(windows.join((weights[:, None] @ flow)[:, 0, 1:]))


def _to_window_tokens(weights: Tensor, windows: Windows) -> Tensor:
    """Weights [B, 1 + N] of the tokens of films → weights [B * W, 1 + h * w] of the tokens of their windows."""
    full = weights.new_zeros(len(weights), *windows.full)
    full[:, : windows.grid[0], : windows.grid[1]] = weights[:, 1:].reshape(-1, *windows.grid)
    cls = weights[:, :1].repeat_interleave(windows.per_film, dim=0) / windows.per_film
    return torch.cat((cls, windows.to_windows(full.flatten(1))), dim=1)


@torch.no_grad()
def mean_attention(layer: SelfAttention, tokens: Tensor) -> Tensor:
    """Compute the attention weights of a layer, as the mean over heads.

    Heads are processed one after another, which needs 1 / H of the memory.

    Args:
        layer: of the encoder.
        tokens: [B, M, D], its input.

    Returns:
        [B, M, M]; rows sum to 1.
    """
    films, count, dim = tokens.shape
    query, key, _ = layer.qkv(tokens).float().view(films, count, 3, layer.heads, -1).permute(2, 3, 0, 1, 4)
    mean = torch.zeros(films, count, count, device=tokens.device)
    for of_head, to_head in zip(query, key, strict=True):
        mean += (of_head / math.sqrt(dim // layer.heads) @ to_head.transpose(1, 2)).softmax(dim=-1)
    return mean / layer.heads


@torch.no_grad()
def token_weights(pooling: Pooling, features: Features) -> Tensor:
    """Compute the weights with which a pooling takes the tokens.

    Args:
        pooling: of the head.
        features: of B films.

    Returns:
        [B, M]; rows sum to 1.
    """
    films, count, _ = features.tokens.shape
    cls = torch.zeros(films, 1 + count, device=features.tokens.device)
    mean = torch.zeros_like(cls)
    cls[:, 0] = 1
    mean[:, 1:] = 1 / count
    if pooling.attention is not None:
        mean[:, 1:] = _attentive(pooling.attention, features.tokens)
    return {"cls": cls, "cls_mean": (cls + mean) / 2}.get(pooling.name, mean)


def _attentive(pooling: AttentivePooling, tokens: Tensor) -> Tensor:
    """[B, N] weights of the patches, as the mean over heads."""
    films, count, dim = tokens.shape
    keys, _ = pooling.key_value(pooling.norm(tokens)).float().view(films, count, 2, pooling.heads, -1).unbind(2)
    query = pooling.query.float().view(pooling.heads, -1)
    scores: Tensor = torch.einsum("bnhd,hd->bhn", keys, query) / math.sqrt(dim // pooling.heads)
    weights: Tensor = scores.softmax(dim=-1).mean(dim=1)
    return weights
