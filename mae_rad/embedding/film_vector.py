"""Compute the vector of a film, with the T, pooling and precision of the encoder by default.

The embedding of shards, the comparison, the online probe and the model that MLflow serves call :func:`film_vectors` or
the two functions that it calls. Pooling is :func:`mae_rad.encoders.film_pooling.pool_film`,
which encoder, heads and cached features share.

Legend: B films, N patches, D channels.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from mae_rad.data.batch import Patches
from mae_rad.encoders.any_encoder import Encoder
from mae_rad.encoders.film_pooling import FilmPool, pool_film
from mae_rad.encoders.precision import fast_precision
from mae_rad.encoders.vit import Features
from mae_rad.export.encoder_card import EncoderCard


class VectorSettings(NamedTuple):
    """Settings of a film vector, besides the encoder.

    Attributes:
        tokens: T, number of patches that the content of the film is scaled to.
        pool: pooling of the features.
        precision: precision of the forward pass.
    """

    tokens: int
    pool: FilmPool
    precision: Literal["f32", "bf16"]


def vector_settings(
    card: EncoderCard,
    *,
    tokens: int | None = None,
    pool: FilmPool | None = None,
    precision: Literal["f32", "bf16"] | None = None,
) -> VectorSettings:
    """Return the settings of an encoder's vectors: those of its card, except where the caller gives others.

    Args:
        card: card of the encoder.
        tokens: T; None is the T of the encoder's training.
        pool: None is the pooling of the encoder.
        precision: None is the precision of its training, but f32 if this machine emulates bf16.
    """
    default_precision = fast_precision() if card.preprocessing.precision == "bf16" else "f32"
    return VectorSettings(
        tokens or card.preprocessing.tokens, pool or card.encoder.pool, precision or default_precision
    )


@torch.no_grad()
def film_features(encoder: Encoder, patches: Patches, precision: str) -> Features:
    """Encode films without gradients.

    Args:
        encoder: encoder in evaluation mode.
        patches: [B, N, …] patches of whole films, on the device of the encoder.
        precision: f32, or bf16 for autocast.

    Returns:
        Patch tokens [B, N, D] and class tokens [B, D].
    """
    with torch.autocast(patches.values.device.type, torch.bfloat16, enabled=precision == "bf16"):
        features: Features = encoder(patches)
    return features


def pooled_features(features: Features, pool: FilmPool) -> Tensor:
    """Pool features to film vectors.

    Args:
        features: patch tokens [B, N, D] and class tokens [B, D].
        pool: pooling.

    Returns:
        [B, D], or [B, 2 D] for ``cls_mean``, float32.
    """
    return pool_film(pool, features.tokens.float(), features.cls.float())


def film_vectors(encoder: Encoder, patches: Patches, pool: FilmPool | None = None, precision: str = "f32") -> Tensor:
    """Embed films.

    Args:
        encoder: encoder in evaluation mode.
        patches: [B, N, …] patches of whole films at the T of the vectors, on the device of the encoder.
        pool: pooling; None is the encoder's own.
        precision: f32, or bf16 for autocast.

    Returns:
        [B, D], or [B, 2 D] for ``cls_mean``, float32 on the device of the encoder.
    """
    return pooled_features(film_features(encoder, patches, precision), pool or encoder.pool)
