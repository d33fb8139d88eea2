"""Cached features of a frozen encoder: where no film varies, each is encoded once, and the head trains in minutes.

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
    """Memory of the features of ``films``, at most; infinite where the head takes more than features."""
    if head.input_kind == "patches":
        return float("inf")
    return 4.0 * films * dim * (2 + (_MAX_PATCHES_PER_TOKEN * tokens if head.input_kind == "tokens" else 1))


def encode(rows: Sequence[int], features: Features, *, summary: bool) -> FeatureCache:
    """Features of films apart; as a summary, the mean of the tokens stands for them."""
    tokens = pool_film("mean", features.tokens, features.cls)[:, None] if summary else features.tokens
    parts = (part.float().cpu().clone() for part in (tokens, features.pooled, features.cls))
    return {row: Features(*film) for row, *film in zip(rows, *parts, strict=True)}


def grouped(kept: FeatureCache, rows: Sequence[int]) -> list[tuple[list[int], Features]]:
    """The places in ``rows`` of films with equally many tokens, and their features [films, …]."""
    places: dict[int, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(len(kept[row].tokens), []).append(place)
    return [
        (group, Features(*(torch.stack([kept[rows[place]][part] for place in group]) for part in range(3))))
        for group in places.values()
    ]


def cached_batches(
    kept: FeatureCache,
    index: ShardIndex,
    rows: NDArray[np.int64],
    target: Target[Any],
    stack: Callable[[Sequence[Any]], Targets],
    order: Order,
    steps: StepRange,
) -> Iterator[tuple[LabelledBatch, tuple[str, ...]]]:
    """The batches of :func:`~mae_rad.finetuning.task.labelled_films.labelled_batches`, as features.

    Args:
        kept: features by their place among all films.
        index: the training films.
        rows: the places of the training films among all films.
        target: of training films.
        stack: targets of a batch.
        order: of the training films.
        steps: and the rank that they are drawn for.
    """
    for draws in order.micro_batches(steps):
        drawn = [draw.row for draw in draws]
        groups = grouped(kept, rows[drawn].tolist())
        films = [drawn[place] for places, _ in groups for place in places]
        targets = stack([target(film, None) for film in films])
        keys = tuple(index.key(film) for film in films)
        yield LabelledBatch(tuple(features for _, features in groups), targets, keys), ()
