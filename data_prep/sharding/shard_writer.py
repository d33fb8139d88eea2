"""One shard: decode its files, write tar, index and card. Atomic, idempotent, the same bytes from the same inputs."""

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
from data_prep.shard_format.parquet_bytes import index_bytes

_log = logging.getLogger(__name__)

Reject = tuple[int, Reason]
"""(row of the manifest, reason)."""

LOST = frozenset({Reason.UNREADABLE_FILE, Reason.CHANGED_SINCE_SCAN})
"""Reasons for which a file is not there, or not as it was."""

_COPIED_AT_ONCE = 2**24
"""Bytes: a film goes into the tar in one piece."""


@dataclass(frozen=True)
class Unfinished:
    """A shard that was not written, with the files that this time could not be had; none: its process was killed."""

    shard: str
    failed: tuple[Reject, ...]


class _Unwatched:
    def begins(self, file: int) -> None:
        """Nothing is counted."""

    def ends(self, films: int, refused: int) -> None:
        """Nothing is counted."""


class _TransientError(Exception):
    """A file could not be read or decoded this time."""

    def __init__(self, row: int, reason: Reason) -> None:
        super().__init__(row, reason)
        self.failed = ((row, reason),)


def write_shard(task: ShardTask, public: Path, watch: Watch | None = None) -> ShardCard | Unfinished:
    """Write ``<name>.tar``, ``.parquet`` and, last, ``.json`` into ``public``.

    Args:
        task: what to write.
        public: an existing folder.
        watch: is informed of every file, by its row of the manifest.

    Raises:
        OSError: the folder cannot be written.
    """
    watch = watch or _Unwatched()
    if failed := _missing(task, watch):
        return Unfinished(task.name, failed)
    (public / f"{task.name}.json").unlink(missing_ok=True)  # a card of other inputs must not vouch for the new tar
    rejects: list[Reject] = []
    tar_name = f"{task.name}.tar"
    rows: list[dict[str, Any]] = []
    try:
        with atomic_file(public / tar_name) as file:
            tar_file = _Digesting(file)
            rows.extend(row | {"shard": tar_name} for row in _samples(task, rejects, watch, tar_file))
    except _TransientError as error:
        (row, reason), *_ = error.failed
        return Unfinished(task.name, error.failed + (_unreadable(task, row, watch) if reason in LOST else ()))
    index = index_bytes(pa.Table.from_pylist(rows, schema=INDEX_SCHEMA))
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


class _Digesting:
    """A file that only grows, with the SHA-256 and size of all that was written."""

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


def _missing(task: ShardTask, watch: Watch) -> tuple[Reject, ...]:
    """The files that are not there, and those that have another size or time than when they were scanned."""
    failed: list[Reject] = []
    for path, facts in task.files:
        if facts["row"] in task.verdicts:
            continue
        watch.begins(facts["row"])  # a dead network disk may not even tell the size
        try:
            _check_unchanged(Path(path).stat(), facts)
        except _TransientError as error:
            failed += error.failed
        except OSError:
            failed.append((facts["row"], Reason.UNREADABLE_FILE))
    watch.ends(0, 0)
    return tuple(failed)


def _unreadable(task: ShardTask, after: int, watch: Watch) -> tuple[Reject, ...]:
    """Which files behind the one of row ``after`` cannot be read either: told all at once, not one by one."""
    failed: list[Reject] = []
    rows = [facts["row"] for _, facts in task.files]
    for path, facts in task.files[rows.index(after) + 1 :]:
        if facts["row"] in task.verdicts:
            continue
        watch.begins(facts["row"])
        try:
            _read(path, facts)
        except _TransientError as error:
            failed += error.failed
        except OSError:
            failed.append((facts["row"], Reason.UNREADABLE_FILE))
    return tuple(failed)


def _check_unchanged(told: os.stat_result, facts: Facts) -> None:
    if told.st_size != facts["file_size"] or facts.get("mtime_ns") not in (None, told.st_mtime_ns):
        raise _TransientError(facts["row"], Reason.CHANGED_SINCE_SCAN)


def _samples(task: ShardTask, rejects: list[Reject], watch: Watch, file: _Digesting) -> Iterator[dict[str, Any]]:
    """Write the tar; rows of the index, without the shard's name."""
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:  # type: ignore[call-overload]
        tar.copybufsize = _COPIED_AT_ONCE
        for _, unit in groupby(task.files, key=lambda item: item[1]["key"]):
            samples, refused = _one_file(list(unit), task, watch)
            watch.ends(bool(samples), len(refused))
            rejects += refused
            for sample in samples:
                yield sample.index_row() | _add(tar, sample)


