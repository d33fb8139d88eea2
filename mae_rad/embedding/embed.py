"""Embed whole films: vectors of every film of some shards, and patch tokens of selected films, by several encoders.

One forward pass gives the vectors of every pooling. An interrupted embedding continues where it stopped.
"""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.multiprocessing.spawn import start_processes

from data_prep.runtime.progress import Progress
from data_prep.runtime.worker_pool import die_with_parent
from mae_rad.data.batch import Patches
from mae_rad.data.patch_layout import CONTENT_SCALE, FilmScale
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.data.whole_films import whole_film_batches
from mae_rad.embedding.film_vector import LAST, blocks_of, features_of_blocks, film_features, pooled_features
from mae_rad.embedding.token_store import TokenStore
from mae_rad.embedding.vector_store import FeatureStore, Pools, exclusive_writer
from mae_rad.encoders.any_encoder import AnyEncoderSettings, Encoder
from mae_rad.encoders.pooling_name import LAST_BLOCK_POOLS, parse_pooling
from mae_rad.encoders.precision import fast_device
from mae_rad.errors import EvaluationError, UserError

FilmStores = tuple[FeatureStore, TokenStore | None]

_FLUSH_SECONDS = 20.0
"""Seconds between two writes to the disk: the most work that an interruption loses."""


class EncoderSource(NamedTuple):
    """An encoder whose vectors are requested.

    Attributes:
        name: displayed name.
        sha256: checksum of its weights, or of the description that replaces them.
        dim: number of channels D.
        load: returns the encoder; called only if vectors are missing, once in each embedding process.
        identity: what its vectors depend on besides the weights, see :func:`encoder_identity`.
        pools: names of poolings; class token, mean and both of the last block are always stored.
        block_dims: number of channels of each block (default: D of all).
    """

    name: str
    sha256: str
    dim: int
    load: Callable[[], Encoder]
    identity: str = ""
    pools: tuple[str, ...] = ()
    block_dims: tuple[int, ...] = ()

    @property
    def other_pools(self) -> list[str]:
        """Poolings that have a store each."""
        return [pool for pool in dict.fromkeys(self.pools) if pool not in LAST_BLOCK_POOLS]


def encoder_identity(settings: AnyEncoderSettings) -> str:
    """Return, as JSON, the settings that change vectors of equal weights: shape, patch embedding, normalisation."""
    return settings.model_dump_json(
        exclude={"attention", "checkpoint_activations", "drop_path", "pool", "vector"} | settings.off
    )


@dataclass(frozen=True)
class EmbeddingSettings:
    """Size, precision and speed of an embedding.

    Attributes:
        tokens: T, number of patches that the content of a film is scaled to.
        patch: side of a patch in pixels.
        precision: precision of the forward pass; some CPUs take two hundred times as long with bf16.
        cache: folder of the stores.
        batch_size: films per forward pass.
        workers: loader processes per embedding process.
        processes: embedding processes, each with a part of the films and, if there are GPUs, with a separate GPU; 0 is
            one per GPU.
        scale: how large films are; where it is fixed, T has no effect.
    """

    tokens: int
    patch: int
    precision: Literal["f32", "bf16"]
    cache: Path
    batch_size: int
    workers: int
    processes: int = 0
    scale: FilmScale = CONTENT_SCALE


def embed(
    sources: Sequence[EncoderSource],
    index: ShardIndex,
    settings: EmbeddingSettings,
    *,
    with_tokens: NDArray[np.int64] | None = None,
) -> list[FilmStores]:
    """Embed every film of ``index`` with every encoder; what is in the cache already is not embedded again.

    A film is read and decoded once for all encoders that lack it.

    Args:
        sources: encoders of one patch size.
        index: films of all splits.
        settings: size, precision and speed.
        with_tokens: [K] rows of the index whose patch tokens are stored too; None for none.

    Returns:
        Per encoder its vectors, and its patch tokens if they are requested.

    Raises:
        EvaluationError: vectors are not finite, the cache is damaged, or another command writes to it.
        ShardFormatError: a film cannot be read.
    """
    job = _EmbeddingJob(sources, index, settings, with_tokens)
    if job.missing_films(job.stores(0)).any():
        with exclusive_writer(settings.cache):
            _embed_missing(job)
    return job.stores(0)


def film_batches(
    index: ShardIndex, rows: NDArray[np.int64], settings: EmbeddingSettings
) -> Iterator[tuple[NDArray[np.int64], Patches]]:
    """Read films in batches of equally many patches.

    Args:
        index: films of all splits.
        rows: [K] rows of the index to read.
        settings: T, patch size, batch size and loader processes.

    Yields:
        [B] rows of the index, and their patches.
    """
    batches = whole_film_batches(
        index.at_scale(settings.scale),
        tokens=settings.tokens,
        patch=settings.patch,
        batch=settings.batch_size,
        workers=settings.workers,
        rows=rows,
    )
    for batch_rows, patches in batches:
        yield np.array(batch_rows, dtype=np.int64), patches


