"""Films of a published folder: the same bytes in every process, and an unreachable storage replaces no film."""

import multiprocessing
import pickle
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from data_prep.folder_url import FolderUrl
from data_prep.object_storage import published_files, range_reader
from data_prep.object_storage.range_cache import CACHE, CACHE_GIB
from data_prep.object_storage.storage import PATIENCE, ByteRange, read_ranges
from data_prep.sharding.publish import publish
from mae_rad.data.batch import ViewSpec
from mae_rad.data.film_order import Order, StepRange
from mae_rad.data.loader import training_batches
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.data.whole_films import whole_film_batches
from mae_rad.errors import StorageError
from tests.builders.processes.object_store import BUCKET, Link, complete, s3_server, storage_environment, web_server
from tests.builders.shard_builder import film, noise, write_public

FILMS = 24


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    monkeypatch.setenv(CACHE_GIB, "0")  # every film comes from the storage
    monkeypatch.setenv(PATIENCE, "30")
    published_files.published_files.cache_clear()
    yield
    published_files.published_files.cache_clear()


@pytest.fixture
def public(tmp_path: Path) -> Path:
    films = [film(f"film {n}", noise(64 + n, 80, seed=n)) for n in range(FILMS)]
    return complete(write_public(tmp_path / "public", films, per_shard=10))


@pytest.fixture
def there(public: Path, tmp_path: Path) -> FolderUrl:
    url = FolderUrl.parse(f"file://{tmp_path}/there")
    publish(public, url)
    return url


def _films(index: ShardIndex) -> list[tuple[str, bytes]]:
    return [(index.key(row), index.film(row).displayed().tobytes()) for row in range(len(index))]


def _batches(index: ShardIndex) -> Iterator[object]:
    views = {"film": ViewSpec(tokens=16, predicted=0.5, visible=0.25)}
    order = Order(len(index), 1, 8)
    return training_batches(index, order, views, StepRange(0, 4, 0, 1, 4), patch=16, workers=0)


@pytest.mark.parametrize("query", ["", "?sig=hush"])
def test_a_web_server_gives_the_films_of_the_local_folder(query: str, public: Path, there: FolderUrl) -> None:
    pytest.importorskip("aiohttp")
    local = ShardIndex([public])
    with web_server(Path(there.address.removeprefix("file://"))) as (address, asked):
        index = ShardIndex([FolderUrl.parse(address + query)])
        assert index.dataset_sha256 == local.dataset_sha256
        assert _films(index) == _films(local)
        assert _films(pickle.loads(pickle.dumps(index))) == _films(local)
    assert all(path.endswith(query) for path in asked)


def test_forked_processes_read_from_a_bucket(public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File systems of fsspec do not survive a fork; each process opens its own."""
    with s3_server() as port:
        for name, value in storage_environment(port, tmp_path / "cache").items():
            monkeypatch.setenv(name, value)
        publish(public, FolderUrl.parse(f"s3://{BUCKET}/shards"))
        index, expected = ShardIndex([FolderUrl.parse(f"s3://{BUCKET}/shards")]), _films(ShardIndex([public]))
        assert _films(index) == expected
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map(partial(_one, index), range(FILMS)) == expected
        assert _equal(list(_batches(index)), list(_batches(ShardIndex([public]))))


def _one(index: ShardIndex, row: int) -> tuple[str, bytes]:
    return index.key(row), index.film(row).displayed().tobytes()


def _equal(some: list, others: list) -> bool:
    return len(some) == len(others) and all(
        one.keys == other.keys and np.array_equal(one.views["film"].visible.values, other.views["film"].visible.values)
        for (one, _), (other, _) in zip(some, others, strict=True)
    )


def test_a_batch_is_one_batch_of_requests(there: FolderUrl, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[ByteRange]] = []

    def counting(folder: FolderUrl, ranges: list[ByteRange]) -> list[bytes]:
        asked.append(list(ranges))
        return read_ranges(folder, ranges)

    index = ShardIndex([there])
    monkeypatch.setattr(range_reader, "read_ranges", counting)
    assert len(list(_batches(index))) == 8
    assert len(asked) == 8
    asked.clear()
    assert sum(len(rows) for rows, _ in whole_film_batches(index, tokens=16, patch=16, batch=4, workers=0)) == FILMS
    assert len(asked) == 1
    assert len(asked[0]) == 3  # films that follow each other in a shard are one request


def test_an_unreachable_storage_replaces_no_film(
    public: Path, there: FolderUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("aiohttp")
    with web_server(Path(there.address.removeprefix("file://"))) as (address, _):
        link = Link(int(address.rpartition(":")[2]))
        index = ShardIndex([FolderUrl.parse(f"http://127.0.0.1:{link.port}")])
        assert _films(index) == _films(ShardIndex([public]))
        link.cut()
        monkeypatch.setenv(PATIENCE, "0")
        with pytest.raises(StorageError, match="cannot be reached"):
            index.film(0)
        with pytest.raises(StorageError, match="cannot be reached"):
            list(_batches(index))
        with pytest.raises(StorageError, match="cannot be reached"):
            list(whole_film_batches(index, tokens=16, patch=16, batch=4, workers=0))
        link.mend()
        monkeypatch.setenv(PATIENCE, "30")
        assert _films(index) == _films(ShardIndex([public]))
        link.cut()


def test_an_epoch_is_read_from_the_cache_the_second_time(there: FolderUrl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_GIB, "1")
    first = _films(ShardIndex([there]))
    monkeypatch.setattr(range_reader, "read_ranges", lambda folder, ranges: [b"" for _ in ranges])
    assert _films(ShardIndex([there])) == first


def test_a_local_folder_needs_no_storage_library(public: Path) -> None:
    import subprocess
    import sys

    script = (
        "import sys; from pathlib import Path; from mae_rad.data.shard_reader import ShardIndex;"
        f"ShardIndex([Path({str(public)!r})]).film(0);"
        "print(sorted({'botocore', 'aiobotocore', 's3fs', 'gcsfs', 'boto3'} & set(sys.modules)), flush=True)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr  # libraries with threads may end such a short process with an abort
