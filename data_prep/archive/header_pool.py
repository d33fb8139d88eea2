"""Processes that read headers. Each opens some files ahead of their turn, which hides the latency of slow storage."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from data_prep.archive.dicom_file import is_dicom, may_be_bare, read_dicom
from data_prep.archive.file_facts import FileRow
from data_prep.archive.file_listing import ArchiveFile
from data_prep.archive.header_cache import HEADERS_SCHEMA
from data_prep.archive.image_file import image_kind, read_image
from data_prep.archive.settings import ReadSettings
from data_prep.deidentify.pseudonyms import Pseudonyms
from data_prep.errors import ArchiveError, Reason
from data_prep.runtime.library_warnings import quiet
from data_prep.runtime.progress import Progress
from data_prep.runtime.worker_pool import process_count, spawn_pool

CHUNK = 128
"""Files per task of a worker."""
_HEAD_BYTES = 2**16
"""Holds nearly every header; what is longer is read from the file."""
_FEW = 8
"""Files of a task that the disk may fail to give."""
_AHEAD = 4
"""Tasks per process that wait while others run."""


class Chunk(NamedTuple):
    """Rows of consecutive files (HEADERS_SCHEMA), and how many of them were read now."""

    rows: pa.Table
    read: int


class _Task(NamedTuple):
    files: Sequence[ArchiveFile]
    known: pa.Table
    """Rows of an earlier scan for some of the files."""


class _Opened(NamedTuple):
    """What the disk says of a file.

    Attributes:
        size: bytes.
        mtime_ns: when it was changed; None where it cannot be asked.
        head: its beginning; empty where nothing is to be read.
        unchanged: an earlier scan knows the row.
        error: why it cannot be opened.
    """

    size: int
    mtime_ns: int | None
    head: bytes = b""
    unchanged: bool = False
    error: OSError | None = None


def read_all(
    files: Sequence[ArchiveFile], known: pa.Table, pseudonyms: Pseudonyms, settings: ReadSettings
) -> Iterator[Chunk]:
    """Rows of all files, in their order, whatever the number of workers.

    Args:
        files: of the archives.
        known: rows of earlier scans; those of unchanged files are used again.
        pseudonyms: makes the keys.
        settings: how headers are read.

    Raises:
        ArchiveError: the disk or network fails, or a process is killed.
    """
    tasks = _tasks(files, known)
    work = partial(read_chunk, pseudonyms=pseudonyms, settings=settings)
    workers = process_count(settings.workers, -(-len(files) // CHUNK))
    progress = Progress("scan", "files", len(files))
    try:
        for chunk in map(work, tasks) if workers == 1 else _spread(work, tasks, workers):
            yield chunk
            progress.add(chunk.rows.num_rows)
    finally:
        progress.close()


def _tasks(files: Sequence[ArchiveFile], known: pa.Table) -> Iterator[_Task]:
    """Files with the rows that may be theirs, found by a hash of the path: the worker compares the paths themselves."""
    batches = known.to_batches()
    starts = np.cumsum([0, *(batch.num_rows for batch in batches)])
    paths = (path for batch in batches for path in batch["path"].to_pylist())
    hashes = np.fromiter((hash(path) for path in paths), np.int64, known.num_rows)
    order = np.argsort(hashes, kind="stable")
    hashes = hashes[order]
    for start in range(0, len(files), CHUNK):
        part = files[start : start + CHUNK]
        wanted = np.array([hash(file.path) for file in part], dtype=np.int64)
        places = np.minimum(np.searchsorted(hashes, wanted), max(len(hashes) - 1, 0))
        found = order[places[hashes[places] == wanted]] if len(hashes) else order
        batch_of = np.searchsorted(starts, found, "right") - 1
        rows = [
            batches[number].take(pa.array(found[batch_of == number] - starts[number])) for number in np.unique(batch_of)
        ]
        yield _Task(part, pa.Table.from_batches(rows, HEADERS_SCHEMA))


def _spread(work: "partial[Chunk]", tasks: Iterator[_Task], workers: int) -> Iterator[Chunk]:
    """Chunks in order, by spawned processes, with few tasks in flight."""
    pool = spawn_pool(workers)
    running: deque[Future[Chunk]] = deque()
    try:
        while True:
            running.extend(pool.submit(work, task) for task in islice(tasks, _AHEAD * workers - len(running)))
            if not running:
                return
            yield running.popleft().result()
    except BrokenProcessPool:
        raise ArchiveError(
            "a reading process was killed; is memory short? Run the same command with fewer workers: it goes on"
            " where it was"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def read_chunk(task: _Task, *, pseudonyms: Pseudonyms, settings: ReadSettings) -> Chunk:
    """Rows of the files of a task; runs in a worker.

    Some files that the disk cannot give are rows without a film, to be read again by the next scan.

    Raises:
        ArchiveError: the disk or network fails; such a scan would lose films that are there.
    """
    names = zip(*(task.known[name].to_pylist() for name in ("path", "below", "file_size", "mtime_ns")), strict=True)
    known = {path: (number, facts) for number, (path, *facts) in enumerate(names)}
    rows: list[dict[str, Any]] = []
    order: list[int] = []
    bad = 0
    try:
        with quiet():
            for file, opened in zip(task.files, _opened(task.files, known, settings.read_ahead), strict=True):
                if opened.unchanged:
                    order.append(known[file.path][0])
                    continue
                order.append(task.known.num_rows + len(rows))
                _check_folder(file, opened)
                try:
                    rows.append(_row(file, opened, pseudonyms, settings))
                except OSError:
                    bad += 1
                    if bad > _FEW:
                        raise
                    rows.append(_row(file, _Opened(0, None, error=FileNotFoundError()), pseudonyms, settings))
    except OSError as error:
        raise ArchiveError(
            f"the archive cannot be read ({error.strerror}); run the same command again: it goes on where it was"
        ) from None
    fresh = pa.Table.from_pylist(rows, HEADERS_SCHEMA)
    if not task.known.num_rows:
        return Chunk(fresh, len(rows))
    return Chunk(pa.concat_tables([task.known, fresh]).take(pa.array(order)), len(rows))


def _check_folder(file: ArchiveFile, opened: _Opened) -> None:
    """Tell a file that was deleted from an archive that is no longer mounted.

    Raises:
        FileNotFoundError: the folder has gone with its file.
    """
    if isinstance(opened.error, FileNotFoundError) and not Path(file.path).parent.is_dir():
        raise opened.error


@lru_cache(1)
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count)


def _opened(files: Sequence[ArchiveFile], known: dict[str, tuple[int, list[Any]]], ahead: int) -> Iterator[_Opened]:
    """Every file in order, some of them ahead of their time."""
    work = partial(_open, known=known)
    if ahead == 1:
        yield from map(work, files)
        return
    waiting: deque[Future[_Opened]] = deque()
    rest = iter(files)
    while True:
        waiting.extend(_threads(ahead).submit(work, file) for file in islice(rest, 2 * ahead - len(waiting)))
        if not waiting:
            return
        yield waiting.popleft().result()


def _open(file: ArchiveFile, known: dict[str, tuple[int, list[Any]]]) -> _Opened:
    try:
        if file.hidden or not file.nameable:
            told = Path(file.path).stat()
            return _Opened(told.st_size, told.st_mtime_ns)
        if file.path in known:
            told = Path(file.path).stat()
            if known[file.path][1] == [file.below, told.st_size, told.st_mtime_ns]:
                return _Opened(told.st_size, told.st_mtime_ns, unchanged=True)
        descriptor = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            told = os.fstat(descriptor)
            return _Opened(told.st_size, told.st_mtime_ns, os.read(descriptor, _HEAD_BYTES))
        finally:
            os.close(descriptor)
    except OSError as error:
        return _Opened(0, None, error=error)


def read_header(file: ArchiveFile, pseudonyms: Pseudonyms, settings: ReadSettings) -> FileRow:
    """What is found out about one file, whatever an earlier scan knows.

    Raises:
        OSError: the disk fails.
    """
    with quiet():
        return _read(file, _open(file, {}), pseudonyms, settings)


def _row(file: ArchiveFile, opened: _Opened, pseudonyms: Pseudonyms, settings: ReadSettings) -> dict[str, Any]:
    row = _read(file, opened, pseudonyms, settings)
    return {
        "path": file.path.encode("utf-8", "backslashreplace").decode(),
        "below": file.below.encode("utf-8", "backslashreplace").decode(),
        "file_size": opened.size,
        "mtime_ns": opened.mtime_ns,
        "source": row.source,
        "reason": row.reason,
        **row.facts,
    }


def _read(file: ArchiveFile, opened: _Opened, pseudonyms: Pseudonyms, settings: ReadSettings) -> FileRow:
    if file.hidden:
        return FileRow("other", Reason.NOT_A_FILM)
    if not file.nameable:
        return FileRow("other", Reason.UNREADABLE_HEADER)
    path, head = Path(file.path), opened.head
    try:
        if opened.error is not None:
            raise opened.error
        if (kind := image_kind(head)) is not None:
            return read_image(path, file.below, kind, head, pseudonyms, settings)
        if is_dicom(head) or may_be_bare(head):
            return read_dicom(path, head, opened.size, pseudonyms, settings)
    except (PermissionError, FileNotFoundError):
        return FileRow("other", Reason.UNREADABLE_HEADER)
    return FileRow("other", Reason.NOT_A_FILM)
