"""Writing one shard: decode its files, write tar, index and card; atomic, with the same bytes for the same inputs."""

import errno
import hashlib
import io
import logging
import os
import tarfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from data_prep.archive.pixel_digests import DIGESTS_SCHEMA, write_digests
from data_prep.archive.same_film import is_film_of_scan
from data_prep.bounded_reading import MAX_FILE_BYTES, open_regular
from data_prep.errors import FilmReject, Reason
from data_prep.film.sample import Facts, Sample, decode_file, make_sample
from data_prep.planning.shard_task import ShardTask
from data_prep.runtime.atomic_write import atomic_file, canonical_json
from data_prep.runtime.decode_process import Watch
from data_prep.shard_format.dataset_card import ShardCard
from data_prep.shard_format.film_codec import codec_of
from data_prep.shard_format.folder_layout import FILM_SUFFIXES, SIDECAR_SUFFIX
from data_prep.shard_format.frame_key import frame_key
from data_prep.shard_format.index_schema import INDEX_SCHEMA
from data_prep.shard_format.parquet_bytes import encode_parquet

_log = logging.getLogger(__name__)

Reject = tuple[int, Reason]
"""(row of the manifest, reason)."""

UNAVAILABLE = frozenset({Reason.UNREADABLE_FILE, Reason.CHANGED_SINCE_SCAN})
"""Reasons for which a file is missing, or is not the file that was scanned."""

_COPY_BUFFER_BYTES = 2**24
"""Large enough to write a film in one piece."""


@dataclass(frozen=True)
class Unfinished:
    """A shard that was not written.

    Attributes:
        shard: its name.
        failed: files that could not be read or decoded; empty: the process was killed.
    """

    shard: str
    failed: tuple[Reject, ...]


class _NoWatch:
    def begins(self, file: int) -> None:
        """Do nothing."""

    def ends(self, films: int, refused: int) -> None:
        """Do nothing."""


class _FileError(Exception):
    """A file could not be read or decoded; another try may succeed."""

    def __init__(self, row: int, reason: Reason) -> None:
        super().__init__(row, reason)
        self.failed = ((row, reason),)


def write_shard(task: ShardTask, public: Path, watch: Watch | None = None) -> ShardCard | Unfinished:
    """Write ``<name>.tar``, ``.parquet`` and, last, ``.json`` into ``public``.

    Args:
        task: the shard.
        public: an existing folder.
        watch: receives the row of every file that is read.

    Returns:
        The card of the shard, or the files that failed.

    Raises:
        OSError: the folder cannot be written.
    """
    watch = watch or _NoWatch()
    if failed := _changed_files(task, watch):
        return Unfinished(task.name, failed)
    (public / f"{task.name}.json").unlink(missing_ok=True)  # so that no card of other inputs stands next to the new tar
    rejects: list[Reject] = []
    tar_name = f"{task.name}.tar"
    rows: list[dict[str, Any]] = []
    digests: list[dict[str, Any]] = []
    try:
        with atomic_file(public / tar_name) as file:
            tar_file = _HashingFile(file)
            written = _write_samples(task, rejects, watch, tar_file, digests)
            rows.extend(row | {"shard": tar_name} for row in written)
    except _FileError as error:
        (row, reason), *_ = error.failed
        return Unfinished(task.name, error.failed + (_unreadable(task, row, watch) if reason in UNAVAILABLE else ()))
    if task.digests is not None:
        write_digests(Path(task.digests), pa.Table.from_pylist(digests, schema=DIGESTS_SCHEMA))
    index = encode_parquet(pa.Table.from_pylist(rows, schema=INDEX_SCHEMA))
    with atomic_file(public / f"{task.name}.parquet") as file:
        file.write(index)
    card = ShardCard(
        shard=task.name,
        config_sha256=task.config_sha256,
        inputs_sha256=task.inputs_sha256,
        tar_sha256=tar_file.digest.hexdigest(),
        tar_size=tar_file.size,
        index_sha256=hashlib.sha256(index).hexdigest(),
        films=len(rows),
        rejects=[(row, reason.value) for row, reason in sorted(rejects)],
    )
    with atomic_file(public / f"{task.name}.json") as file:
        file.write(canonical_json(card.model_dump(mode="json")))
    return card


