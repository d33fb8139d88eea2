"""Encoder × shards → vectors of all films, and patch tokens of some: the whole film, one path for every encoder.

One forward pass gives every pooling. What is done stays done: an interrupted embedding goes on where it was.
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
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.data.whole_films import whole_film_batches
from mae_rad.embedding.film_vector import film_features, pooled_features
from mae_rad.embedding.token_store import TokenStore
from mae_rad.embedding.vector_store import FeatureStore, Pools, held
from mae_rad.encoders.precision import fast_device
from mae_rad.encoders.vit import EncoderSettings, Features, ViT
from mae_rad.errors import EvaluationError, UserError

Stores = tuple[FeatureStore, TokenStore | None]

_FLUSH_SECONDS = 20.0
"""What an interruption costs at most, beside a start."""


class Source(NamedTuple):
    """An encoder that embeds.

    Attributes:
        name: shown.
        sha256: of its weights, or of what stands for them.
        dim: channels.
        load: makes it; called only where something is missing, in each embedding process.
        seen: what its vectors depend on beside the weights, see :func:`seen_as`.
    """

    name: str
    sha256: str
    dim: int
    load: Callable[[], ViT]
    seen: str = ""


def seen_as(settings: EncoderSettings) -> str:
    """Shape, patch embedding and normalisation: the same weights with another of these give other vectors."""
    return settings.model_dump_json(exclude={"attention", "checkpoint_activations", "pool"} | settings.off)


@dataclass(frozen=True)
class Embedding:
    """How films are embedded.

    Attributes:
        tokens: T.
        patch: side of the patches in pixels.
        precision: of the forward pass; some CPUs take two hundred times as long with bf16.
        cache: folder of the stores.
        batch_size: films per forward pass.
        workers: loader processes, per embedding process.
        processes: embedding processes; each takes its part of the films, on a GPU of its own where there are GPUs.
    """

    tokens: int
    patch: int
    precision: Literal["f32", "bf16"]
    cache: Path
    batch_size: int
    workers: int
    processes: int = 0


def embed(
    sources: Sequence[Source], index: ShardIndex, how: Embedding, *, with_tokens: NDArray[np.int64] | None = None
) -> list[Stores]:
    """Vectors of every film of ``index``, and the tokens of the rows ``with_tokens``, by every source; found or made.

    A film is read and decoded once for all sources that lack it.

    Args:
        sources: encoders of one patch size.
        index: films of all splits.
        how: size, precision, speed.
        with_tokens: rows whose patch tokens are kept too.

    Raises:
        EvaluationError: vectors are not finite, or the cache is damaged.
        ShardFormatError: a film cannot be read.
    """
    work = _Work(sources, index, how, with_tokens)
    if work.todo(work.stores(0)).any():
        with held(how.cache):
            _embed_missing(work)
    return work.stores(0)


def film_batches(
    index: ShardIndex, rows: NDArray[np.int64], how: Embedding
) -> Iterator[tuple[NDArray[np.int64], Patches]]:
    """(rows, patches) of the films in ``rows``, batches of films of equally many patches."""
    batches = whole_film_batches(
        index, tokens=how.tokens, patch=how.patch, batch=how.batch_size, workers=how.workers, rows=rows
    )
    for here, patches in batches:
        yield np.array(here, dtype=np.int64), patches


@dataclass(frozen=True)
class _Work:
    """What every embedding process is given."""

    sources: Sequence[Source]
    index: ShardIndex
    how: Embedding
    with_tokens: NDArray[np.int64] | None

    def stores(self, process: int) -> list[Stores]:
        """Of every source, as ``process`` writes them."""
        out: list[Stores] = []
        for source in self.sources:
            identity: dict[str, str | int] = {
                "encoder_sha256": source.sha256,
                "seen_as": source.seen,
                "dataset_sha256": self.index.dataset_sha256,
                "tokens": self.how.tokens,
                "precision": self.how.precision,
            }
            store = FeatureStore(self.how.cache, identity, len(self.index), Pools(source.dim, double=True))
            kept = self.with_tokens is not None
            tokens = TokenStore(store.folder / "tokens", len(store), source.dim, process) if kept else None
            out.append((store, tokens))
        return out

    def todo(self, stores: Sequence[Stores]) -> NDArray[np.bool_]:
        """[sources, films] what is missing."""
        out = np.zeros((len(stores), len(self.index)), dtype=np.bool_)
        for missing, (vectors, tokens) in zip(out, stores, strict=True):
            missing[vectors.missing()] = True
            if tokens is not None and self.with_tokens is not None:
                missing[tokens.missing(self.with_tokens)] = True
        return out

    def wanted(self) -> NDArray[np.bool_]:
        """[films] of which tokens are kept."""
        out = np.zeros(len(self.index), dtype=np.bool_)
        if self.with_tokens is not None:
            out[self.with_tokens] = True
        return out


def _embed_missing(work: _Work) -> None:
    """Embed what is missing, in this process or in several."""
    sources, how = work.sources, work.how
    stores = work.stores(0)
    todo = work.todo(stores)
    left = int(todo.any(axis=0).sum())
    names = sources[0].name if len(sources) == 1 else f"{len(sources)} encoders"
    films = len(work.index)
    progress = Progress(f"embed by {names}, T = {how.tokens}", "films", films, done=films - left)
    processes = how.processes or max(1, torch.cuda.device_count())
    if processes == 1:
        for count in _embed_rows(work, stores, todo, fast_device()):
            progress.add(count)
    else:
        # Dealt here: a process that starts late would find less missing than the others did.
        turn = np.cumsum(todo.any(axis=0)) % processes
        parts = [todo & (turn == process) for process in range(processes)]
        messages = multiprocessing.get_context("spawn").SimpleQueue()
        running = start_processes(  # type: ignore[no-untyped-call]
            _process, (os.getpid(), work, parts, messages), nprocs=processes, join=False, start_method="spawn"
        )
        while not running.join(timeout=1.0):
            before, left = left, int(work.todo(stores).any(axis=0).sum())
            progress.add(before - left)
        if not messages.empty():
            raise EvaluationError(messages.get())
    progress.close()


def _embed_rows(work: _Work, stores: Sequence[Stores], todo: NDArray[np.bool_], device: torch.device) -> Iterator[int]:
    """Embed what ``todo`` [sources, films] says; yields how many films were done, batch by batch."""
    encoders = [
        source.load().to(device).eval() if own.any() else None for source, own in zip(work.sources, todo, strict=True)
    ]
    wanted, flushed = work.wanted(), time.monotonic()
    try:
        for here, patches in film_batches(work.index, np.flatnonzero(todo.any(axis=0)), work.how):
            for source, encoder, own, missing in zip(work.sources, encoders, stores, todo, strict=True):
                if encoder is not None and missing[here].any():
                    features = film_features(encoder, patches.to(device), work.how.precision)
                    _write(source, own, here, features, _numpy(patches.size), wanted[here])
            if time.monotonic() - flushed > _FLUSH_SECONDS:
                _flush(stores)
                flushed = time.monotonic()
            yield len(here)
    finally:
        _flush(stores)


def _write(
    source: Source,
    stores: Stores,
    rows: NDArray[np.int64],
    features: Features,
    sizes: NDArray[np.float32],
    with_tokens: NDArray[np.bool_],
) -> None:
    vectors, tokens = stores
    vectors.write(rows, _numpy(pooled_features(features, "cls_mean")), source.name, sizes)  # the other pools are parts
    if tokens is not None:
        kept = with_tokens & np.isin(rows, tokens.missing(rows))
        if kept.any():
            tokens.write(rows[kept], _numpy(features.tokens[torch.from_numpy(kept)].half()))


def _flush(stores: Sequence[Stores]) -> None:
    for vectors, tokens in stores:
        if tokens is not None:
            tokens.flush()
        vectors.flush()


def _process(process: int, parent: int, work: _Work, parts: Sequence[NDArray[np.bool_]], messages: Any) -> None:
    """The part of embedding process ``process`` of what is missing."""
    die_with_parent(parent)
    torch.set_num_threads(max(1, torch.get_num_threads() // len(parts)))
    try:
        for _ in _embed_rows(work, work.stores(process), parts[process], fast_device(process)):
            pass
    except UserError as error:  # as a traceback it would name files
        messages.put(str(error))


def _numpy(values: Tensor) -> NDArray[Any]:
    return np.asarray(values.cpu().numpy())
