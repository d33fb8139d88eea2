"""The local cache gives back what it was given, never grows beyond its limit, and keeps what is used."""

import hashlib
import os
import stat
import time
from pathlib import Path

import pytest

from data_prep.folder_url import FolderUrl
from data_prep.object_storage.published_files import PUBLISHED_FILE, PublishedFile, PublishedFiles
from data_prep.object_storage.range_cache import CACHE, CACHE_GIB, RangeCache, cache_folder
from data_prep.object_storage.range_reader import RangeReader
from data_prep.object_storage.storage import ByteRange

PART = 1000


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def _limit(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setenv(CACHE_GIB, str(size / 2**30))


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_what_was_put_is_got_by_any_process(folder: Path) -> None:
    RangeCache().put("a" * 64, 5, b"film")
    assert RangeCache().get("a" * 64, 5, 4) == b"film"
    assert RangeCache().get("a" * 64, 6, 4) is None
    assert RangeCache().get("b" * 64, 5, 4) is None
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_damaged_part_is_forgotten(folder: Path) -> None:
    RangeCache().put("a" * 64, 5, b"film")
    (path,) = (path for path in folder.rglob("*") if path.is_file())
    path.write_bytes(path.read_bytes()[:-1] + b"M")
    assert RangeCache().get("a" * 64, 5, 4) is None
    assert not path.exists()


@pytest.mark.parametrize("processes", [1, 3])
def test_it_stays_below_its_limit_and_keeps_what_is_used(
    processes: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _limit(monkeypatch, 100 * PART)
    caches = [RangeCache() for _ in range(processes)]
    for number in range(200):
        caches[number % processes].put("a" * 64, number, os.urandom(PART))
    assert 80 * PART < _size(folder) <= (100 + processes) * PART
    kept = [caches[0].get("a" * 64, number, PART) is not None for number in range(200)]
    assert all(kept[:80])  # an epoch in another order finds these again; replacing them would keep none


def test_shards_that_nobody_reads_make_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _limit(monkeypatch, 100 * PART)
    before = RangeCache()
    for number in range(200):
        before.put("old" * 20, number, os.urandom(PART))
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(folder / "ranges" / ("old" * 20), (two_days_ago, two_days_ago))
    after = RangeCache()
    after.put("new" * 20, 0, b"film")
    assert after.get("new" * 20, 0, 4) == b"film"
    assert not (folder / "ranges" / ("old" * 20)).exists()


def test_reading_counts_as_use(folder: Path) -> None:
    RangeCache().put("a" * 64, 5, b"film")
    shard = folder / "ranges" / ("a" * 64)
    os.utime(shard, (0, 0))
    assert RangeCache().get("a" * 64, 5, 4) == b"film"
    assert time.time() - shard.stat().st_mtime < 60


def test_a_limit_of_zero_keeps_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _limit(monkeypatch, 0)
    RangeCache().put("a" * 64, 5, b"film")
    assert _size(folder) == 0
    assert cache_folder() == folder


def test_a_folder_cannot_replace_the_films_of_another(tmp_path: Path) -> None:
    """Whoever knows the checksum of a shard can publish other bytes under it."""
    sha256 = hashlib.sha256(bytes(100)).hexdigest()
    listed = PublishedFiles(files={"train-000000.tar": PublishedFile(size=100, sha256=sha256)}).model_dump_json()
    part = ByteRange("train-000000.tar", 10, 20)
    for name, data in (("strange", b"x" * 100), ("own", bytes(100))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train-000000.tar").write_bytes(data)
        (tmp_path / name / PUBLISHED_FILE).write_text(listed)
        reader = RangeReader(FolderUrl.parse(f"file://{tmp_path / name}"))
        assert reader.read(part) == data[10:30]
        os.truncate(tmp_path / name / "train-000000.tar", 0)
        assert reader.read(part) == data[10:30]  # from the cache
