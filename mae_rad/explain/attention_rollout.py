"""How much of each patch reaches the vector of a film through attention: rollout (Abnar & Zuidema 2020).

A block's attention, averaged over its heads, and the identity for its residual connection count half each; the products
over all blocks say how much of every patch is in every token. It knows nothing of labels: it shows where a model looks,
not what for.

Deviation: what is read off are not only class tokens, but the tokens that the pooling of the head takes, as it weighs
them.

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
    """[B, N] which share of the vector of a film comes from each patch; the rest comes from the class token, and where
    windows do not fill from what is dark beyond the film.

    Args:
        encoder: in evaluation mode; its blocks are walked through, and no hook is set.
        pooling: of the head.
        patches: of films of one grid.
        window: patches a side of what the encoder looks at, where the head has it look so.
    """
    cut = Windows.of(patches, window)
    tokens = encoder.embed(cut.cut(patches))
    flow = torch.eye(tokens.shape[1], device=tokens.device).expand(len(tokens), -1, -1)
    for block in encoder.blocks:
        assert isinstance(block, Block)
        mixed = (mean_attention(block.attn, block.norm1(tokens)) @ flow + flow) / 2
        flow, tokens = mixed, block(tokens)
    weights = _in_windows(token_weights(pooling, cut.features(encoder, encoder.features(tokens))), cut)
    return cut.within(cut.join((weights[:, None] @ flow)[:, 0, 1:]))


def _in_windows(weights: Tensor, cut: Windows) -> Tensor:
    """[B, 1 + N] weights of the tokens of films → [B * W, 1 + h * w] of those of their windows."""
    full = weights.new_zeros(len(weights), *cut.full)
    full[:, : cut.grid[0], : cut.grid[1]] = weights[:, 1:].reshape(-1, *cut.grid)
    cls = weights[:, :1].repeat_interleave(cut.number, dim=0) / cut.number
    return torch.cat((cls, cut.part(full.flatten(1))), dim=1)


@torch.no_grad()
def mean_attention(layer: SelfAttention, tokens: Tensor) -> Tensor:
    """[B, M, M] how much each token attends to each, the mean over heads; rows sum to 1.

    One head after another: the weights of all would need H times the memory.
    """
    films, count, dim = tokens.shape
    query, key, _ = layer.qkv(tokens).float().view(films, count, 3, layer.heads, -1).permute(2, 3, 0, 1, 4)
    mean = torch.zeros(films, count, count, device=tokens.device)
    for of_head, to_head in zip(query, key, strict=True):
        mean += (of_head / math.sqrt(dim // layer.heads) @ to_head.transpose(1, 2)).softmax(dim=-1)
    return mean / layer.heads


@torch.no_grad()
def token_weights(pooling: Pooling, features: Features) -> Tensor:
    """[B, M] how much of each token is in the vector of a film; sums to 1."""
    films, count, _ = features.tokens.shape
    cls = torch.zeros(films, 1 + count, device=features.tokens.device)
    mean = torch.zeros_like(cls)
    cls[:, 0] = 1
    mean[:, 1:] = 1 / count
    if pooling.attention is not None:
        mean[:, 1:] = _attentive(pooling.attention, features.tokens)
    return {"cls": cls, "cls_mean": (cls + mean) / 2}.get(pooling.name, mean)


def _attentive(pooling: AttentivePooling, tokens: Tensor) -> Tensor:
    """[B, N] the weights of the patches, the mean over heads."""
    films, count, dim = tokens.shape
    keys, _ = pooling.key_value(pooling.norm(tokens)).float().view(films, count, 2, pooling.heads, -1).unbind(2)
    query = pooling.query.float().view(pooling.heads, -1)
    scores: Tensor = torch.einsum("bnhd,hd->bhn", keys, query) / math.sqrt(dim // pooling.heads)
    weights: Tensor = scores.softmax(dim=-1).mean(dim=1)
    return weights