class _HashingFile:
    """A write-only file that computes the SHA-256 and size of what is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.size += len(data)
        return self._file.write(data)

    def tell(self) -> int:
        return self.size


def _changed_files(task: ShardTask, watch: Watch) -> tuple[Reject, ...]:
    """The files that are missing, or whose size or time has changed since the scan."""
    failed: list[Reject] = []
    for path, facts in task.files:
        if facts["row"] in task.not_tried:
            continue
        watch.begins(facts["row"])  # stat() can block on a network disk that does not respond
        try:
            _check_unchanged(Path(path).stat(), facts)
        except _FileError as error:
            failed += error.failed
        except OSError:
            failed.append((facts["row"], Reason.UNREADABLE_FILE))
    watch.ends(0, 0)
    return tuple(failed)


def _unreadable(task: ShardTask, after: int, watch: Watch) -> tuple[Reject, ...]:
    """The files after the one of row ``after`` that cannot be read either, so that one message lists all of them."""
    failed: list[Reject] = []
    rows = [facts["row"] for _, facts in task.files]
    for path, facts in task.files[rows.index(after) + 1 :]:
        if facts["row"] in task.not_tried:
            continue
        watch.begins(facts["row"])
        try:
            _read(path, facts)
        except _FileError as error:
            failed += error.failed
        except (FilmReject, MemoryError):  # no failure of the disk
            continue
        except OSError:
            failed.append((facts["row"], Reason.UNREADABLE_FILE))
    return tuple(failed)


def _check_unchanged(status: os.stat_result, facts: Facts) -> None:
    if status.st_size != facts["file_size"] or facts.get("mtime_ns") not in (None, status.st_mtime_ns):
        raise _FileError(facts["row"], Reason.CHANGED_SINCE_SCAN)


def _write_samples(
    task: ShardTask, rejects: list[Reject], watch: Watch, file: _HashingFile, digests: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Write the tar and yield the rows of the index, without the name of the shard; add to ``rejects``, ``digests``."""
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:  # type: ignore[call-overload]
        tar.copybufsize = _COPY_BUFFER_BYTES
        for _, unit in groupby(task.files, key=lambda item: item[1]["key"]):
            samples, rejected = _read_unit(list(unit), task, watch)
            watch.ends(bool(samples), len(rejected))
            rejects += rejected
            for sample in samples:
                if task.digests is not None:
                    digests.append({name: sample.index_row()[name] for name in DIGESTS_SCHEMA.names})
                public = sample if task.digests is None else sample.without_digests()
                yield public.index_row() | _add_members(tar, public)


def _add_members(tar: tarfile.TarFile, sample: Sample) -> dict[str, int]:
    """Append the two members of a sample to the tar; the index columns with their offsets and sizes in bytes."""
    sidecar = canonical_json(sample.sidecar.model_dump(mode="json"))
    location: dict[str, int] = {}
    for kind, suffix, data in (
        ("film", FILM_SUFFIXES[codec_of(sample.film)], sample.film),
        ("sidecar", SIDECAR_SUFFIX, sidecar),
    ):
        member = tarfile.TarInfo(f"{sample.sidecar.key}.{suffix}")  # mtime, owner and group are 0
        member.size, member.mode = len(data), 0o644
        location |= {f"{kind}_offset": tar.offset + tarfile.BLOCKSIZE, f"{kind}_size": len(data)}
        tar.addfile(member, io.BytesIO(data))
    return location


