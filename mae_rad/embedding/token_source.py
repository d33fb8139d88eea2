"""Where an attentive probe finds the patch tokens of films: on disk, or from the encoder at every pass."""

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mae_rad.data.shard_reader import ShardIndex
from mae_rad.embedding.embed import Embedding, film_batches
from mae_rad.embedding.film_vector import film_features
from mae_rad.embedding.token_store import TokenStore
from mae_rad.encoders.vit import ViT


class TokenBatch(NamedTuple):
    """Films of a batch.

    Attributes:
        rows: [B] of the index.
        tokens: [B, N, D] float32, zero behind the last patch of a film.
        mask: [B, N] which patches there are.
    """

    rows: NDArray[np.int64]
    tokens: Tensor
    mask: Tensor


class TokenSource(Protocol):
    """Gives the tokens of any films."""

    dim: int

    def batches(self, rows: NDArray[np.int64], size: int) -> Iterator[TokenBatch]:
        """The films of ``rows``, about in that order, ``size`` at a time."""


class StoredTokens:
    """From disk."""

    def __init__(self, store: TokenStore, dim: int, device: torch.device) -> None:
        self._store, self.dim, self._device = store, dim, device

    def batches(self, rows: NDArray[np.int64], size: int) -> Iterator[TokenBatch]:
        """The films of ``rows`` in that order."""
        for start in range(0, len(rows), size):
            here = rows[start : start + size]
            counts = self._store.counts(here)
            tokens = np.zeros((len(here), int(counts.max()), self.dim), dtype=np.float16)
            for film, (row, count) in enumerate(zip(here.tolist(), counts.tolist(), strict=True)):
                tokens[film, :count] = self._store.read(row)
            mask = torch.from_numpy(np.arange(tokens.shape[1]) < counts[:, None])
            yield TokenBatch(here, torch.from_numpy(tokens).to(self._device).float(), mask.to(self._device))


class LiveTokens:
    """From the encoder, which sees every film again at every pass."""

    def __init__(
        self, load: Callable[[], ViT], dim: int, index: ShardIndex, how: Embedding, device: torch.device
    ) -> None:
        self.dim, self._index, self._how, self._device = dim, index, how, device
        self._load = load
        self._encoder: ViT | None = None

    def batches(self, rows: NDArray[np.int64], size: int) -> Iterator[TokenBatch]:
        """The films of ``rows``, those of equally many patches together."""
        self._encoder = self._encoder or self._load().to(self._device).eval()
        for here, patches in film_batches(self._index, rows, self._how):
            tokens = film_features(self._encoder, patches.to(self._device), self._how.precision).tokens.float()
            for start in range(0, len(here), size):
                part = tokens[start : start + size]
                yield TokenBatch(here[start : start + size], part, part.new_ones(part.shape[:2], dtype=torch.bool))