@dataclass(frozen=True)
class _EmbeddingJob:
    """The part of an embedding that is equal for every embedding process."""

    sources: Sequence[EncoderSource]
    index: ShardIndex
    settings: EmbeddingSettings
    with_tokens: NDArray[np.int64] | None

    def stores(self, process: int) -> list[FilmStores]:
        """Open the stores of every encoder for writing by process number ``process``."""
        out: list[FilmStores] = []
        for source in self.sources:
            identity: dict[str, str | int] = {
                "encoder_sha256": source.sha256,
                "seen_as": source.identity,
                "dataset_sha256": self.index.dataset_sha256,
                "tokens": self.settings.tokens,
                "precision": self.settings.precision,
            }
            store = FeatureStore(self.settings.cache, identity, len(self.index), Pools(source.dim, double=True))
            for pool in source.other_pools:
                layout = Pools(parse_pooling(pool).width(source.dim, source.block_dims), double=False)
                store.other_pools[pool] = FeatureStore(
                    self.settings.cache, identity | {"pool": pool}, len(self.index), layout
                )
            tokens = None
            if self.with_tokens is not None:
                tokens = TokenStore(store.folder / "tokens", len(store), source.dim, process)
            out.append((store, tokens))
        return out

    def missing_films(self, stores: Sequence[FilmStores]) -> NDArray[np.bool_]:
        """[sources, films] bool: vectors or requested tokens are missing."""
        out = np.zeros((len(stores), len(self.index)), dtype=np.bool_)
        for missing, (vectors, tokens) in zip(out, stores, strict=True):
            missing[vectors.missing()] = True
            if tokens is not None and self.with_tokens is not None:
                missing[tokens.missing(self.with_tokens)] = True
        return out

    def films_with_tokens(self) -> NDArray[np.bool_]:
        """[films] bool: the patch tokens of the film are requested."""
        out = np.zeros(len(self.index), dtype=np.bool_)
        if self.with_tokens is not None:
            out[self.with_tokens] = True
        return out


def _embed_missing(job: _EmbeddingJob) -> None:
    """Embed all missing films, in this process or in several."""
    sources, settings = job.sources, job.settings
    stores = job.stores(0)
    missing_films = job.missing_films(stores)
    remaining = int(missing_films.any(axis=0).sum())
    names = sources[0].name if len(sources) == 1 else f"{len(sources)} encoders"
    films = len(job.index)
    progress = Progress(f"embed by {names}, T = {settings.tokens}", "films", films, done=films - remaining)
    processes = settings.processes or max(1, torch.cuda.device_count())
    if processes == 1:
        for count in _embed_rows(job, stores, missing_films, fast_device()):
            progress.add(count)
    else:
        # Divided before the processes start: one that starts late would see fewer missing films than the others.
        turn = np.cumsum(missing_films.any(axis=0)) % processes
        parts = [missing_films & (turn == process) for process in range(processes)]
        messages = multiprocessing.get_context("spawn").SimpleQueue()
        workers = start_processes(  # type: ignore[no-untyped-call]
            _process, (os.getpid(), job, parts, messages), nprocs=processes, join=False, start_method="spawn"
        )
        while not workers.join(timeout=1.0):
            before, remaining = remaining, int(job.missing_films(stores).any(axis=0).sum())
            progress.add(before - remaining)
        if not messages.empty():
            raise EvaluationError(messages.get())
    progress.close()


def _embed_rows(
    job: _EmbeddingJob, stores: Sequence[FilmStores], missing_films: NDArray[np.bool_], device: torch.device
) -> Iterator[int]:
    """Embed the films marked in ``missing_films`` [sources, films]; yields the number of films after each batch."""
    encoders = [
        source.load().to(device).eval() if missing.any() else None
        for source, missing in zip(job.sources, missing_films, strict=True)
    ]
    with_tokens, flushed = job.films_with_tokens(), time.monotonic()
    try:
        for rows, patches in film_batches(job.index, np.flatnonzero(missing_films.any(axis=0)), job.settings):
            for source, encoder, film_stores, missing in zip(job.sources, encoders, stores, missing_films, strict=True):
                if encoder is not None and missing[rows].any():
                    _encode_and_write(job, source, encoder, film_stores, rows, patches.to(device), with_tokens[rows])
            if time.monotonic() - flushed > _FLUSH_SECONDS:
                _flush(stores)
                flushed = time.monotonic()
            yield len(rows)
    finally:
        _flush(stores)


def _encode_and_write(
    job: _EmbeddingJob,
    source: EncoderSource,
    encoder: Encoder,
    stores: FilmStores,
    rows: NDArray[np.int64],
    patches: Patches,
    with_tokens: NDArray[np.bool_],
) -> None:
    """Write the vectors of every pooling, and the tokens marked in ``with_tokens`` [B], of one pass over a batch."""
    vectors, tokens = stores
    precision = job.settings.precision
    if vectors.other_pools:
        by_block = features_of_blocks(encoder, patches, precision, {LAST, *blocks_of(vectors.other_pools)})
    else:
        by_block = {LAST: film_features(encoder, patches, precision)}
    sizes, features = _numpy(patches.size), by_block[LAST]
    cls_mean = _numpy(pooled_features(by_block, "cls_mean", patches))  # contains the class token and the mean
    vectors.write(rows, cls_mean, source.name, sizes)
    for pool, store in vectors.other_pools.items():
        store.write(rows, _numpy(pooled_features(by_block, pool, patches)), source.name, sizes)
    if tokens is not None:
        missing = with_tokens & np.isin(rows, tokens.missing(rows))
        if missing.any():
            tokens.write(rows[missing], _numpy(features.tokens[torch.from_numpy(missing)].half()))


def _flush(stores: Sequence[FilmStores]) -> None:
    for vectors, tokens in stores:
        if tokens is not None:
            tokens.flush()
        vectors.flush()


def _process(process: int, parent: int, job: _EmbeddingJob, parts: Sequence[NDArray[np.bool_]], messages: Any) -> None:
    """Embed the films that ``parts`` assigns to embedding process ``process``."""
    die_with_parent(parent)
    torch.set_num_threads(max(1, torch.get_num_threads() // len(parts)))
    try:
        for _ in _embed_rows(job, job.stores(process), parts[process], fast_device(process)):
            pass
    except UserError as error:  # a traceback would show file names
        messages.put(str(error))


def _numpy(values: Tensor) -> NDArray[Any]:
    return np.asarray(values.cpu().numpy())
