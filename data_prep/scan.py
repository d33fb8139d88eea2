"""Scan archives: headers only, every file becomes one row of the private manifest."""

import csv
import io
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from data_prep.config import ScanSettings
from data_prep.deidentify.fields import common_models
from data_prep.deidentify.keys import Pseudonyms, read_secret
from data_prep.errors import ArchiveError, Reason
from data_prep.manifest import (
    LINKAGE_SCHEMA,
    MANIFEST_SCHEMA,
    UNMAPPED_FILE,
    prepare_private,
    with_fingerprint,
    write_manifest,
    write_private_text,
)
from data_prep.progress import Progress
from data_prep.scan_summary import ScanSummary, summarise
from data_prep.sources.archive import ArchiveFile, list_files
from data_prep.sources.dicom import is_dicom, may_be_bare, read_dicom
from data_prep.sources.images import image_kind, read_image
from data_prep.sources.row import FileRow

_CHUNK = 128
"""Files per task of a worker."""
_HEAD_BYTES = 132
"""Enough for the DICOM prefix and the signatures of images."""


class _Chunk(NamedTuple):
    """Rows of consecutive files; ``unmapped`` counts (field, word)."""

    manifest: pa.Table
    linkage: pa.Table
    unmapped: Counter[tuple[str, str]]


def scan(archives: Sequence[Path], private: Path, settings: ScanSettings) -> ScanSummary:
    """Read the headers of all files of ``archives`` into the folder ``private``.

    The same archives, settings and secret give the same rows and keys; a later scan into the folder replaces what is
    there.

    Raises:
        SecretError: no secret for pseudonyms, or too short a one.
        ArchiveError: an archive is missing, empty or cannot be read, the private folder lies inside an archive or holds
            something else, or images of two archives would get the same key.
    """
    pseudonyms = Pseudonyms(read_secret(settings.key_file))
    _check_apart(archives, private)
    files = list_files(archives)
    prepare_private(private)
    chunks = list(_read(files, pseudonyms, settings))
    manifest = pa.concat_tables([chunk.manifest for chunk in chunks])
    linkage = pa.concat_tables([chunk.linkage for chunk in chunks])
    unmapped = sum((chunk.unmapped for chunk in chunks), Counter())
    _check_image_keys(manifest)
    manifest = _screen_models(_adopt_patients(manifest))
    write_private_text(private / UNMAPPED_FILE, _unmapped_csv(unmapped))
    write_manifest(private, with_fingerprint(manifest, pseudonyms.fingerprint), linkage)
    return summarise(manifest, unmapped)


def _check_apart(archives: Sequence[Path], private: Path) -> None:
    inside = private.resolve()
    for archive in archives:
        if inside.is_relative_to(archive.resolve()):
            raise ArchiveError(f"the private folder {private} lies inside the archive {archive}; put it elsewhere")


def _read(files: list[ArchiveFile], pseudonyms: Pseudonyms, settings: ScanSettings) -> Iterator[_Chunk]:
    """Rows of all files, in their order, whatever the number of workers."""
    starts = range(0, len(files), _CHUNK)
    parts = [files[start : start + _CHUNK] for start in starts]
    work = partial(_read_chunk, pseudonyms=pseudonyms, settings=settings)
    workers = min(settings.workers or len(os.sched_getaffinity(0)), len(parts))
    progress = Progress("scan", "files", len(files))
    if workers == 1:
        for start, part in zip(starts, parts, strict=True):
            yield work(start, part)
            progress.add(len(part))
    else:
        ignore_interrupt = (signal.SIGINT, signal.SIG_IGN)  # the parent process hears it and stops them
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, context, initializer=signal.signal, initargs=ignore_interrupt)
        try:
            for part, chunk in zip(parts, pool.map(work, starts, parts), strict=True):
                yield chunk
                progress.add(len(part))
        except BrokenProcessPool:
            raise ArchiveError("a reading process was killed; is memory short? Scan again with fewer workers") from None
        finally:
            pool.shutdown(cancel_futures=True)
    progress.close()


