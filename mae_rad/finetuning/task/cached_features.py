"""Cached features of a frozen encoder: without augmentation, each film is encoded once.

Legend: n tokens of a film, D channels.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mae_rad.data.film_order import Order, StepRange
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.encoders.film_pooling import pool_film
from mae_rad.encoders.vit import Features
from mae_rad.finetuning.task.labelled_films import LabelledBatch, Target, Targets
from mae_rad.heads.interface import Head

FeatureCache = dict[int, Features]
"""Row of a film → its tokens [n, D], pooled [D] and class token [D], on the CPU."""

_MAX_PATCHES_PER_TOKEN = 4
"""A film has about 4 T patches at most: see ``geometry.MIN_CONTENT_SHARE``."""


def cache_bytes(films: int, head: Head, *, dim: int, tokens: int) -> float:
    """Upper bound of the memory of cached features.

    Args:
        films: number of films.
        head: decides which features are cached.
        dim: D.
        tokens: T of the films.

    Returns:
        Bytes; infinite for a head that needs the patches of a film.
    """
    if head.input_kind == "patches":
        return float("inf")
    return 4.0 * films * dim * (2 + (_MAX_PATCHES_PER_TOKEN * tokens if head.input_kind == "tokens" else 1))


def to_cache(rows: Sequence[int], features: Features, *, summary: bool) -> FeatureCache:
    """Copy features to the CPU in float32, one entry per film.

    Args:
        rows: B rows of the films.
        features: of B films of one grid.
        summary: keep only the mean of the tokens.

    Returns:
        Row → features.
    """
    tokens = pool_film("mean", features.tokens, features.cls)[:, None] if summary else features.tokens
    parts = (part.float().cpu().clone() for part in (tokens, features.pooled, features.cls))
    return {row: Features(*film) for row, *film in zip(rows, *parts, strict=True)}


def group_by_tokens(cache: FeatureCache, rows: Sequence[int]) -> list[tuple[list[int], Features]]:
    """Group films with equal numbers of tokens.

    Args:
        cache: cached features.
        rows: of the films to group.

    Returns:
        Per group, the positions of its films in ``rows``, and their features [films, …].
    """
    positions: dict[int, list[int]] = {}
    for position, row in enumerate(rows):
        positions.setdefault(len(cache[row].tokens), []).append(position)
    return [
        (group, Features(*(torch.stack([cache[rows[position]][part] for position in group]) for part in range(3))))
        for group in positions.values()
    ]


def cached_batches(
    cache: FeatureCache,
    index: ShardIndex,
    rows: NDArray[np.int64],
    target: Target[Any],
    stack: Callable[[Sequence[Any]], Targets],
    order: Order,
    steps: StepRange,
) -> Iterator[tuple[LabelledBatch, tuple[str, ...]]]:
    """The batches of :func:`~mae_rad.finetuning.task.labelled_films.labelled_batches`, as features.

    Args:
        cache: features by row among all films.
        index: the training films.
        rows: [training films] row of each among all films.
        target: target of a training film, by its position in ``rows``.
        stack: combines the targets of a batch.
        order: of the training films.
        steps: optimiser steps, rank and micro batch size.

    Returns:
        Each batch, and no reasons, as no film is skipped.
    """
    for draws in order.micro_batches(steps):
        drawn = [draw.row for draw in draws]
        groups = group_by_tokens(cache, rows[drawn].tolist())
        films = [drawn[position] for positions, _ in groups for position in positions]
        targets = stack([target(film, None) for film in films])
        keys = tuple(index.key(film) for film in films)
        yield LabelledBatch(tuple(features for _, features in groups), targets, keys), ()
