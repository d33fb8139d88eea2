"""Cache of all header facts in the private folder, so that the next scan reads only new and changed files.

The cache is a stream of Arrow batches, mapped into memory and not compressed (about 1 kB per row): rows of a million
files stay on disk until they are used, and an interrupted scan keeps the rows that it has read. A row is reused if
path, size and modification time of the file are unchanged, unless the file was modified shortly before it was read: a
later change could then have the same time.
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
from data_prep.archive.stated_facts import FACTS, USED_COLUMNS
from data_prep.deidentify.pseudonyms import Pseudonyms
from data_prep.runtime.atomic_write import PRIVATE_MODE, sync_folder, synced_file

_COMPUTED = frozenset({"row", "patient", "patient_known", "study_day", "twin", *USED_COLUMNS} - set(FACTS))
"""Columns of the manifest that are computed from the rows of several files, or from other sources than the header."""

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
        ("name_digests", pa.list_(pa.string())),
        ("date_digests", pa.list_(pa.string())),
        ("irradiation_event", pa.string()),
        ("acquired", pa.string()),
        ("sources", pa.list_(pa.string())),
        ("body_part_word", pa.string()),
        ("view_word", pa.string()),
        ("missing", pa.int32()),
    ]
)
"""``body_part``, ``view``, ``laterality``, ``sex`` and ``age_years`` are those of the header, ``body_part_word`` and
``view_word`` the texts that it has for them. ``missing`` is the number of files that a DICOMDIR refers to and that do
not exist; such a row is never reused, since it depends on other files."""

_BATCH_ROWS = 4096
_FRESH_NS = 10 * 10**9
"""A file modified less than this before the scan is read again: clocks differ, some have a resolution of seconds."""


def cache_identity(pseudonyms: Pseudonyms, settings: ReadSettings) -> dict[str, str]:
    """Describe what rows depend on: secret, settings and the code that reads headers.

    Rows of a cache with another identity are not reused.

    Args:
        pseudonyms: makes the keys.
        settings: ``source`` and ``image_pattern`` are used.
    """
    digest = hashlib.sha256(pydicom.__version__.encode())
    for file in header_reading_sources():
        digest.update(file.read_bytes())
    used_settings = settings.model_dump_json(include={"source", "image_pattern"})
    return {"key_fingerprint": pseudonyms.fingerprint, "settings": used_settings, "code": digest.hexdigest()}


def header_reading_sources() -> list[Path]:
    """Source files that determine the rows: modules and word lists of the packages that read and screen headers."""
    packages = (archive, deidentify, dicom)
    folders = [Path(folder) for package in packages for folder in package.__path__]
    return [file for folder in folders for ending in ("*.py", "*.txt") for file in sorted(folder.rglob(ending))]


def read_headers(private: Path, identity: dict[str, str]) -> tuple[pa.Array, pa.Table]:
    """Read the cache of the private folder.

    Args:
        private: the private folder.
        identity: see :func:`cache_identity`.

    Returns:
        Paths of the last complete scan, and rows that may be reused (HEADERS_SCHEMA); both empty without a cache.
    """
    last_scan = _read(private / HEADERS_FILE, identity)
    interrupted_scans = [_read(part, identity) for part in _parts(private)]
    reusable = [_reusable_rows(table, began_ns) for table, began_ns in (*interrupted_scans, last_scan)]
    return last_scan[0]["path"].combine_chunks(), pa.concat_tables(reusable)


def write_headers(private: Path, identity: dict[str, str], chunks: Iterable[pa.Table]) -> pa.Table:
    """Write rows to the cache as they are read.

    If the scan is interrupted, the next one reads the rows from the temporary file.

    Args:
        private: the private folder.
        identity: see :func:`cache_identity`.
        chunks: rows of consecutive files (HEADERS_SCHEMA).

    Returns:
        All rows, in order.
    """
    schema = HEADERS_SCHEMA.with_metadata({**identity, "begun_ns": str(time.time_ns())})
    earlier_parts = _parts(private)
    part = private / f".{HEADERS_FILE}.{1 + max(map(_number, earlier_parts), default=0)}.part"
    with synced_file(part, PRIVATE_MODE) as file, pa.ipc.new_stream(file, schema) as stream:
        for batch in _batches(chunks):
            stream.write_table(batch.replace_schema_metadata(schema.metadata))
            file.flush()
    part.replace(private / HEADERS_FILE)
    for part_file in earlier_parts:
        part_file.unlink()
    sync_folder(private)
    return _read(private / HEADERS_FILE, identity)[0]


def _parts(private: Path) -> list[Path]:
    """Temporary files of interrupted scans, the latest first."""
    parts = private.glob(f".{HEADERS_FILE}.*.part")
    return sorted(parts, key=_number, reverse=True)


def _number(part: Path) -> int:
    return int(part.name.split(".")[-2])


def _batches(chunks: Iterable[pa.Table]) -> Iterator[pa.Table]:
    buffered: list[pa.Table] = []
    for chunk in chunks:
        buffered.append(chunk)
        if sum(table.num_rows for table in buffered) >= _BATCH_ROWS:
            yield pa.concat_tables(buffered).combine_chunks()
            buffered = []
    if buffered:
        yield pa.concat_tables(buffered).combine_chunks()


def _read(path: Path, identity: dict[str, str]) -> tuple[pa.Table, int]:
    """(rows, start of their scan in ns since the epoch); an incomplete last batch is left out."""
    batches: list[pa.RecordBatch] = []
    try:
        with pa.memory_map(str(path)) as file:  # rows stay on disk until they are used
            stream = pa.ipc.open_stream(file)
            metadata: dict[str, Any] = {key.decode(): value.decode() for key, value in stream.schema.metadata.items()}
            began_ns = int(metadata.pop("begun_ns"))
            if metadata != identity or not stream.schema.equals(HEADERS_SCHEMA):
                return HEADERS_SCHEMA.empty_table(), 0
            batches.extend(stream)
    except (OSError, ValueError, KeyError, AttributeError, pa.ArrowException):
        if not batches:
            return HEADERS_SCHEMA.empty_table(), 0
    return pa.Table.from_batches(batches, HEADERS_SCHEMA).replace_schema_metadata(), began_ns


def _reusable_rows(table: pa.Table, began_ns: int) -> pa.Table:
    """The rows that may be reused; batches of only reusable rows are not copied."""
    batches = []
    for batch in table.to_batches():
        is_reusable = pc.and_(pc.less(batch["mtime_ns"], began_ns - _FRESH_NS), pc.is_null(batch["missing"]))
        is_reusable = pc.fill_null(is_reusable, False)
        batches.append(batch if pc.all(is_reusable).as_py() else batch.filter(is_reusable))
    return pa.Table.from_batches(batches, HEADERS_SCHEMA)
