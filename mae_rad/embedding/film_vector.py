"""Compute the vector of a film, with the T, pooling and precision of the encoder by default.

The embedding of shards, the comparison, the online probe, the Python API and the model that MLflow serves call
:func:`film_vectors` or the two functions that it calls. Poolings are described in
:mod:`mae_rad.encoders.pooling_name` and computed in :mod:`mae_rad.encoders.film_pooling`.

Legend: B films, N patches, D channels, W numbers of a vector.
"""

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from mae_rad.data.batch import Patches
from mae_rad.data.patch_layout import CONTENT_SCALE, FilmScale
from mae_rad.encoders.any_encoder import Encoder
from mae_rad.encoders.film_pooling import pool_blocks
from mae_rad.encoders.pooling_name import check_blocks, parse_pooling
from mae_rad.encoders.precision import fast_precision
from mae_rad.encoders.timm_encoder import TimmEncoder
from mae_rad.encoders.vit import Features
from mae_rad.errors import EvaluationError
from mae_rad.export.encoder_card import EncoderCard

LAST = 0
"""Stands for the last block."""


class VectorSettings(NamedTuple):
    """Settings of a film vector, besides the encoder.

    Attributes:
        tokens: T, number of patches that the content of the film is scaled to.
        pool: name of the pooling of the features.
        precision: precision of the forward pass.
        scale: how large films are, as in training; where it is fixed, T has no effect.
    """

    tokens: int
    pool: str
    precision: Literal["f32", "bf16"]
    scale: FilmScale = CONTENT_SCALE


def vector_settings(
    card: EncoderCard,
    *,
    tokens: int | None = None,
    pool: str | None = None,
    precision: Literal["f32", "bf16"] | None = None,
) -> VectorSettings:
    """Return the settings of an encoder's vectors: those of its card, except where the caller gives others.

    Args:
        card: card of the encoder.
        tokens: T; None is the T of the encoder's training.
        pool: name of a pooling; None is the film vector of the encoder.
        precision: None is the precision of its training, but f32 if this machine emulates bf16.

    Raises:
        EvaluationError: the encoder lacks a block of the pooling.
    """
    default_precision = fast_precision() if card.preprocessing.precision == "bf16" else "f32"
    try:
        check_blocks(pool or card.encoder.film_vector, card.encoder.shape.depth)
    except ValueError as error:
        raise EvaluationError(f"pool: {error}") from None
    return VectorSettings(
        tokens or card.preprocessing.tokens,
        pool or card.encoder.film_vector,
        precision or default_precision,
        card.encoder.film_scale,
    )


@torch.no_grad()
def film_features(encoder: Encoder, patches: Patches, precision: str) -> Features:
    """Encode films without gradients.

    Args:
        encoder: encoder in evaluation mode.
        patches: [B, N, …] patches of whole films, on the device of the encoder.
        precision: f32, or bf16 for autocast.

    Returns:
        Patch tokens [B, N, D] and class tokens [B, D] of the last block.
    """
    with torch.autocast(patches.values.device.type, torch.bfloat16, enabled=precision == "bf16"):
        features: Features = encoder(patches)
    return features


@torch.no_grad()
def features_of_blocks(
    encoder: Encoder, patches: Patches, precision: str, blocks: Iterable[int]
) -> dict[int, Features]:
    """Encode films without gradients and return the features of several blocks, after the final norm, in one pass.

    Args:
        encoder: encoder in evaluation mode.
        patches: [B, N, …] patches of whole films, on the device of the encoder.
        precision: f32, or bf16 for autocast.
        blocks: numbers of blocks, counted from 1; 0 is the last block.

    Returns:
        Number of the block → its features.
    """
    requested = sorted(set(blocks))
    if requested == [LAST]:
        return {LAST: film_features(encoder, patches, precision)}
    if LAST in requested and isinstance(encoder, TimmEncoder):
        # a convolutional network may have layers after its last map
        others = features_of_blocks(encoder, patches, precision, requested[1:])
        return {LAST: film_features(encoder, patches, precision)} | others
    numbers = [block or encoder.depth for block in requested]
    with torch.autocast(patches.values.device.type, torch.bfloat16, enabled=precision == "bf16"):
        features = encoder(patches, numbers)
    return dict(zip(requested, features, strict=True))


def blocks_of(pools: Iterable[str]) -> set[int]:
    """Return the numbers of the blocks whose features poolings need; 0 is the last block."""
    return {block for pool in pools for block in parse_pooling(pool).blocks or (LAST,)}


def pooled_features(features: Mapping[int, Features], pool: str, patches: Patches) -> Tensor:
    """Pool features to film vectors.

    Args:
        features: number of the block → patch tokens [B, N, D] and class tokens [B, D]; 0 is the last block.
        pool: name of the pooling.
        patches: the patches [B, N, …] of the tokens.

    Returns:
        [B, W] float32, W as :meth:`PoolingParts.width`.
    """
    blocks = {number: (block.tokens.float(), block.cls.float()) for number, block in features.items()}
    return pool_blocks(pool, blocks, patches)


def film_vectors(encoder: Encoder, patches: Patches, pool: str | None = None, precision: str = "f32") -> Tensor:
    """Embed films.

    Args:
        encoder: encoder in evaluation mode.
        patches: [B, N, …] patches of whole films at the T of the vectors, on the device of the encoder.
        pool: name of a pooling; None is the film vector of the encoder.
        precision: f32, or bf16 for autocast.

    Returns:
        [B, W] float32 on the device of the encoder.
    """
    chosen = pool or encoder.vector
    return pooled_features(features_of_blocks(encoder, patches, precision, blocks_of([chosen])), chosen, patches)


def vector_width(encoder: Encoder, pool: str | None = None) -> int:
    """Return the number of channels W of a film vector.

    Args:
        encoder: the encoder.
        pool: name of a pooling; None is the film vector of the encoder.
    """
    return parse_pooling(pool or encoder.vector).width(encoder.dim, encoder.block_dims)