def _read_unit(unit: list[tuple[str, Facts]], task: ShardTask, watch: Watch) -> tuple[list[Sample], list[Reject]]:
    """Read the files of one key: (samples of the first readable file, rejected files).

    Files with equal samples are duplicates, of which the first is taken. Where files of one SOP Instance UID have
    different samples, none is taken. A film that another shard already holds stays there.
    """
    rejects: list[Reject] = []
    first_samples: list[Sample] = []
    fingerprints: list[tuple[int, str]] = []  # (row, fingerprint of everything that would enter the shard)
    for path, facts in unit:
        row = facts["row"]
        if row in task.not_tried:
            rejects.append((row, task.not_tried[row]))
            continue
        try:
            samples = _read_samples(path, facts, task, watch)
        except FilmReject as reject:
            rejects.append((row, reject.reason))
            continue
        fingerprints.append((row, "".join(sample.fingerprint for sample in samples)))
        first_samples = first_samples or samples
    if not first_samples:
        return [], rejects
    written = task.written.get(unit[0][1]["key"])
    pixels = " ".join(str(sample.sidecar.pixel_sha256) for sample in first_samples)
    if len({fingerprint for _, fingerprint in fingerprints}) > 1 or written not in (None, pixels):
        return [], rejects + [(row, Reason.UID_CONFLICT) for row, _ in fingerprints]
    duplicates = [(row, Reason.DUPLICATE) for row, _ in (fingerprints if written else fingerprints[1:])]
    return [] if written else first_samples, rejects + duplicates


def _read_samples(path: str, facts: Facts, task: ShardTask, watch: Watch) -> list[Sample]:
    """Decode a file: one sample per frame. A file with one rejected frame is rejected as a whole.

    Raises:
        FilmReject: the file is no film.
        _FileError: the file could not be read or decoded; another try may succeed.
    """
    row, samples = facts["row"], []
    frames = facts.get("frames") or 1
    watch.begins(row)
    try:
        data = _read(path, facts)
    except OSError:
        raise _FileError(row, Reason.UNREADABLE_FILE) from None
    except MemoryError:
        raise _FileError(row, Reason.DECODER_CRASHED) from None
    if not is_film_of_scan(data, facts):
        raise _FileError(row, Reason.CHANGED_SINCE_SCAN)
    with _errors_reject_file(row):
        for frame in range(frames):  # the time of a file is that of all its frames
            of_frame = facts if frames == 1 else {**facts, "key": frame_key(facts["key"], frame), "frame": frame}
            samples.append(
                make_sample(
                    decode_file(data, of_frame),
                    of_frame,
                    split=task.split,
                    max_side=task.max_side,
                    min_short_side=task.min_short_side,
                    codec=task.codec,
                    reject_empty=task.reject_empty,
                )
            )
    return samples


@contextmanager
def _errors_reject_file(row: int) -> Iterator[None]:
    """Turn any unexpected error into the failure of one file, so that it does not end a run of days."""
    try:
        yield
    except FilmReject:
        raise
    except Exception as error:
        if not isinstance(error, MemoryError):
            _log.warning("manifest row %d: %s", row, describe_error(error))
        raise _FileError(row, Reason.DECODER_CRASHED) from None


def describe_error(error: Exception) -> str:
    """Type and place of an error, without its message, which may quote a header."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(frame.filename).name}:{frame.lineno}"


def _read(path: str, facts: Facts) -> bytes:
    """Read a whole file.

    Raises:
        FilmReject: it is too large.
        OSError: the file cannot be read completely.
        _FileError: it is not the file that was scanned.
    """
    if facts["file_size"] > MAX_FILE_BYTES:
        raise FilmReject(Reason.TOO_LARGE)
    with open_regular(path, buffering=0) as file:
        _check_unchanged(os.fstat(file.fileno()), facts)
        data = file.read(facts["file_size"] + 1)
        _check_unchanged(os.fstat(file.fileno()), facts)
    if len(data) != facts["file_size"]:
        raise OSError(errno.EIO, "not all of the file could be read")
    return data
