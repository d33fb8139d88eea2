"""Sources of patch tokens for the attentive probe: read from disk, or computed by the encoder in every pass."""

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mae_rad.data.shard_reader import ShardIndex
from mae_rad.embedding.embed import EmbeddingSettings, film_batches
from mae_rad.embedding.film_vector import film_features
from mae_rad.embedding.token_store import TokenStore
from mae_rad.encoders.any_encoder import Encoder


class TokenBatch(NamedTuple):
    """Patch tokens of a batch of films.

    Attributes:
        rows: [B] rows of the index.
        tokens: [B, N, D] float32, zero after the last patch of a film.
        mask: [B, N] bool, True where the film has a patch.
    """

    rows: NDArray[np.int64]
    tokens: Tensor
    mask: Tensor


class TokenSource(Protocol):
    """Provides the patch tokens of films.

    Attributes:
        dim: number of channels D.
    """

    dim: int

    def batches(self, rows: NDArray[np.int64], size: int) -> Iterator[TokenBatch]:
        """Yield films in batches, approximately in the order of ``rows``.

        Args:
            rows: [K] rows of the index.
            size: largest number of films of a batch.
        """


class StoredTokens:
    """Patch tokens that are read from disk."""

    def __init__(self, store: TokenStore, dim: int, device: torch.device) -> None:
        self._store, self.dim, self._device = store, dim, device

    def batches(self, rows: NDArray[np.int64], size: int) -> Iterator[TokenBatch]:
        """Yield films in batches, in the order of ``rows``.

        Args:
            rows: [K] rows of the index.
            size: number of films of a batch.
        """
        for start in range(0, len(rows), size):
            batch_rows = rows[start : start + size]
            counts = self._store.counts(batch_rows)
            tokens = np.zeros((len(batch_rows), int(counts.max()), self.dim), dtype=np.float16)
            for film, (row, count) in enumerate(zip(batch_rows.tolist(), counts.tolist(), strict=True)):
                tokens[film, :count] = self._store.read(row)
            mask = torch.from_numpy(np.arange(tokens.shape[1]) < counts[:, None])
            yield TokenBatch(batch_rows, torch.from_numpy(tokens).to(self._device).float(), mask.to(self._device))


class LiveTokens:
    """Patch tokens that the encoder computes in every pass."""

    def __init__(
        self,
        load: Callable[[], Encoder],
        dim: int,
        index: ShardIndex,
        settings: EmbeddingSettings,
        device: torch.device,
    ) -> None:
        self.dim, self._index, self._settings, self._device = dim, index, settings, device
        self._load = load
        self._encoder: Encoder | None = None

    def batches(self, rows: NDArray[np.int64], size: int) -> Iterator[TokenBatch]:
        """Yield films in batches of equally many patches.

        Args:
            rows: [K] rows of the index.
            size: largest number of films of a batch.
        """
        self._encoder = self._encoder or self._load().to(self._device).eval()
        for batch_rows, patches in film_batches(self._index, rows, self._settings):
            tokens = film_features(self._encoder, patches.to(self._device), self._settings.precision).tokens.float()
            for start in range(0, len(batch_rows), size):
                part = tokens[start : start + size]
                yield TokenBatch(
                    batch_rows[start : start + size], part, part.new_ones(part.shape[:2], dtype=torch.bool)
                )
