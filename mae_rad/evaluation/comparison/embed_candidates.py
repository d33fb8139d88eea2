"""Candidates → vectors of all films, and patch tokens where a probe needs them. Embedded once, then found."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mae_rad.data.patch_layout import REFERENCE_TOKENS
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.embedding.embed import Embedding, Source, embed, seen_as
from mae_rad.embedding.embed_run import only_encoder
from mae_rad.embedding.embeddings_file import read_embeddings
from mae_rad.embedding.standardised_rows import Vectors
from mae_rad.embedding.token_source import LiveTokens, StoredTokens, TokenSource
from mae_rad.embedding.token_store import BYTES
from mae_rad.embedding.vector_store import FeatureStore
from mae_rad.encoders.precision import fast_device
from mae_rad.encoders.vit import EncoderSettings, ViT, build_encoder
from mae_rad.evaluation.comparison.candidates import Candidate
from mae_rad.evaluation.comparison.pixel_components import pixel_store, principal_components
from mae_rad.evaluation.comparison.settings import CompareSettings, VectorChoice

_PATCHES = 1.5
"""Patches of a film as a multiple of T, about: its content box has T of them."""


@dataclass(frozen=True)
class Encoded:
    """A candidate with its vectors of the films.

    Attributes:
        candidate: which.
        stores: T → vectors; foreign tables and pixels have one vector per film, under the first T of the
            settings, else that of the first run.
        tokens: patch tokens at the first T, of our own encoders where the attentive probe is asked.
        heads: of the attention of its encoder.
    """

    candidate: Candidate
    stores: dict[int, FeatureStore]
    tokens: TokenSource | None = None
    heads: int = 1

    @property
    def name(self) -> str:
        """Of the candidate."""
        return self.candidate.name

    @property
    def own_pools(self) -> bool:
        """False where there is but one vector, whose pool is called "none"."""
        return self.candidate.vector is not None

    def tokens_and_pool(self, choice: VectorChoice) -> tuple[int, str]:
        """T and pool of the vectors that ``choice`` takes, as rows state them."""
        vector = self.candidate.vector
        if vector is None:
            return next(iter(self.stores)), "none"
        return choice.tokens or vector.tokens, choice.pool or vector.pool

    def vectors(self, choice: VectorChoice, rows: NDArray[np.int64]) -> Vectors:
        """Of the films ``rows``; ``choice`` has no effect where there is but one vector."""
        tokens, pool = self.tokens_and_pool(choice)
        return Vectors(self.stores[tokens].vectors(pool), rows)


def encode(
    candidates: Sequence[Candidate],
    settings: CompareSettings,
    index: ShardIndex,
    *,
    fitted: NDArray[np.int64],
    attended: NDArray[np.int64] | None,
) -> list[Encoded]:
    """Vectors of every candidate, in their order.

    Args:
        candidates: who.
        settings: sizes, cache, speed.
        index: films of all splits.
        fitted: training films whose pixels give the principal components.
        attended: rows whose patch tokens a probe will ask for; None where none does.

    Raises:
        WeightsError: an encoder is damaged.
        EvaluationError: its vectors are not finite, or a foreign table does not fit.
    """
    ours = _embedded(candidates, settings, index, attended)
    of_first_run = next((candidate.vector.tokens for candidate in candidates if candidate.vector), REFERENCE_TOKENS)
    first = settings.choices[0].tokens or of_first_run
    out = []
    for candidate in candidates:
        if candidate.name in ours:
            out.append(ours[candidate.name])
        elif candidate.table is not None:
            store = read_embeddings(candidate.table, index, settings.cache)
            out.append(Encoded(candidate, {first: store}))
        else:
            pixels = pixel_store(index, settings.cache, settings.runtime.workers)
            store = principal_components(pixels, fitted, settings.pixel_components, index, settings.cache)
            out.append(Encoded(candidate, {first: store}))
    return out


class _Pass(NamedTuple):
    """One reading of all films: the encoders that share it read them together."""

    patch: int
    tokens: int
    precision: Literal["f32", "bf16"]


def _embedded(
    candidates: Sequence[Candidate],
    settings: CompareSettings,
    index: ShardIndex,
    attended: NDArray[np.int64] | None,
) -> dict[str, Encoded]:
    """Encoders of our own by name; those of one patch size, T and precision read the films together."""
    device = fast_device()
    out: dict[str, Encoded] = {}
    passes: dict[_Pass, list[Source]] = {}
    for one in candidates:
        if one.shape is None or one.vector is None:
            continue
        out[one.name] = Encoded(one, {}, heads=one.shape.shape.heads)
        for tokens in settings.tokens or [one.vector.tokens]:
            shared = _Pass(one.shape.patch, tokens, settings.precision or one.vector.precision)
            passes.setdefault(shared, []).append(_source(one, one.shape))
    for shared, sources in passes.items():
        how = _how(settings, shared)
        asked = attended if settings.tokens is None or shared.tokens == settings.tokens[0] else None
        kept = asked if asked is not None and _fit(asked, shared.tokens, sources, settings) else None
        for source, (vectors, stored) in zip(sources, embed(sources, index, how, with_tokens=kept), strict=True):
            out[source.name].stores[shared.tokens] = vectors
            attend: TokenSource | None = None
            if stored is not None:
                attend = StoredTokens(stored, source.dim, device)
            elif asked is not None:
                attend = LiveTokens(source.load, source.dim, index, how, device)
            if attend is not None:
                out[source.name] = replace(out[source.name], tokens=attend)
    return out


def _source(candidate: Candidate, shape: EncoderSettings) -> Source:
    load = partial(only_encoder, candidate.folder) if candidate.folder else partial(_untrained, shape, candidate.seed)
    return Source(candidate.name, candidate.encoder_sha256, shape.shape.dim, load, seen_as(shape))


def _how(settings: CompareSettings, shared: _Pass) -> Embedding:
    runtime = settings.runtime
    return Embedding(
        **shared._asdict(),
        cache=settings.cache,
        batch_size=runtime.batch_size,
        workers=runtime.workers,
        processes=runtime.processes,
    )


def _fit(films: NDArray[np.int64], tokens: int, sources: Sequence[Source], settings: CompareSettings) -> bool:
    """Whether the tokens of these films, by all of these encoders, may be kept."""
    numbers = len(films) * tokens * _PATCHES * sum(source.dim for source in sources)
    return numbers * BYTES <= settings.runtime.token_cache_gib * 2**30


def _untrained(shape: EncoderSettings, seed: int | None) -> ViT:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        return build_encoder(shape)
