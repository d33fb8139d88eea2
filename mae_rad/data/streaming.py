"""Read shards from beginning to end as streams, through webdataset.

The order is drawn as the stream goes: shards are resampled and films shuffled in a buffer, so that it depends on the
numbers of ranks and workers, and an interrupted training goes on with other films than it would have had. Where that
does not matter, a stream needs no range requests.
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import webdataset
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from webdataset.tariterators import group_by_keys, tar_file_expander

from data_prep.bounded_reading import open_regular
from data_prep.folder_url import FolderUrl, PublicFolder, shown
from data_prep.object_storage.published_files import published_files
from data_prep.object_storage.storage import ByteRange, read_ranges
from data_prep.shard_format.appended_folders import generation_folders
from data_prep.shard_format.dataset_card import read_dataset_card
from data_prep.shard_format.folder_layout import FILM_SUFFIXES, SIDECAR_SUFFIX
from data_prep.shard_format.sidecar import Sidecar
from mae_rad.data.batch import Batch, ViewSpec
from mae_rad.data.film import Film
from mae_rad.data.film_order import StepRange
from mae_rad.data.loader import (
    MAX_CONSECUTIVE_SKIPS,
    FilmUnusableError,
    FilmViews,
    draw_views,
    return_item,
    stack_views,
    with_columns,
)
from mae_rad.data.seeded_random import generator_for
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.data.worker_start import initialise_worker, processes
from mae_rad.errors import ShardFormatError, StorageError, UserError

SHUFFLED_FILMS = 1000
"""Films in the buffer of a loader process from which the next one is drawn."""

_CHUNK = 8 * 2**20
"""Bytes of one request for a shard in object storage."""

Open = Callable[[], BinaryIO]


def shard_openers(
    folders: Sequence[PublicFolder], *, split: str | None, generations: int | None = None
) -> dict[str, Open]:
    """List the shards of public folders.

    Args:
        folders: complete public folders, on this machine or in object storage.
        split: train, val or test; None takes all.
        generations: number of generations of each folder, from the first; None takes all.

    Returns:
        Name of each shard → function that opens it.

    Raises:
        ShardFormatError: a folder is missing, unfinished, or has no shard of the split.
        StorageError: object storage cannot be reached, or refuses a request.
    """
    openers: dict[str, Open] = {}
    for public in folders:
        for folder in generation_folders(public)[:generations]:
            for name in sorted(read_dataset_card(folder).shards):
                if split is None or name.startswith(f"{split}-"):
                    openers[f"{folder}/{name}"] = _Opener(folder, name)
    if not openers:
        raise ShardFormatError(f"the shard folders have no shard of {split}. Choose another split.")
    return openers


def url_openers(urls: str) -> dict[str, Open]:
    """List the shards of a URL that webdataset reads, such as ``https://host/train-{000000..000009}.tar``.

    Args:
        urls: as webdataset takes them, with braces for several; ``pipe:`` runs a command.
    """
    expanded = enumerate(webdataset.shardlists.expand_urls(urls))
    return {f"{number}: {shown(url)}": _WebdatasetOpener(url) for number, url in expanded}


def stream_films(openers: Mapping[str, Open], seed: int | None = None) -> Iterator[tuple[str, Film]]:
    """Read films from shards.

    Args:
        openers: name of each shard → function that opens it.
        seed: endless, from resampled shards and shuffled; None: every film once, in order, shared among the ranks and
            loader processes by whole shards.

    Yields:
        Key and film.

    Raises:
        ShardFormatError: a shard cannot be read.
        StorageError: object storage cannot be reached, or refuses a request.
    """
    names = list(openers)
    if seed is None:
        stages = [webdataset.SimpleShardList(names), webdataset.split_by_node, webdataset.split_by_worker]
    else:
        stages = [webdataset.ResampledShards(names, seed=seed, worker_seed=_no_seed, deterministic=True)]
    stages += [_Opened(openers), tar_file_expander, group_by_keys]
    if seed is not None:
        stages.append(webdataset.shuffle(SHUFFLED_FILMS, initial=SHUFFLED_FILMS // 4, seed=seed))
    try:
        for sample in webdataset.DataPipeline(*stages):
            yield sample["__key__"], _film(sample)
    except StorageError as error:  # webdataset appends what it knows to the message
        raise StorageError(str(error.args[0]).partition(" @ ")[0]) from None
    except UserError:
        raise
    except Exception as error:  # of tarfile and webdataset; their texts may quote a signed URL
        raise ShardFormatError(
            f"a shard cannot be read as a stream ({type(error).__name__}). Check the shards with `mae-rad verify`."
        ) from None


def _no_seed() -> int:
    return 0


def _film(sample: Mapping[str, Any]) -> Film:
    suffix = next((suffix for suffix in FILM_SUFFIXES.values() if suffix in sample), None)
    try:
        sidecar = Sidecar.model_validate_json(sample[SIDECAR_SUFFIX])
    except (KeyError, ValidationError):
        sidecar = None
    if suffix is None or sidecar is None or sidecar.key != sample["__key__"]:
        raise ShardFormatError(
            f"{sample['__url__']} holds other files than films and sidecars. Give shards of `mae-rad shard`."
        )
    return Film(sample[suffix], sidecar)


@dataclass(frozen=True)
class _Opener:
    """Opens a shard of a public folder."""

    folder: PublicFolder
    name: str

    def __call__(self) -> BinaryIO:
        if isinstance(self.folder, Path):
            return open_regular(self.folder / self.name)
        size = published_files(self.folder)[self.name].size
        return io.BufferedReader(_StoredFile(self.folder, self.folder.relative(self.name), size), _CHUNK)


@dataclass(frozen=True)
class _WebdatasetOpener:
    """Opens a URL as webdataset does."""

    url: str

    def __call__(self) -> BinaryIO:
        stream: BinaryIO = webdataset.gopen(self.url)
        return stream


class _StoredFile(io.RawIOBase):
    """A file of object storage, read forwards; requests are repeated while the storage cannot be reached."""

    def __init__(self, folder: FolderUrl, name: str, size: int) -> None:
        self._folder, self._name, self._size, self._at = folder, name, size, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        length = min(len(buffer), self._size - self._at)
        if length:
            buffer[:length] = read_ranges(self._folder, [ByteRange(self._name, self._at, length)])[0]
            self._at += length
        return length


@dataclass(frozen=True)
class _Opened:
    """Stage of a pipeline that opens shards by name."""

    openers: Mapping[str, Open]

    def __call__(self, shards: Iterator[dict[str, str]]) -> Iterator[dict[str, Any]]:
        for shard in shards:
            with self.openers[shard["url"]]() as stream:
                yield {"url": shard["url"], "stream": stream}


@dataclass(frozen=True)
class _StreamedBatches(IterableDataset[tuple[Batch, tuple[str, ...]] | UserError]):
    """Micro batches of one rank; the n-th of N loader processes makes every N-th of them."""

    openers: Mapping[str, Open]
    index: ShardIndex
    keys: NDArray[np.bytes_]
    """Sorted keys of the films that may be drawn, and their rows in the next."""
    rows: NDArray[np.int64]
    views: Mapping[str, ViewSpec]
    steps: StepRange
    passes: int
    """Micro batches of a rank in one optimiser step."""
    patch: int
    seed: int
    scheduled_steps: int

    def __iter__(self) -> Iterator[tuple[Batch, tuple[str, ...]] | UserError]:
        worker = get_worker_info()
        first, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        parts = ("stream", self.seed, self.steps.first_step, self.steps.rank, first)
        films = stream_films(self.openers, int(generator_for(*parts).integers(2**62)))
        try:
            for number in range(first, (self.steps.last_step - self.steps.first_step) * self.passes, stride):
                yield self._batch(films, number)
        except UserError as error:  # one that is raised in a worker would be shown as a traceback
            yield error

    def _batch(self, films: Iterator[tuple[str, Film]], number: int) -> tuple[Batch, tuple[str, ...]]:
        step = self.steps.first_step + number // self.passes
        drawn: list[FilmViews] = []
        skipped: list[str] = []
        while len(drawn) < self.steps.micro:
            key, film = next(films)
            row = self._row(key)
            if row is None:
                continue
            views = self._views(key, film, row, step, (number, len(drawn)))
            if isinstance(views, FilmViews):
                drawn.append(views)
                continue
            skipped.append(views)
            if len(skipped) - len(drawn) >= MAX_CONSECUTIVE_SKIPS:
                raise ShardFormatError(
                    f"{len(skipped)} films cannot be used, the last: {views}."
                    " Check the shards with `mae-rad verify`, or lower objective.tokens, visible or predicted."
                )
        return stack_views(drawn), tuple(skipped)

    def _row(self, key: str) -> int | None:
        """Row of the index of a film; None if it is not to be drawn."""
        place = int(np.searchsorted(self.keys, key.encode()))
        return int(self.rows[place]) if place < len(self.keys) and self.keys[place] == key.encode() else None

    def _views(self, key: str, film: Film, row: int, step: int, place: tuple[int, int]) -> FilmViews | str:
        """All views of a film, or the reason why it cannot be used."""
        number, inside = place
        film = Film(film.stream, film.sidecar, self.index.scale)
        specs = {name: spec.at(step, self.scheduled_steps) for name, spec in self.views.items()}
        position = f"{self.steps.rank}.{number}.{inside}"
        try:
            views = draw_views(key, film, specs, self.patch, "streamed view", self.seed, step, position)
        except FilmUnusableError as error:
            return str(error)
        except Exception as error:  # decoders raise errors of any type; the text may quote content
            return f"film {key} cannot be loaded ({type(error).__name__})"
        identity = row, self.index.study(row), self.index.patient(row)
        unique = (number * self.steps.world + self.steps.rank) * self.steps.micro + inside
        return FilmViews(key, step, unique, views, dict.fromkeys(self.views, identity))


def streamed_batches(
    index: ShardIndex,
    openers: Mapping[str, Open],
    views: Mapping[str, ViewSpec],
    steps: StepRange,
    *,
    global_batch: int,
    patch: int,
    seed: int,
    workers: int,
    scheduled_steps: int,
    columns: Mapping[str, Tensor] | None = None,
) -> Iterator[tuple[Batch, tuple[str, ...]]]:
    """Load micro batches of views for pretraining from streams.

    Args:
        index: films that may be drawn.
        openers: shards of these films.
        views: view name → what is drawn of each film.
        steps: steps and rank to load films for.
        global_batch: films per optimiser step over all ranks.
        patch: patch side in pixels.
        seed: seed of the run.
        workers: loader processes; 0 loads in this process.
        scheduled_steps: steps of the schedule of T, without those of extensions.
        columns: column → [films, …] values by row of the index; may be changed between batches.

    Yields:
        Each batch, and the reasons of films that were skipped for it.

    Raises:
        ShardFormatError: a shard cannot be read, or too many films cannot be used.
        StorageError: object storage cannot be reached, or refuses a request.
    """
    passes = global_batch // (steps.world * steps.micro)
    loader = DataLoader(
        _StreamedBatches(
            openers, index, *index.rows_by_key(), dict(views), steps, passes, patch, seed, scheduled_steps
        ),
        batch_size=None,
        collate_fn=return_item,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        multiprocessing_context=processes(workers),
        worker_init_fn=initialise_worker,
    )
    for item in loader:
        if isinstance(item, UserError):
            raise item
        batch, skipped = item
        yield with_columns(batch, columns or {}, scheduled_steps), skipped
