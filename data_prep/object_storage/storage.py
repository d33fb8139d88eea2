"""Requests to object storage through fsspec, repeated while it cannot be reached.

Endpoints and credentials are found by the libraries of each storage: the environment, their own files, the role of the
machine. None passes through this project. fsspec is imported at the first request for a URL.
"""

import logging
import os
import random
import re
import time
from collections.abc import Callable, Sequence
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from data_prep.bounded_reading import MAX_CARD_BYTES
from data_prep.errors import StorageError
from data_prep.folder_url import FolderUrl

PATIENCE = "MAE_RAD_STORAGE_SECONDS"
"""Environment variable: seconds for which a request is repeated before the command ends (default: 300)."""

_log = logging.getLogger(__name__)
T = TypeVar("T")

_FIRST_WAIT, _LONGEST_WAIT = 0.25, 15.0
"""Seconds before a request is repeated; doubled each time."""
_READ_BYTES = 2**20
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")
_SAID_AFTER = 3
"""Failures of one request after which a line is logged."""
_REFUSALS = frozenset({"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "DefaultCredentialsError"})
"""Names of errors that a repetition does not mend; the libraries that define them may not be installed."""
_REFUSED_STATUS = frozenset({400, 401, 403, 405, 410, 416})
_OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {"config_kwargs": {"connect_timeout": 5, "read_timeout": 20, "retries": {"total_max_attempts": 1}}},
    "file": {"auto_mkdir": True},
}


class ByteRange(NamedTuple):
    """A part of a file.

    Attributes:
        name: name of the file, relative to the published folder.
        start: first byte.
        length: number of bytes.
    """

    name: str
    start: int
    length: int


def read_ranges(folder: FolderUrl, ranges: Sequence[ByteRange]) -> list[bytes]:
    """Read parts of files in one batch of concurrent requests; parts that fail are asked for again.

    Args:
        folder: published folder.
        ranges: parts that lie inside their files.

    Raises:
        StorageError: the storage cannot be reached, refuses the request, or has no such file.
    """
    found: dict[ByteRange, bytes] = {}

    def request() -> list[bytes]:
        missing = [part for part in dict.fromkeys(ranges) if part not in found]
        failure: Exception | None = None
        answers = _file_system(folder).cat_ranges(
            [_location(folder, part.name) for part in missing],
            [part.start for part in missing],
            [part.start + part.length for part in missing],
            on_error="return",
        )
        for part, answer in zip(missing, answers, strict=True):
            if isinstance(answer, bytes) and len(answer) == part.length:
                found[part] = answer
            elif isinstance(answer, Exception):
                failure = answer
            elif len(answer) > part.length:
                raise StorageError(f"{folder} sends whole files where parts are asked for. Use a server with ranges.")
            else:
                failure = OSError("short read")
        if failure is not None:
            raise failure
        return [found[part] for part in ranges]

    try:
        return persist(request, folder)
    except FileNotFoundError:
        raise StorageError(f"{folder} lacks a file that it lists. Publish it again with: mae-rad publish") from None


def read_file(folder: FolderUrl, name: str, most: int) -> bytes:
    """Read a whole file.

    Args:
        folder: published folder.
        name: name of the file, relative to it.
        most: largest size in bytes; whoever answers the request may send any number of them.

    Raises:
        FileNotFoundError: there is no such file.
        StorageError: the storage cannot be reached, refuses the request, or sends more than ``most``.
    """

    def request() -> bytes:
        data = bytearray()
        # Blocks of 0 bytes: what a web server sends is read as it comes, and nothing is read ahead.
        options = {"block_size": 0} if folder.scheme in {"http", "https"} else {}
        with _file_system(folder).open(_location(folder, name), "rb", **options) as file:
            while part := file.read(_READ_BYTES):
                data += part
                if len(data) > most:
                    raise StorageError(f"{folder} sends more for {name} than such a file may have. Do not use it")
        return bytes(data)

    return persist(request, folder)


def write_file(folder: FolderUrl, name: str, source: Path | bytes) -> None:
    """Write a file and check its size; an existing one is replaced.

    Args:
        folder: published folder.
        name: name of the file, relative to it.
        source: content, or the file that holds it.

    Raises:
        StorageError: the storage cannot be reached, or refuses the request.
    """
    place = _location(folder, name)
    size = len(source) if isinstance(source, bytes) else source.stat().st_size

    def request() -> None:
        system = _file_system(folder)
        if isinstance(source, bytes):
            system.pipe_file(place, source)
        else:
            system.put_file(str(source), place)
        system.invalidate_cache()
        if system.info(place)["size"] != size:
            raise OSError("the size differs")

    persist(request, folder)


def remove_file(folder: FolderUrl, name: str) -> None:
    """Remove a file, if it exists."""

    def request() -> None:
        system = _file_system(folder)
        system.invalidate_cache()
        if system.exists(_location(folder, name)):
            system.rm_file(_location(folder, name))

    persist(request, folder)


def persist(request: Callable[[], T], folder: FolderUrl) -> T:
    """Make a request, again and again while the storage cannot be reached.

    Args:
        request: called without arguments until it does not raise.
        folder: what it is about, for the messages.

    Raises:
        FileNotFoundError: there is no such file.
        StorageError: the storage refuses the request, or could not be reached for as long as PATIENCE says.
    """
    patience = float(os.environ.get(PATIENCE, "300"))
    start = time.monotonic()
    for attempt in count():
        try:
            return request()
        except (FileNotFoundError, StorageError):
            raise
        except ImportError:
            raise StorageError(f"{folder.scheme}:// needs the cloud extra: pip install 'mae_rad[cloud]'") from None
        except Exception as error:  # each library raises its own kinds; their texts may quote a signed URL
            name = type(error).__name__
            if _is_refusal(error):
                raise StorageError(
                    f"{folder} refuses the request ({name}). Check the address, and the credentials in the environment"
                ) from None
            wait = min(_FIRST_WAIT * 2**attempt, _LONGEST_WAIT) * random.uniform(0.5, 1)
            waited = time.monotonic() - start
            if waited + wait > patience:
                raise StorageError(
                    f"{folder} cannot be reached for {waited:.0f} s ({name}). Run the same command when it can be; "
                    f"{PATIENCE} sets how long to wait"
                ) from None
            if attempt + 1 == _SAID_AFTER:
                _log.warning("%s cannot be reached (%s); trying again for up to %.0f s", folder, name, patience)
            time.sleep(wait)
    raise AssertionError("the loop above does not end")


def _is_refusal(error: Exception) -> bool:
    if isinstance(error, PermissionError | ValueError | NotImplementedError) or type(error).__name__ in _REFUSALS:
        return True
    return getattr(error, "status", None) in _REFUSED_STATUS  # of aiohttp


def _file_system(folder: FolderUrl) -> Any:
    """File system of fsspec, one per process: its connections do not survive a fork, and fsspec makes new ones."""
    import fsspec  # noqa: PLC0415 - only what reads a URL needs it

    options = _OPTIONS.get(folder.scheme, {})
    if folder.scheme in {"http", "https"}:
        options = {"client_kwargs": _web_options()}
    return fsspec.filesystem(folder.scheme, **options)


@cache
def _web_options() -> dict[str, Any]:
    """Options of the sessions of aiohttp: time limits, and no more bytes than were asked for."""
    from aiohttp import ClientResponse, ClientTimeout  # noqa: PLC0415

    class BoundedResponse(ClientResponse):
        async def read(self) -> bytes:
            if self._body is None:
                wanted = _RANGE.fullmatch(self.request_info.headers.get("Range", ""))
                most = int(wanted[2]) - int(wanted[1]) + 1 if wanted else MAX_CARD_BYTES
                data = bytearray()
                async for chunk in self.content.iter_chunked(_READ_BYTES):
                    data += chunk
                    if len(data) > most:
                        self.close()
                        break
                self._body = bytes(data[: most + 1])
            return self._body

    return {"timeout": ClientTimeout(sock_connect=5, sock_read=20), "response_class": BoundedResponse}


def _location(folder: FolderUrl, name: str) -> str:
    if not folder.is_complete:
        raise StorageError(f"the signature of {folder} is not recorded. Give the whole URL again")
    address = f"{folder.address}/{name}"
    if folder.scheme in {"http", "https"}:
        return f"{address}?{folder.query}" if folder.query else address
    return address.removeprefix(f"{folder.scheme}://")
