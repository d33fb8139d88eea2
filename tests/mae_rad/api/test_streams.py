"""Streams give the films of the shards: each once to a reader, and in equal batches to a training."""

import tarfile
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import mae_rad
from data_prep.folder_url import FolderUrl
from data_prep.object_storage.published_files import published_files
from data_prep.object_storage.range_cache import CACHE
from data_prep.object_storage.storage import PATIENCE
from data_prep.sharding.publish import publish
from mae_rad.api.shards import ShardFilm
from mae_rad.data.batch import Batch, ViewSpec
from mae_rad.data.film_order import StepRange
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.data.streaming import shard_openers, streamed_batches
from mae_rad.data.worker_start import processes
from mae_rad.errors import SettingsError, ShardFormatError, StorageError
from tests.builders.processes.object_store import Link, complete, web_server
from tests.builders.shard_builder import film, noise, write_public


@pytest.fixture
def public(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    published_files.cache_clear()
    films = [film(f"film {n}", noise(64 + n, 80, seed=n), body_part="HAND" if n % 2 else "FOOT") for n in range(24)]
    return complete(write_public(tmp_path / "public", films, per_shard=10))


def _same(stream: Iterable[ShardFilm], dataset: Any) -> None:
    streamed, expected = list(stream), [dataset[row] for row in range(len(dataset))]
    assert [one.key for one in streamed] == [one.key for one in expected]
    for one, other in zip(streamed, expected, strict=True):
        assert torch.equal(one.image, other.image)
        assert one.sidecar == other.sidecar


def test_a_stream_has_the_films_of_the_folder(public: Path) -> None:
    _same(mae_rad.open_shards(public, streaming=True), mae_rad.open_shards(public))
    _same(mae_rad.open_shards(str(public), split="train", streaming=True), mae_rad.open_shards(public, split="train"))
    with pytest.raises(ShardFormatError, match="no shard of val"):
        mae_rad.open_shards(public, split="val", streaming=True)
    with pytest.raises(SettingsError, match="where needs the index"):
        mae_rad.open_shards(public, where={"body_part": "HAND"}, streaming=True)  # type: ignore[call-overload]


def test_loader_processes_share_the_films_by_shards(public: Path) -> None:
    stream = mae_rad.open_shards(public, streaming=True)
    loader = DataLoader(stream, batch_size=None, num_workers=2, multiprocessing_context=processes(2))
    assert sorted(one.key for one in loader) == sorted(one.key for one in stream)


def test_a_url_that_webdataset_reads_is_streamed(public: Path) -> None:
    first, last = (f"{n:06d}" for n in (0, 2))
    expected = mae_rad.open_shards(public)
    _same(mae_rad.open_shards(f"file://{public}/train-{{{first}..{last}}}.tar", streaming=True), expected)
    _same(mae_rad.open_shards(f"pipe:cat {public}/train-000000.tar", streaming=True), _First(expected, 10))


class _First:
    def __init__(self, films: Any, count: int) -> None:
        self._films, self._count = films, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, row: int) -> object:
        return self._films[row]


def test_a_published_folder_is_streamed_and_a_failure_shows_no_signature(
    public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("aiohttp")
    publish(public, FolderUrl.parse(f"file://{tmp_path}/there"))
    with web_server(tmp_path / "there") as (address, _):
        link = Link(int(address.rpartition(":")[2]))
        url = f"http://127.0.0.1:{link.port}?sig=hush"
        stream = mae_rad.open_shards(url, streaming=True)
        _same(stream, mae_rad.open_shards(public))
        link.cut()
        monkeypatch.setenv(PATIENCE, "0")
        with pytest.raises(StorageError, match=r"cannot be reached for 0 s \(\w+\)\. Run") as error:
            list(stream)
        assert "hush" not in str(error.value)
        assert "Stored" not in str(error.value)


def test_what_is_no_shard_is_named(public: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("x")
    with tarfile.open(tmp_path / "other.tar", "w") as tar:
        tar.add(tmp_path / "text", "a.txt")
    with pytest.raises(ShardFormatError, match="holds other files than films"):
        list(mae_rad.open_shards(f"file://{tmp_path}/other.tar", streaming=True))
    shard = min(public.glob("*.tar"))
    shard.write_bytes(shard.read_bytes()[:5000])
    with pytest.raises(ShardFormatError, match="cannot be read as a stream"):
        list(mae_rad.open_shards(public, streaming=True))


def _batches(index: ShardIndex, public: Path, steps: StepRange, seed: int = 0, workers: int = 0) -> list[Batch]:
    views = {"film": ViewSpec(tokens=16, predicted=0.5, visible=0.25)}
    openers = shard_openers([public], split="train")
    loaded = streamed_batches(
        index, openers, views, steps, global_batch=8, patch=16, seed=seed, workers=workers,
        scheduled_steps=steps.last_step,
    )  # fmt: skip
    return [batch for batch, _ in loaded]


def test_every_rank_gets_equally_many_batches_of_its_own(public: Path) -> None:
    index = ShardIndex([public], where={"body_part": "HAND"})
    hands = {index.key(row) for row in range(len(index))}
    ranks = [_batches(index, public, StepRange(0, 6, rank, 2, 2)) for rank in (0, 1)]
    assert [len(batches) for batches in ranks] == [12, 12]
    assert all(len(batch.keys) == 2 and set(batch.keys) <= hands for batches in ranks for batch in batches)
    assert [batch.keys for batch in ranks[0]] != [batch.keys for batch in ranks[1]]
    again = _batches(index, public, StepRange(0, 6, 0, 2, 2))
    assert all(
        one.keys == other.keys and torch.equal(one.views["film"].visible.values, other.views["film"].visible.values)
        for one, other in zip(ranks[0], again, strict=True)
    )
    assert _batches(index, public, StepRange(0, 6, 0, 2, 2), seed=1)[0].keys != ranks[0][0].keys
    resumed = _batches(index, public, StepRange(3, 6, 0, 2, 2))
    assert len(resumed) == 6
    assert [batch.keys for batch in resumed] != [batch.keys for batch in ranks[0][6:]]
    drawn = {key for batches in ranks for batch in batches for key in batch.keys}
    assert drawn == hands


def test_two_loader_processes_draw_different_films(public: Path) -> None:
    batches = _batches(ShardIndex([public]), public, StepRange(0, 4, 0, 1, 8), workers=2)
    assert len(batches) == 4
    assert all(one.keys != other.keys for one, other in pairwise(batches))
    assert np.isfinite(batches[0].views["film"].visible.values.numpy().astype(np.float32)).all()
