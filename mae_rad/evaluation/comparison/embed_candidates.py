"""Embed all films with the compared encoders, and store patch tokens for the attentive probe; vectors are cached."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mae_rad.data.patch_layout import REFERENCE_TOKENS, FilmScale
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.embedding.embed import EmbeddingSettings, EncoderSource, embed, encoder_identity
from mae_rad.embedding.embed_run import load_encoder_only
from mae_rad.embedding.embeddings_file import read_embeddings
from mae_rad.embedding.standardised_rows import Vectors
from mae_rad.embedding.token_source import LiveTokens, StoredTokens, TokenSource
from mae_rad.embedding.token_store import BYTES_PER_NUMBER
from mae_rad.embedding.vector_store import FeatureStore
from mae_rad.encoders.any_encoder import AnyEncoderSettings, Encoder, build_any_encoder
from mae_rad.encoders.precision import fast_device
from mae_rad.evaluation.comparison.candidates import Candidate
from mae_rad.evaluation.comparison.pixel_components import pixel_store, principal_components
from mae_rad.evaluation.comparison.principal_components import project_on_components
from mae_rad.evaluation.comparison.settings import CompareSettings, VectorChoice

_PATCHES_PER_T = 1.5
"""Approximate number of patches of a film, as a multiple of T; its content box has T patches."""


@dataclass(frozen=True)
class EmbeddedCandidate:
    """A compared encoder with the vectors of all films.

    Attributes:
        candidate: the encoder.
        stores: T → vectors; external vectors and pixels have one vector per film, under the first T of the settings
            or, without it, the T of the first run.
        tokens: patch tokens at the first T, if the attentive probe needs them.
        heads: number of attention heads of the encoder.
        reduced: (T, pooling, number of components) → principal components of vectors that are wider.
    """

    candidate: Candidate
    stores: dict[int, FeatureStore]
    tokens: TokenSource | None = None
    heads: int = 1
    reduced: dict[tuple[int, str, int], FeatureStore] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Displayed name."""
        return self.candidate.name

    @property
    def has_pools(self) -> bool:
        """Whether it has a vector per pooling; False for a single vector, whose pool is "none"."""
        return self.candidate.vector is not None

    def tokens_and_pool(self, choice: VectorChoice) -> tuple[int, str]:
        """Return T and pool of the vectors that ``choice`` selects, as the columns of a comparison name them."""
        tokens, pool = self.stored(choice)
        if choice.components is None:
            return tokens, pool
        if self.is_wider(choice):
            return tokens, f"{pool} → {choice.components} components"
        return tokens, f"{pool}, {self.width(choice)} wide"

    def stored(self, choice: VectorChoice) -> tuple[int, str]:
        """Return T and pooling of the stored vectors that ``choice`` selects, before a reduction of their width."""
        vector = self.candidate.vector
        if vector is None:
            return next(iter(self.stores)), "none"
        return choice.tokens or vector.tokens, choice.pool or vector.pool

    def width(self, choice: VectorChoice) -> int:
        """Return the width of the stored vectors that ``choice`` selects, before a reduction."""
        tokens, pool = self.stored(choice)
        return int(self.stores[tokens].vectors(pool).shape[1])

    def is_wider(self, choice: VectorChoice) -> bool:
        """Return whether the vectors are wider than the width that ``choice`` allows."""
        return choice.components is not None and self.width(choice) > choice.components

    def vectors(self, choice: VectorChoice, rows: NDArray[np.int64]) -> Vectors:
        """Return the vectors of the films ``rows``; T and pool have no effect on a single vector per film."""
        tokens, pool = self.stored(choice)
        if choice.components is not None and self.is_wider(choice):
            return Vectors(self.reduced[tokens, pool, choice.components].vectors("none"), rows)
        return Vectors(self.stores[tokens].vectors(pool), rows)


def embed_all_candidates(
    candidates: Sequence[Candidate],
    settings: CompareSettings,
    index: ShardIndex,
    *,
    training_rows: NDArray[np.int64],
    token_rows: NDArray[np.int64] | None,
) -> list[EmbeddedCandidate]:
    """Embed all films with every candidate.

    Args:
        candidates: compared encoders.
        settings: T, cache and speed.
        index: films of all splits.
        training_rows: training films from which principal components are computed.
        token_rows: rows whose patch tokens the attentive probe needs; None without that probe.

    Returns:
        The embedded candidates, in the order of ``candidates``.

    Raises:
        WeightsError: an encoder is damaged.
        EvaluationError: vectors are not finite, or a table of external vectors does not fit the shards.
    """
    embedded = _embed_encoders(candidates, settings, index, token_rows)
    of_first_run = next((candidate.vector.tokens for candidate in candidates if candidate.vector), REFERENCE_TOKENS)
    first = settings.choices[0].tokens or of_first_run
    out = []
    for candidate in candidates:
        if candidate.name in embedded:
            out.append(embedded[candidate.name])
        elif candidate.table is not None:
            store = read_embeddings(candidate.table, index, settings.cache)
            out.append(EmbeddedCandidate(candidate, {first: store}))
        else:
            pixels = pixel_store(index, settings.cache, settings.runtime.workers)
            store = principal_components(pixels, training_rows, settings.pixel_components, index, settings.cache)
            out.append(EmbeddedCandidate(candidate, {first: store}))
    for encoder in out:
        _reduce_wide_vectors(encoder, settings, training_rows)
    return out


