"""A local cache of parts of shards, of bounded size, shared by all processes of a machine.

Epochs read every film once, in another order each time. Of a cache that holds a part of the films, replacing the oldest
would keep few of those that come next; so what is there stays while it is used, and when the cache is full nothing is
added. Shards that nobody has read for a day make room.
"""

import hashlib
import os
import shutil
import time
from pathlib import Path

from data_prep.runtime.atomic_write import is_temporary

CACHE = "MAE_RAD_CACHE"
"""Environment variable: folder of the cache (default: ~/.cache/mae_rad)."""
CACHE_GIB = "MAE_RAD_CACHE_GIB"
"""Environment variable: largest size of the parts of shards in the cache (default: 10); 0 keeps none."""

_DIGEST_BYTES = 16
_UNUSED_SECONDS = 24 * 3600
_COUNTED_AFTER = 1 / 64
"""Share of the limit that a process adds before it counts again what all have added."""
_TOUCHED_SECONDS = 3600


def cache_folder() -> Path:
    """Folder of the cache, readable by its owner only; created if it does not exist."""
    folder = Path(os.environ.get(CACHE) or Path.home() / ".cache" / "mae_rad")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


class RangeCache:
    """Parts of shards on the local disk; a part that is damaged or missing is read from the storage again."""

    def __init__(self) -> None:
        self._folder = cache_folder() / "ranges"
        self._limit = round(float(os.environ.get(CACHE_GIB) or "10") * 2**30)
        self._room = 0  # bytes that may be added before the cache is counted
        self._full_until = 0.0
        self._touched: dict[str, float] = {}

    def get(self, sha256: str, start: int, length: int) -> bytes | None:
        """Read a part; None if the cache does not hold it.

        Args:
            sha256: of address and checksum of the shard.
            start: first byte.
            length: number of bytes.
        """
        path = self._path(sha256, start)
        try:
            stored = path.read_bytes()
        except OSError:
            return None
        digest, data = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
        if len(data) != length or _digest(data) != digest:  # a power failure may leave a file without its content
            path.unlink(missing_ok=True)
            return None
        self._touch(path.parent)
        return data

    def put(self, sha256: str, start: int, data: bytes) -> None:
        """Keep a part, if there is room; a disk that is full is no error.

        Args:
            sha256: of address and checksum of the shard.
            start: first byte.
            data: its bytes.
        """
        size = len(data) + _DIGEST_BYTES
        if not self._has_room(size):
            return
        path = self._path(sha256, start)
        part = path.with_name(f".{path.name}.{os.urandom(8).hex()}.part")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            part.write_bytes(_digest(data) + data)
            part.replace(path)
            self._room -= size
        except OSError:
            part.unlink(missing_ok=True)
            self._full_until = time.monotonic() + 60

    def _path(self, sha256: str, start: int) -> Path:
        return self._folder / sha256 / str(start)

    def _touch(self, folder: Path) -> None:
        """Note that a shard is used, at most once an hour."""
        now = time.monotonic()
        if now - self._touched.get(folder.name, -_TOUCHED_SECONDS) >= _TOUCHED_SECONDS:
            self._touched[folder.name] = now
            try:
                os.utime(folder)
            except OSError:
                return

    def _has_room(self, size: int) -> bool:
        if size <= self._room:
            return True
        if time.monotonic() < self._full_until or not self._limit:
            return False
        left = self._limit - self._trimmed()
        self._room = min(left, max(size, round(self._limit * _COUNTED_AFTER)))
        if size <= self._room:
            return True
        self._full_until = time.monotonic() + 600
        return False

    def _trimmed(self) -> int:
        """Bytes of the cache, after shards that nobody uses were removed if it is nearly full."""
        if not self._folder.is_dir():
            return 0
        shards = sorted((folder.stat().st_mtime, _size(folder), folder) for folder in self._folder.iterdir())
        total = sum(size for _, size, _ in shards)
        for used, size, folder in shards:
            if total <= self._limit * (1 - 4 * _COUNTED_AFTER) or time.time() - used < _UNUSED_SECONDS:
                break
            shutil.rmtree(folder, ignore_errors=True)
            total -= size
        return total


def _size(folder: Path) -> int:
    """Bytes of the files of a folder; parts that an interrupted process left are removed."""
    total = 0
    for path in folder.iterdir():
        try:
            status = path.stat()
            if is_temporary(path) and time.time() - status.st_mtime > _TOUCHED_SECONDS:
                path.unlink()
                continue
        except OSError:  # another process has removed it
            continue
        total += status.st_size
    return total


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()
