"""Reads headers in several processes; each opens files in advance, which hides the latency of slow storage."""

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

from data_prep.archive.dicom_file import is_dicom, may_lack_preamble, read_dicom
from data_prep.archive.file_facts import FileRow
from data_prep.archive.file_listing import ArchiveFile, path_text
from data_prep.archive.header_cache import HEADERS_SCHEMA
from data_prep.archive.image_file import image_kind, read_image
from data_prep.archive.settings import ReadSettings
from data_prep.bounded_reading import MAX_FILE_BYTES
from data_prep.deidentify.pseudonyms import Pseudonyms
from data_prep.errors import ArchiveError, Reason
from data_prep.runtime.library_warnings import silence_libraries
from data_prep.runtime.progress import Progress
from data_prep.runtime.worker_pool import process_count, spawn_pool

FILES_PER_TASK = 128
"""Files per task of a worker."""
_HEAD_BYTES = 2**16
"""Bytes read from each file; more than nearly every header, longer ones are read from the file."""
_MAX_FAILED_FILES = 8
"""Files of one task that may fail with a disk error before the scan is stopped."""
_TASKS_PER_WORKER = 4
"""Tasks per process that are submitted at the same time."""


class Chunk(NamedTuple):
    """Rows of consecutive files.

    Attributes:
        rows: HEADERS_SCHEMA.
        read: how many of the files were read by this scan.
    """

    rows: pa.Table
    read: int


class _Task(NamedTuple):
    files: Sequence[ArchiveFile]
    known: pa.Table
    """Rows of an earlier scan for some of the files (HEADERS_SCHEMA)."""


class _Opened(NamedTuple):
    """Status and first bytes of a file.

    Attributes:
        size: bytes.
        mtime_ns: modification time; None if the file cannot be opened.
        head: first bytes; empty if the file need not be read.
        is_unchanged: an earlier scan has the row.
        error: why the file cannot be opened.
    """

    size: int
    mtime_ns: int | None
    head: bytes = b""
    is_unchanged: bool = False
    error: OSError | None = None