def _reduce_wide_vectors(
    encoder: EmbeddedCandidate, settings: CompareSettings, training_rows: NDArray[np.int64]
) -> None:
    """Compute the principal components of the vectors that are wider than a choice of vectors allows."""
    for choice in settings.choices:
        if choice.components is None or not encoder.is_wider(choice):
            continue
        tokens, pool = encoder.stored(choice)
        store = encoder.stores[tokens]
        encoder.reduced[tokens, pool, choice.components] = project_on_components(
            store.vectors(pool), training_rows, choice.components,
            identity={"vectors": store.folder.name, "pool": pool}, cache=settings.cache, name=encoder.name,
        )  # fmt: skip


class _Pass(NamedTuple):
    """Settings of one pass over all films, which several encoders may share."""

    patch: int
    tokens: int
    precision: Literal["f32", "bf16"]
    scale: FilmScale


def _embed_encoders(
    candidates: Sequence[Candidate],
    settings: CompareSettings,
    index: ShardIndex,
    token_rows: NDArray[np.int64] | None,
) -> dict[str, EmbeddedCandidate]:
    """Embed with every run and random encoder; equal patch size, T, scale and precision share a pass over the films."""
    device = fast_device()
    out: dict[str, EmbeddedCandidate] = {}
    passes: dict[_Pass, list[EncoderSource]] = {}
    for candidate in candidates:
        if candidate.shape is None or candidate.vector is None:
            continue
        out[candidate.name] = EmbeddedCandidate(candidate, {}, heads=candidate.shape.shape.heads)
        for tokens in settings.tokens or [candidate.vector.tokens]:
            shape, precision = candidate.shape, settings.precision or candidate.vector.precision
            shared_pass = _Pass(shape.patch, tokens, precision, shape.film_scale)
            pools = tuple(choice.pool or candidate.vector.pool for choice in settings.choices)
            source = _encoder_source(candidate, candidate.shape)
            passes.setdefault(shared_pass, []).append(source._replace(pools=pools))
    for shared_pass, sources in passes.items():
        embedding_settings = _embedding_settings(settings, shared_pass)
        wanted_rows = token_rows if settings.tokens is None or shared_pass.tokens == settings.tokens[0] else None
        stored_rows = (
            wanted_rows
            if wanted_rows is not None and _fits_token_cache(wanted_rows, shared_pass.tokens, sources, settings)
            else None
        )
        for source, (vectors, token_store) in zip(
            sources, embed(sources, index, embedding_settings, with_tokens=stored_rows), strict=True
        ):
            out[source.name].stores[shared_pass.tokens] = vectors
            token_source: TokenSource | None = None
            if token_store is not None:
                token_source = StoredTokens(token_store, source.dim, device)
            elif wanted_rows is not None:
                token_source = LiveTokens(source.load, source.dim, index, embedding_settings, device)
            if token_source is not None:
                out[source.name] = replace(out[source.name], tokens=token_source)
    return out


def _encoder_source(candidate: Candidate, shape: AnyEncoderSettings) -> EncoderSource:
    load = (
        partial(load_encoder_only, candidate.folder) if candidate.folder else partial(_untrained, shape, candidate.seed)
    )
    return EncoderSource(
        candidate.name,
        candidate.encoder_sha256,
        shape.shape.dim,
        load,
        encoder_identity(shape),
        block_dims=shape.block_dims,
    )


def _embedding_settings(settings: CompareSettings, shared_pass: _Pass) -> EmbeddingSettings:
    runtime = settings.runtime
    return EmbeddingSettings(
        **shared_pass._asdict(),
        cache=settings.cache,
        batch_size=runtime.batch_size,
        workers=runtime.workers,
        processes=runtime.processes,
    )


def _fits_token_cache(
    films: NDArray[np.int64], tokens: int, sources: Sequence[EncoderSource], settings: CompareSettings
) -> bool:
    """Return whether the tokens of these films, of all these encoders, fit in ``runtime.token_cache_gib``."""
    numbers = len(films) * tokens * _PATCHES_PER_T * sum(source.dim for source in sources)
    return numbers * BYTES_PER_NUMBER <= settings.runtime.token_cache_gib * 2**30


def _untrained(shape: AnyEncoderSettings, seed: int | None) -> Encoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        return build_any_encoder(shape)
