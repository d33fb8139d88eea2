"""One shard: decode its files, write tar, index and card. Atomic, idempotent, the same bytes from the same inputs."""

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.atomic import canonical_json, published
from data_prep.decode import StoredFilm
from data_prep.errors import FilmReject, Reason
from data_prep.sample import Facts, Sample, decode_file, make_sample
from data_prep.shard_format import FILM_SUFFIX, INDEX_SCHEMA, SIDECAR_SUFFIX, ShardCard, Split

Reject = tuple[int, Reason]
"""(row of the manifest, reason)."""


@dataclass(frozen=True)
class ShardTask:
    """All that a worker needs to write one shard.

    Attributes:
        name: of the shard.
        split: of all its films.
        files: (path, row of the manifest) in writing order; files with the same key follow each other.
        max_side: longest side of a film.
        config_sha256: goes into the card.
        inputs_sha256: goes into the card.
    """

    name: str
    split: Split
    files: Sequence[tuple[str, Facts]]
    max_side: int | Literal["native"]
    config_sha256: str
    inputs_sha256: str


@dataclass(frozen=True)
class Unfinished:
    """A shard that was not written because files could not be read, or are not those that were scanned."""

    shard: str
    unreadable: tuple[int, ...]
    changed: tuple[int, ...]


class _TransientError(Exception):
    """A file could not be read this time."""

    def __init__(self, row: int) -> None:
        super().__init__(row)
        self.row = row


def write_shard(
    task: ShardTask, public: Path, on_file: Callable[[bool], None] = lambda written: None
) -> ShardCard | Unfinished:
    """Write ``<name>.tar``, ``.parquet`` and, last, ``.json`` into ``public``.

    Args:
        task: what to write.
        public: an existing folder.
        on_file: called after every file with whether it became a film.
    """
    unreadable, changed = _missing(task)
    if unreadable or changed:
        return Unfinished(task.name, unreadable, changed)
    rejects: list[Reject] = []
    tar_name = f"{task.name}.tar"
    rows: list[dict[str, Any]] = []
    try:
        with published(public / tar_name) as file:
            tar_file = _Digesting(file)
            rows.extend(row | {"shard": tar_name} for row in _samples(task, rejects, on_file, tar_file))
    except _TransientError as error:
        return Unfinished(task.name, (error.row,), ())
    index = index_bytes(pa.Table.from_pylist(rows, schema=INDEX_SCHEMA))
    with published(public / f"{task.name}.parquet") as file:
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
    with published(public / f"{task.name}.json") as file:
        file.write(canonical_json(card.model_dump(mode="json")))
    return card


def index_bytes(index: pa.Table) -> bytes:
    """Rows of the index as Parquet."""
    sink = io.BytesIO()
    pq.write_table(index, sink, compression="zstd", version="2.6", store_schema=False)
    return sink.getvalue()


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


def _missing(task: ShardTask) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Rows of the files that are not there, and of those that have another size than when they were scanned."""
    unreadable, changed = [], []
    for path, facts in task.files:
        try:
            if Path(path).stat().st_size != facts["file_size"]:
                changed.append(facts["row"])
        except OSError:
            unreadable.append(facts["row"])
    return tuple(unreadable), tuple(changed)


def _samples(
    task: ShardTask, rejects: list[Reject], on_file: Callable[[bool], None], file: _Digesting
) -> Iterator[dict[str, Any]]:
    """Write the tar; rows of the index, without the shard's name."""
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:  # type: ignore[call-overload]
        for _, unit in groupby(task.files, key=lambda item: item[1]["key"]):
            sample, refused = _one_film(list(unit), task)
            rejects += refused
            if sample is not None:
                yield sample.index_row() | _add(tar, sample)
            for written in (*[True] * (sample is not None), *[False] * len(refused)):
                on_file(written)


def _add(tar: tarfile.TarFile, sample: Sample) -> dict[str, int]:
    """Append the two members of a sample; where their bytes lie."""
    sidecar = canonical_json(sample.sidecar.model_dump(mode="json"))
    place: dict[str, int] = {}
    for kind, suffix, data in (("film", FILM_SUFFIX, sample.film), ("sidecar", SIDECAR_SUFFIX, sidecar)):
        member = tarfile.TarInfo(f"{sample.sidecar.key}.{suffix}")  # mtime, owner and group are 0
        member.size, member.mode = len(data), 0o644
        place |= {f"{kind}_offset": tar.offset + tarfile.BLOCKSIZE, f"{kind}_size": len(data)}
        tar.addfile(member, io.BytesIO(data))
    return place


def _one_film(unit: list[tuple[str, Facts]], task: ShardTask) -> tuple[Sample | None, list[Reject]]:
    """The sample of files with the same key, and the files that are not taken.

    Equal pixels are one film, of which the first file is taken; different ones under one SOP Instance UID cannot both
    be right, and none is taken.
    """
    rejects: list[Reject] = []
    films: list[tuple[str, StoredFilm | None, Facts]] = []
    for path, facts in unit:
        try:
            film, sha256 = decode_file(_read(path, facts), facts)
            films.append((sha256, film if not films else None, facts))  # one decoded film at a time
        except FilmReject as reject:
            rejects.append((facts["row"], reject.reason))
        except (OSError, MemoryError):
            raise _TransientError(facts["row"]) from None
    if len({sha256 for sha256, _, _ in films}) > 1:
        return None, rejects + [(facts["row"], Reason.UID_CONFLICT) for _, _, facts in films]
    if not films:
        return None, rejects
    (sha256, first, facts), *again = films
    assert first is not None
    sample = make_sample(first, sha256, facts, split=task.split, max_side=task.max_side)
    return sample, rejects + [(facts["row"], Reason.DUPLICATE) for _, _, facts in again]


def _read(path: str, facts: Facts) -> bytes:
    """The bytes of a file.

    Raises:
        OSError: it cannot be read, or not all of it.
    """
    data = Path(path).read_bytes()
    if len(data) != facts["file_size"]:
        raise OSError("the file has changed while it was read")
    return data
