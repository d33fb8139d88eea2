"""Films → vectors: the one function for it, and the T, pooling and precision that an encoder's own vectors have.

The embedding of shards, the comparison, the online probe and the model that MLflow serves call :func:`film_vectors` or
the two functions that it consists of. The arithmetic of pooling is :func:`mae_rad.encoders.film_pooling.pool_film`,
which the encoder itself, heads and cached features share.

Legend: B films, N patches, D channels.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from mae_rad.data.batch import Patches
from mae_rad.encoders.film_pooling import FilmPool, pool_film
from mae_rad.encoders.precision import fast_precision
from mae_rad.encoders.vit import Features, ViT
from mae_rad.export.encoder_card import EncoderCard


class VectorSettings(NamedTuple):
    """What makes a vector of a film, beside the encoder.

    Attributes:
        tokens: T, patches that the content of the film is scaled to.
        pool: of the features.
        precision: of the forward pass.
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
    """Settings of an encoder's vectors: its own, as its card states them, where the user gives none.

    Args:
        card: of the encoder.
        tokens: T; by default the T of the encoder's training.
        pool: by default the pooling of the encoder.
        precision: by default that of its training, but f32 where this machine emulates bf16.
    """
    default_precision = fast_precision() if card.preprocessing.precision == "bf16" else "f32"
    return VectorSettings(
        tokens or card.preprocessing.tokens, pool or card.encoder.pool, precision or default_precision
    )


@torch.no_grad()
def film_features(encoder: ViT, patches: Patches, precision: str) -> Features:
    """Encode films without gradients.

    Args:
        encoder: in evaluation mode.
        patches: [B, N, …] of whole films, on the device of the encoder.
        precision: f32, or bf16 for autocast.
    """
    with torch.autocast(patches.values.device.type, torch.bfloat16, enabled=precision == "bf16"):
        features: Features = encoder(patches)
    return features


def pooled_features(features: Features, pool: FilmPool) -> Tensor:
    """[B, D], or [B, 2 D] for ``cls_mean``, float32 vectors of films; ``pool`` is the pooling."""
    return pool_film(pool, features.tokens.float(), features.cls.float())


def film_vectors(encoder: ViT, patches: Patches, pool: FilmPool | None = None, precision: str = "f32") -> Tensor:
    """Embed films.

    Args:
        encoder: in evaluation mode.
        patches: [B, N, …] of whole films at the wanted T, on the device of the encoder.
        pool: by default the encoder's own.
        precision: f32, or bf16 for autocast.

    Returns:
        [B, D], or [B, 2 D] for ``cls_mean``, float32 on the device of the encoder.
    """
    return pooled_features(film_features(encoder, patches, precision), pool or encoder.pool)