def _add(tar: tarfile.TarFile, sample: Sample) -> dict[str, int]:
    """Append the two members of a sample; where their bytes lie."""
    sidecar = canonical_json(sample.sidecar.model_dump(mode="json"))
    place: dict[str, int] = {}
    for kind, suffix, data in (
        ("film", FILM_SUFFIXES[codec_of(sample.film)], sample.film),
        ("sidecar", SIDECAR_SUFFIX, sidecar),
    ):
        member = tarfile.TarInfo(f"{sample.sidecar.key}.{suffix}")  # mtime, owner and group are 0
        member.size, member.mode = len(data), 0o644
        place |= {f"{kind}_offset": tar.offset + tarfile.BLOCKSIZE, f"{kind}_size": len(data)}
        tar.addfile(member, io.BytesIO(data))
    return place


def _one_file(unit: list[tuple[str, Facts]], task: ShardTask, watch: Watch) -> tuple[list[Sample], list[Reject]]:
    """The samples of the first of the files with one key, and the files that are not taken.

    Files that give equal samples are one, of which the first is taken; different ones under one SOP Instance UID
    cannot both be right, and none is taken. A film that another shard holds already stays there.
    """
    rejects: list[Reject] = []
    taken: list[Sample] = []
    alike: list[tuple[int, str]] = []  # (row, what would enter the shard)
    for path, facts in unit:
        row = facts["row"]
        if row in task.verdicts:
            rejects.append((row, task.verdicts[row]))
            continue
        try:
            samples = _samples_of(path, facts, task, watch)
        except FilmReject as reject:
            rejects.append((row, reject.reason))
            continue
        alike.append((row, "".join(sample.fingerprint for sample in samples)))
        taken = taken or samples  # of the others the fingerprint is enough
    if not taken:
        return [], rejects
    written = task.written.get(unit[0][1]["key"])
    pixels = " ".join(sample.sidecar.pixel_sha256 for sample in taken)
    if len({found for _, found in alike}) > 1 or written not in (None, pixels):
        return [], rejects + [(row, Reason.UID_CONFLICT) for row, _ in alike]
    duplicates = [(row, Reason.DUPLICATE) for row, _ in (alike if written else alike[1:])]
    return [] if written else taken, rejects + duplicates


def _samples_of(path: str, facts: Facts, task: ShardTask, watch: Watch) -> list[Sample]:
    """One sample per frame of a file. A file of which one frame is no film is none as a whole.

    Raises:
        FilmReject: it is none.
        _TransientError: it cannot be had this time.
    """
    row, samples = facts["row"], []
    frames = facts.get("frames") or 1
    watch.begins(row)
    try:
        data = _read(path, facts)
    except OSError:
        raise _TransientError(row, Reason.UNREADABLE_FILE) from None
    with _faults_cost_a_film(row):
        for frame in range(frames):
            watch.begins(row)
            one = facts if frames == 1 else {**facts, "key": frame_key(facts["key"], frame), "frame": frame}
            samples.append(
                make_sample(
                    decode_file(data, one),
                    one,
                    split=task.split,
                    max_side=task.max_side,
                    codec=task.codec,
                    reject_empty=task.reject_empty,
                )
            )
    return samples


@contextmanager
def _faults_cost_a_film(row: int) -> Iterator[None]:
    """A fault of the program must not end a run of days: without this film it goes on."""
    try:
        yield
    except FilmReject:
        raise
    except Exception as error:
        if not isinstance(error, MemoryError):
            _log.warning("manifest row %d: %s", row, fault(error))
        raise _TransientError(row, Reason.DECODER_CRASHED) from None


def fault(error: Exception) -> str:
    """What went wrong and where; not the message, which may quote a header."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(frame.filename).name}:{frame.lineno}"


def _read(path: str, facts: Facts) -> bytes:
    """The bytes of a file.

    Raises:
        OSError: it cannot be read, or not all of it.
        _TransientError: it is another file than the one that was scanned.
    """
    with Path(path).open("rb", buffering=0) as file:
        data = file.read()
        _check_unchanged(os.fstat(file.fileno()), facts)
    if len(data) != facts["file_size"]:
        raise OSError(errno.EIO, "not all of the file could be read")
    return data
