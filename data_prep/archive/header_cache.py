"""What every header of an archive said, kept in the private folder: the next scan reads only what is new or changed.

A stream of Arrow batches, mapped into memory and not compressed (about 1 kB a row): rows of a million files stay on
disk until they are used, and an interrupted scan loses nothing that it has read. A row is used again where path, size
and time of the file are the same, unless the file was so fresh when it was read that a later change might bear the
same time.
"""

import hashlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pydicom

from data_prep import archive, deidentify, dicom
from data_prep.archive.manifest import HEADERS_FILE, MANIFEST_SCHEMA
from data_prep.archive.settings import ReadSettings
from data_prep.deidentify.pseudonyms import Pseudonyms
from data_prep.runtime.atomic_write import PRIVATE_MODE, sync_folder, synced_file

_COMPUTED = frozenset({"row", "patient", "patient_known", "study_day", "twin"})
"""Columns of the manifest that need more than one file."""

HEADERS_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("below", pa.string()),
        ("mtime_ns", pa.int64()),
        *(field for field in MANIFEST_SCHEMA if field.name not in _COMPUTED),
        ("patient_id", pa.string()),
        ("issuer", pa.string()),
        ("study_date", pa.date32()),
        ("sop_instance_uid", pa.string()),
        ("series_uid", pa.string()),
        ("study_uid", pa.string()),
        ("accession", pa.string()),
        ("irradiation_event", pa.string()),
        ("acquired", pa.string()),
        ("sources", pa.list_(pa.string())),
        ("unmapped_body_part", pa.string()),
        ("unmapped_view", pa.string()),
        ("missing", pa.int32()),
    ]
)
"""``missing`` is the number of files that a DICOMDIR refers to and that are not there; such a row is never reused,
since it speaks of other files."""

_BATCH_ROWS = 4096
_FRESH_NS = 10 * 10**9
"""A file that changed less than this before the scan is read again: clocks differ, and some count in seconds."""


def identity(pseudonyms: Pseudonyms, settings: ReadSettings) -> dict[str, str]:
    """What has to be the same for a row to be used again: secret, settings, and the code that reads headers."""
    digest = hashlib.sha256(pydicom.__version__.encode())
    for file in reading_code():
        digest.update(file.read_bytes())
    told = settings.model_dump_json(include={"source", "image_pattern"})
    return {"key_fingerprint": pseudonyms.fingerprint, "settings": told, "code": digest.hexdigest()}


def reading_code() -> list[Path]:
    """The files that decide what a header says: modules and word lists of the packages that read and screen headers."""
    packages = (archive, deidentify, dicom)
    folders = [Path(folder) for package in packages for folder in package.__path__]
    return [file for folder in folders for ending in ("*.py", "*.txt") for file in sorted(folder.rglob(ending))]


def read_headers(private: Path, same: dict[str, str]) -> tuple[pa.Array, pa.Table]:
    """(paths of the last complete scan, rows that may be used again) of the folder; both empty where there are none."""
    whole = _read(private / HEADERS_FILE, same)
    begun = [_read(part, same) for part in _parts(private)]
    usable = pa.concat_tables([_settled(table, since) for table, since in (*begun, whole)])
    return whole[0]["path"].combine_chunks(), usable


def write_headers(private: Path, same: dict[str, str], chunks: Iterable[pa.Table]) -> pa.Table:
    """Store rows as they come and give them all back; if this scan ends early, its temporary file serves the next."""
    schema = HEADERS_SCHEMA.with_metadata({**same, "begun_ns": str(time.time_ns())})
    before = _parts(private)
    part = private / f".{HEADERS_FILE}.{1 + max(map(_number, before), default=0)}.part"
    with synced_file(part, PRIVATE_MODE) as file, pa.ipc.new_stream(file, schema) as stream:
        for batch in _batches(chunks):
            stream.write_table(batch.replace_schema_metadata(schema.metadata))
            file.flush()
    part.replace(private / HEADERS_FILE)
    for other in before:
        other.unlink()
    sync_folder(private)
    return _read(private / HEADERS_FILE, same)[0]


def _parts(private: Path) -> list[Path]:
    """What interrupted scans left, the latest first."""
    found = private.glob(f".{HEADERS_FILE}.*.part")
    return sorted(found, key=_number, reverse=True)


def _number(part: Path) -> int:
    return int(part.name.split(".")[-2])


def _batches(chunks: Iterable[pa.Table]) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    for chunk in chunks:
        waiting.append(chunk)
        if sum(table.num_rows for table in waiting) >= _BATCH_ROWS:
            yield pa.concat_tables(waiting).combine_chunks()
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()


def _read(path: Path, same: dict[str, str]) -> tuple[pa.Table, int]:
    """(rows, when their scan began); what an interruption cut off is left out."""
    batches: list[pa.RecordBatch] = []
    try:
        with pa.memory_map(str(path)) as file:  # rows stay in the file until they are used
            stream = pa.ipc.open_stream(file)
            told: dict[str, Any] = {key.decode(): value.decode() for key, value in stream.schema.metadata.items()}
            begun = int(told.pop("begun_ns"))
            if told != same or not stream.schema.equals(HEADERS_SCHEMA):
                return HEADERS_SCHEMA.empty_table(), 0
            batches.extend(stream)
    except (OSError, ValueError, KeyError, AttributeError, pa.ArrowException):
        if not batches:
            return HEADERS_SCHEMA.empty_table(), 0
    return pa.Table.from_batches(batches, HEADERS_SCHEMA).replace_schema_metadata(), begun


def _settled(table: pa.Table, begun: int) -> pa.Table:
    """The rows that may be used again; batches without any other stay where they are."""
    batches = []
    for batch in table.to_batches():
        settled = pc.and_(pc.less(batch["mtime_ns"], begun - _FRESH_NS), pc.is_null(batch["missing"]))
        settled = pc.fill_null(settled, False)
        batches.append(batch if pc.all(settled).as_py() else batch.filter(settled))
    return pa.Table.from_batches(batches, HEADERS_SCHEMA)