def _read_chunk(start: int, files: list[ArchiveFile], *, pseudonyms: Pseudonyms, settings: ScanSettings) -> _Chunk:
    """Rows of ``files``, of which the first is row ``start``; runs in a worker."""
    facts: list[dict[str, Any]] = []
    identifiers: list[dict[str, Any]] = []
    unmapped: Counter[tuple[str, str]] = Counter()
    for number, file in enumerate(files, start):
        size, row = _read_file(file, pseudonyms, settings)
        facts.append({"row": number, "source": row.source, "file_size": size, "reason": row.reason, **row.facts})
        path = file.path.encode("utf-8", "backslashreplace").decode()
        identifiers.append({"row": number, "path": path, "key": row.facts.get("key"), **row.identifiers})
        unmapped.update(row.unmapped)
    return _Chunk(
        pa.Table.from_pylist(facts, MANIFEST_SCHEMA), pa.Table.from_pylist(identifiers, LINKAGE_SCHEMA), unmapped
    )


def _read_file(file: ArchiveFile, pseudonyms: Pseudonyms, settings: ScanSettings) -> tuple[int, FileRow]:
    """(size, row) of a file.

    Raises:
        ArchiveError: the disk or network fails; such a scan would lose films that are there.
    """
    path = Path(file.path)
    size = 0
    try:
        size = path.stat().st_size
        if file.hidden:
            return size, FileRow("other", Reason.NOT_A_FILM)
        if not file.nameable:
            return size, FileRow("other", Reason.UNREADABLE_HEADER)
        with path.open("rb") as opened:
            head = opened.read(_HEAD_BYTES)
        if (kind := image_kind(head)) is not None:
            return size, read_image(path, file.below, kind, head, pseudonyms, settings)
        if is_dicom(head) or may_be_bare(head):
            return size, read_dicom(path, head, pseudonyms, settings)
    except (PermissionError, FileNotFoundError):
        return size, FileRow("other", Reason.UNREADABLE_HEADER)
    except OSError as error:
        raise ArchiveError(f"the archive cannot be read ({error.strerror}); nothing was written: scan again") from None
    return size, FileRow("other", Reason.NOT_A_FILM)


def _check_image_keys(manifest: pa.Table) -> None:
    keys = manifest.filter(pc.is_in(manifest["source"], pa.array(["png", "jpeg"])))["key"].drop_null()
    twice = len(keys) - pc.count_distinct(keys).as_py()
    if twice:
        raise ArchiveError(
            f"{twice} images have the same path below two of the archives, and the path is what tells them apart;"
            " give the folder that holds these archives as one archive"
        )


def _adopt_patients(manifest: pa.Table) -> pa.Table:
    """Give films without a patient number the patient whose number another film of their study bears.

    Otherwise one study could train by one of its films and test by another.
    """
    study, known = manifest["study"].to_pylist(), manifest["patient_known"].to_pylist()
    if not any(flag is False for flag in known):
        return manifest
    columns = {name: manifest[name].to_pylist() for name in ("patient", "patient_known", "study_day")}
    owners = {study[row]: row for row in reversed(range(len(study))) if known[row]}
    for row, owner in ((row, owners.get(study[row])) for row, flag in enumerate(known) if flag is False):
        if owner is not None:
            for values in columns.values():
                values[row] = values[owner]
    for name, values in columns.items():
        manifest = _with_column(manifest, name, pa.array(values, MANIFEST_SCHEMA.field(name).type))
    return manifest


def _screen_models(manifest: pa.Table) -> pa.Table:
    """Model names that too few patients share become null."""
    counted = manifest.filter(pc.and_(pc.is_valid(manifest["model"]), manifest["patient_known"]))
    pairs = counted.select(["model", "patient"]).group_by(["model", "patient"]).aggregate([])
    common = common_models(zip(pairs["model"].to_pylist(), pairs["patient"].to_pylist(), strict=True))
    safe = pc.is_in(manifest["model"], pa.array(sorted(common), pa.string()))
    model = pc.if_else(safe, manifest["model"], pa.scalar(None, pa.string()))
    return _with_column(manifest, "model", model)


def _with_column(manifest: pa.Table, name: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    return manifest.set_column(manifest.schema.get_field_index(name), MANIFEST_SCHEMA.field(name), values)


def _unmapped_csv(unmapped: Counter[tuple[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["field", "word", "films"])
    writer.writerows((name, word, films) for (name, word), films in sorted(unmapped.items()))
    return text.getvalue()
