"""Read parts of the shards of a published folder: from what was read ahead, the local cache, or the storage."""

import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from data_prep.bounded_reading import open_regular
from data_prep.folder_url import FolderUrl, PublicFolder
from data_prep.object_storage.published_files import published_files
from data_prep.object_storage.range_cache import RangeCache
from data_prep.object_storage.storage import ByteRange, read_ranges

_LARGEST_GAP, _LARGEST_REQUEST = 64 * 2**10, 16 * 2**20
"""Bytes: parts of one shard that are no further apart are read in one request, up to a size."""


def read_part(public: PublicFolder, part: ByteRange) -> bytes:
    """Read a part of a shard of a public folder, on this machine or in object storage.

    Args:
        public: public folder.
        part: its name is relative to the folder; fewer bytes are read, if the shard ends before.

    Raises:
        OSError: the folder has no such shard, or it cannot be read.
        StorageError: the storage cannot be reached, or refuses the request.
    """
    if not isinstance(public, Path):
        return _reader(public).read(part)
    with open_regular(public / part.name) as shard:
        shard.seek(part.start)
        return shard.read(part.length)


class RangeReader:
    """Reads parts of the shards of a published folder or generation.

    Args:
        folder: where it was published.

    Raises:
        UserError: nothing was published there, or the storage cannot be reached.
    """

    def __init__(self, folder: FolderUrl) -> None:
        self._folder = folder
        self._shards = {name: file for name, file in published_files(folder).items() if name.endswith(".tar")}
        self._ahead: dict[ByteRange, bytes] = {}
        self._cache: RangeCache | None = None

    def read(self, part: ByteRange) -> bytes:
        """Read a part of a shard; fewer bytes, if the shard ends before.

        Raises:
            OSError: the folder has no such shard.
            StorageError: the storage cannot be reached, or refuses the request.
        """
        part = self._inside(part)
        data = self._ahead.pop(part, None)
        if data is None:
            data = self._cached(part)
        if data is None:
            self._fetch([part])
            data = self._ahead.pop(part)
        return data

    def read_ahead(self, parts: Sequence[ByteRange]) -> None:
        """Read parts that are read next, in one batch of requests; what was read ahead before is forgotten.

        Raises:
            StorageError: the storage cannot be reached, or refuses the request.
        """
        wanted = [self._inside(part) for part in dict.fromkeys(parts) if part.name in self._shards]
        self._ahead = {part: self._ahead[part] for part in wanted if part in self._ahead}
        found = {part: self._cached(part) for part in wanted if part not in self._ahead}
        self._ahead |= {part: data for part, data in found.items() if data is not None}
        self._fetch([part for part, data in found.items() if data is None])

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_ahead": {}, "_cache": None}

    def _inside(self, part: ByteRange) -> ByteRange:
        if part.name not in self._shards:
            raise FileNotFoundError(part.name)
        return part._replace(length=max(0, min(part.length, self._shards[part.name].size - part.start)))

    def _identity(self, name: str) -> str:
        """Under what parts of a shard are kept: whoever publishes a folder can state the checksum of another's shard,
        so a part is only found again by those who read the same address.
        """
        text = f"{self._folder.address}/{self._folder.relative(name)} {self._shards[name].sha256}"
        return hashlib.sha256(text.encode()).hexdigest()

    def _cached(self, part: ByteRange) -> bytes | None:
        if self._cache is None:
            self._cache = RangeCache()
        return self._cache.get(self._identity(part.name), part.start, part.length)

    def _fetch(self, parts: Sequence[ByteRange]) -> None:
        """Read parts from the storage into ``_ahead`` and the cache."""
        requests = list(_merged(parts))
        answers = read_ranges(
            self._folder, [request._replace(name=self._folder.relative(request.name)) for request, _ in requests]
        )
        for (request, inside), answer in zip(requests, answers, strict=True):
            for part in inside:
                data = answer[part.start - request.start :][: part.length]
                self._ahead[part] = data
                if self._cache is not None:
                    self._cache.put(self._identity(part.name), part.start, data)


@lru_cache(maxsize=8)
def _reader(folder: FolderUrl) -> RangeReader:
    return RangeReader(folder)


def _merged(parts: Sequence[ByteRange]) -> Iterator[tuple[ByteRange, list[ByteRange]]]:
    """Yield requests that cover the parts, each with the parts inside it."""
    inside: list[ByteRange] = []
    request: ByteRange | None = None
    for part in sorted(parts):
        end = part.start + part.length
        if request is not None and part.name == request.name:
            is_near = part.start - (request.start + request.length) <= _LARGEST_GAP
            if is_near and end - request.start <= _LARGEST_REQUEST:
                request = request._replace(length=max(request.length, end - request.start))
                inside.append(part)
                continue
        if request is not None:
            yield request, inside
        request, inside = part, [part]
    if request is not None:
        yield request, inside
