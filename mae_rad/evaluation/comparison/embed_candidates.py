"""Candidates → vectors of all films, and patch tokens where a probe needs them. Embedded once, then found."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from mae_rad.data.shard_reader import ShardIndex
from mae_rad.embedding.embed import Embedding, Source, embed, seen_as
from mae_rad.embedding.embed_run import only_encoder
from mae_rad.embedding.embeddings_file import read_embeddings
from mae_rad.embedding.standardised_rows import Vectors
from mae_rad.embedding.token_source import LiveTokens, StoredTokens, TokenSource
from mae_rad.embedding.token_store import BYTES
from mae_rad.embedding.vector_store import FeatureStore
from mae_rad.encoders.vit import EncoderSettings, ViT, build_encoder
from mae_rad.evaluation.comparison.candidates import Candidate
from mae_rad.evaluation.comparison.pixel_components import pixel_store, principal_components
from mae_rad.evaluation.comparison.settings import CompareSettings

_PATCHES = 1.5
"""Patches of a film as a multiple of T, about: its content box has T of them."""


@dataclass(frozen=True)
class Encoded:
    """A candidate with what it makes of the films.

    Attributes:
        candidate: who it is.
        stores: T → vectors; foreign tables and pixels have one T, the first.
        tokens: patch tokens at the first T, of our own encoders where the attentive probe is asked.
        heads: of the attention of its encoder.
    """

    candidate: Candidate
    stores: dict[int, FeatureStore]
    tokens: TokenSource | None = None
    heads: int = 1
    own_pools: bool = field(default=True)
    """False where there is but one vector, whose pool is called "none"."""

    @property
    def name(self) -> str:
        """Of the candidate."""
        return self.candidate.name

    def vectors(self, tokens: int, pool: str, rows: NDArray[np.int64]) -> Vectors:
        """Of the films ``rows``; ``pool`` says nothing where there is but one vector."""
        return Vectors(self.stores[tokens].vectors(pool if self.own_pools else "none"), rows)


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
    first = settings.tokens[0]
    ours = _embedded(candidates, settings, index, attended)
    out = []
    for candidate in candidates:
        if candidate.name in ours:
            out.append(ours[candidate.name])
        elif candidate.table is not None:
            store = read_embeddings(candidate.table, index, settings.cache)
            out.append(Encoded(candidate, {first: store}, own_pools=False))
        else:
            pixels = pixel_store(index, settings.cache, settings.runtime.workers)
            store = principal_components(pixels, fitted, settings.pixel_components, index, settings.cache)
            out.append(Encoded(candidate, {first: store}, own_pools=False))
    return out


def _embedded(
    candidates: Sequence[Candidate],
    settings: CompareSettings,
    index: ShardIndex,
    attended: NDArray[np.int64] | None,
) -> dict[str, Encoded]:
    """Encoders of our own by name; those of one patch size read the films together."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    out: dict[str, Encoded] = {}
    for patch in sorted({candidate.shape.patch for candidate in candidates if candidate.shape}):
        shapes = [(one, one.shape) for one in candidates if one.shape and one.shape.patch == patch]
        sources = [_source(one, shape) for one, shape in shapes]
        stores: list[dict[int, FeatureStore]] = [{} for _ in sources]
        attends: list[TokenSource | None] = [None] * len(sources)
        for tokens in settings.tokens:
            how = _how(settings, tokens, patch)
            asked = attended if tokens == settings.tokens[0] else None
            kept = asked if asked is not None and _fit(asked, tokens, sources, settings) else None
            for place, (vectors, stored) in enumerate(embed(sources, index, how, with_tokens=kept)):
                stores[place][tokens] = vectors
                source = sources[place]
                if stored is not None:
                    attends[place] = StoredTokens(stored, source.dim, device)
                elif asked is not None:
                    attends[place] = LiveTokens(source.load, source.dim, index, how, device)
        for (one, shape), own, attend in zip(shapes, stores, attends, strict=True):
            out[one.name] = Encoded(one, own, attend, shape.shape.heads)
    return out


def _source(candidate: Candidate, shape: EncoderSettings) -> Source:
    load = partial(only_encoder, candidate.folder) if candidate.folder else partial(_untrained, shape, candidate.seed)
    return Source(candidate.name, candidate.encoder_sha256, shape.shape.dim, load, seen_as(shape))


def _how(settings: CompareSettings, tokens: int, patch: int) -> Embedding:
    runtime = settings.runtime
    return Embedding(
        tokens=tokens,
        patch=patch,
        precision=settings.precision,
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