def read_all_headers(
    files: Sequence[ArchiveFile], known: pa.Table, pseudonyms: Pseudonyms, settings: ReadSettings
) -> Iterator[Chunk]:
    """Read the headers of all files, in order, for any number of workers.

    Args:
        files: files of the archives.
        known: rows of earlier scans (HEADERS_SCHEMA); those of unchanged files are reused.
        pseudonyms: makes the keys.
        settings: settings for reading headers.

    Yields:
        Rows of consecutive files.

    Raises:
        ArchiveError: the disk or network fails, or a process is killed.
    """
    tasks = _tasks(files, known)
    read_task = partial(read_chunk, pseudonyms=pseudonyms, settings=settings)
    workers = process_count(settings.workers, -(-len(files) // FILES_PER_TASK))
    progress = Progress("scan", "files", len(files))
    try:
        for chunk in map(read_task, tasks) if workers == 1 else _run_in_pool(read_task, tasks, workers):
            yield chunk
            progress.add(chunk.rows.num_rows)
    finally:
        progress.close()


def _tasks(files: Sequence[ArchiveFile], known: pa.Table) -> Iterator[_Task]:
    """Files with candidate rows, found by a hash of the path; the worker compares the paths themselves."""
    batches = known.to_batches()
    starts = np.cumsum([0, *(batch.num_rows for batch in batches)])
    paths = (path for batch in batches for path in batch["path"].to_pylist())
    hashes = np.fromiter((hash(path) for path in paths), np.int64, known.num_rows)
    order = np.argsort(hashes, kind="stable")
    hashes = hashes[order]
    for start in range(0, len(files), FILES_PER_TASK):
        task_files = files[start : start + FILES_PER_TASK]
        wanted_hashes = np.array([hash(file.path) for file in task_files], dtype=np.int64)
        positions = np.minimum(np.searchsorted(hashes, wanted_hashes), max(len(hashes) - 1, 0))
        candidates = order[positions[hashes[positions] == wanted_hashes]] if len(hashes) else order
        batch_of = np.searchsorted(starts, candidates, "right") - 1
        rows = [
            batches[number].take(pa.array(candidates[batch_of == number] - starts[number]))
            for number in np.unique(batch_of)
        ]
        yield _Task(task_files, pa.Table.from_batches(rows, HEADERS_SCHEMA))


def _run_in_pool(read_task: "partial[Chunk]", tasks: Iterator[_Task], workers: int) -> Iterator[Chunk]:
    """Read tasks in spawned processes and yield their chunks in order, with a limited number of tasks in flight."""
    pool = spawn_pool(workers)
    running: deque[Future[Chunk]] = deque()
    try:
        while True:
            free = _TASKS_PER_WORKER * workers - len(running)
            running.extend(pool.submit(read_task, task) for task in islice(tasks, free))
            if not running:
                return
            yield running.popleft().result()
    except BrokenProcessPool:
        raise ArchiveError(
            "a reading process was killed, possibly for lack of memory. Run the same command with fewer workers: it"
            " continues where it stopped."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def read_chunk(task: _Task, *, pseudonyms: Pseudonyms, settings: ReadSettings) -> Chunk:
    """Read the headers of the files of a task; runs in a worker.

    A few files that fail with a disk error become rows without a film; the next scan reads them again.

    Args:
        task: files, and rows of earlier scans for them.
        pseudonyms: makes the keys.
        settings: settings for reading headers.

    Raises:
        ArchiveError: the disk or network fails for many files or for a folder; the scan would lose films.
    """
    columns = zip(*(task.known[name].to_pylist() for name in ("path", "below", "file_size", "mtime_ns")), strict=True)
    known = {path: (number, facts) for number, (path, *facts) in enumerate(columns)}
    rows: list[dict[str, Any]] = []
    order: list[int] = []
    failed_files = 0
    try:
        with silence_libraries():
            for file, opened in zip(task.files, _open_ahead(task.files, known, settings.read_ahead), strict=True):
                if opened.is_unchanged:
                    order.append(known[file.path][0])
                    continue
                order.append(task.known.num_rows + len(rows))
                _check_folder(file, opened)
                try:
                    rows.append(_row(file, opened, pseudonyms, settings))
                except OSError:
                    failed_files += 1
                    if failed_files > _MAX_FAILED_FILES:
                        raise
                    rows.append(_row(file, _Opened(0, None, error=FileNotFoundError()), pseudonyms, settings))
    except OSError as error:
        raise ArchiveError(
            f"the archive cannot be read ({error.strerror}). Run the same command again: it continues where it stopped."
        ) from None
    new_rows = pa.Table.from_pylist(rows, HEADERS_SCHEMA)
    if not task.known.num_rows:
        return Chunk(new_rows, len(rows))
    return Chunk(pa.concat_tables([task.known, new_rows]).take(pa.array(order)), len(rows))


def _check_folder(file: ArchiveFile, opened: _Opened) -> None:
    """Distinguish a deleted file from an archive that is no longer mounted.

    Raises:
        FileNotFoundError: the folder of the file does not exist either.
    """
    if isinstance(opened.error, FileNotFoundError) and not Path(file.path).parent.is_dir():
        raise opened.error


@lru_cache(1)
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count)


def _open_ahead(files: Sequence[ArchiveFile], known: dict[str, tuple[int, list[Any]]], ahead: int) -> Iterator[_Opened]:
    """Open the files in order, ``ahead`` of them at the same time."""
    open_file = partial(_open, known=known)
    if ahead == 1:
        yield from map(open_file, files)
        return
    pending: deque[Future[_Opened]] = deque()
    remaining_files = iter(files)
    while True:
        free = 2 * ahead - len(pending)
        pending.extend(_threads(ahead).submit(open_file, file) for file in islice(remaining_files, free))
        if not pending:
            return
        yield pending.popleft().result()


def _open(file: ArchiveFile, known: dict[str, tuple[int, list[Any]]]) -> _Opened:
    try:
        if file.is_hidden:
            status = Path(file.path).stat()
            return _Opened(status.st_size, status.st_mtime_ns)
        if file.path in known:
            status = Path(file.path).stat()
            if known[file.path][1] == [file.below, status.st_size, status.st_mtime_ns]:
                return _Opened(status.st_size, status.st_mtime_ns, is_unchanged=True)
        descriptor = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            return _Opened(status.st_size, status.st_mtime_ns, os.read(descriptor, _HEAD_BYTES))
        finally:
            os.close(descriptor)
    except OSError as error:
        return _Opened(0, None, error=error)


def read_header(file: ArchiveFile, pseudonyms: Pseudonyms, settings: ReadSettings) -> FileRow:
    """Read the header of one file, without the rows of an earlier scan.

    Args:
        file: the file.
        pseudonyms: makes the keys.
        settings: settings for reading headers.

    Raises:
        OSError: the disk fails.
    """
    with silence_libraries():
        return _read(file, _open(file, {}), pseudonyms, settings)


def _row(file: ArchiveFile, opened: _Opened, pseudonyms: Pseudonyms, settings: ReadSettings) -> dict[str, Any]:
    row = _read(file, opened, pseudonyms, settings)
    return {
        "path": path_text(file.path),
        "below": path_text(file.below),
        "file_size": opened.size,
        "mtime_ns": opened.mtime_ns,
        "source": row.source,
        "reason": row.reason,
        **row.facts,
    }


def _read(file: ArchiveFile, opened: _Opened, pseudonyms: Pseudonyms, settings: ReadSettings) -> FileRow:
    if file.is_hidden:
        return FileRow("other", Reason.HIDDEN)
    try:
        if opened.error is not None:
            raise opened.error
        return _read_film(file, opened, pseudonyms, settings) or FileRow("other", Reason.NOT_A_FILM)
    except (PermissionError, FileNotFoundError):
        return FileRow("other", Reason.UNREADABLE_HEADER)


def _read_film(file: ArchiveFile, opened: _Opened, pseudonyms: Pseudonyms, settings: ReadSettings) -> FileRow | None:
    """The row of a film; None for other files."""
    path, head = Path(file.path), opened.head
    kind = image_kind(head)
    if kind is None and not is_dicom(head) and not may_lack_preamble(head):
        return None
    if opened.size > MAX_FILE_BYTES:
        return FileRow(kind or "dicom", Reason.TOO_LARGE)
    if kind is not None:
        return read_image(path, file.below, kind, head, pseudonyms, settings)
    return read_dicom(path, head, opened.size, pseudonyms)
