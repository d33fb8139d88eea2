"""The private folder: what a scan found, one row per file. Only this folder knows paths and original identifiers.

PRIVATE/            mode 0700, files 0600
  manifest.parquet  one row per file: screened facts and keys, or the reason why it is no film (MANIFEST_SCHEMA)
  linkage.parquet   one row per file: path and original identifiers → key (LINKAGE_SCHEMA)
  unmapped.csv      words of the headers that the vocabularies do not know
  headers.arrow     one row per file: all that was read, for the next scan (data_prep.header_table)
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.errors import ArchiveError

MANIFEST_VERSION = 2
MANIFEST_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("source", pa.string()),
        ("file_size", pa.int64()),
        ("reason", pa.string()),
        ("marks", pa.string()),
        ("twin", pa.string()),
        ("key", pa.string()),
        ("patient", pa.string()),
        ("study", pa.string()),
        ("series", pa.string()),
        ("site", pa.string()),
        ("patient_known", pa.bool_()),
        ("study_day", pa.int32()),
        ("transfer_syntax", pa.string()),
        ("orientation", pa.int8()),
        ("rows", pa.int32()),
        ("columns", pa.int32()),
        ("bits_stored", pa.int16()),
        ("photometric", pa.string()),
        ("presentation_intent", pa.string()),
        ("body_part", pa.string()),
        ("view", pa.string()),
        ("laterality", pa.string()),
        ("sex", pa.string()),
        ("age_years", pa.int16()),
        ("manufacturer", pa.string()),
        ("model", pa.string()),
        ("pixel_spacing_mm", pa.list_(pa.float32())),
        ("pixel_spacing_from", pa.string()),
    ]
)
"""``source`` is dicom, png, jpeg or other; ``reason`` null means a readable film, ``marks`` are the rules of selection
that its header falls under, and ``twin`` is the key of the film for presentation of the same exposure. ``rows`` and
``columns`` are those of the file, before the EXIF ``orientation`` is applied; ``pixel_spacing_mm`` is (row, column)
spacing of the file's raster (a plain list: Parquet does not read nulls among lists of fixed size back)."""

LINKAGE_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("path", pa.string()),
        ("mtime_ns", pa.int64()),
        ("sop_instance_uid", pa.string()),
        ("series_uid", pa.string()),
        ("study_uid", pa.string()),
        ("accession", pa.string()),
        ("patient_id", pa.string()),
        ("key", pa.string()),
    ]
)

MANIFEST_FILE = "manifest.parquet"
LINKAGE_FILE = "linkage.parquet"
UNMAPPED_FILE = "unmapped.csv"
HEADERS_FILE = "headers.arrow"
LABELS_TABLE, BOXES_TABLE, SPLITS_TABLE, PROBLEMS_TABLE = "labels.csv", "boxes.csv", "splits.csv", "problems.csv"
"""Only where the archive is a public data set with tables: see ``data_prep.layout_tables``."""

_FINGERPRINT = b"key_fingerprint"
_VERSION = b"format_version"


def with_fingerprint(manifest: pa.Table, fingerprint: str) -> pa.Table:
    """``manifest`` with the metadata that :func:`read_manifest` asks for."""
    return manifest.replace_schema_metadata(
        {_FINGERPRINT: fingerprint.encode(), _VERSION: str(MANIFEST_VERSION).encode()}
    )


def write_manifest(private: Path, manifest: pa.Table, linkage: pa.Table) -> None:
    """Write both tables into the folder ``private``, readable by its owner only.

    The old manifest is removed before anything is replaced and the new one comes last: no interruption leaves a
    manifest beside the linkage of another scan.
    """
    prepare_private(private)
    manifest_part = _write_part(private / MANIFEST_FILE, lambda file: pq.write_table(manifest, file))
    linkage_part = _write_part(private / LINKAGE_FILE, lambda file: pq.write_table(linkage, file))
    (private / MANIFEST_FILE).unlink(missing_ok=True)
    linkage_part.replace(private / LINKAGE_FILE)
    manifest_part.replace(private / MANIFEST_FILE)
    _sync_folder(private)


def write_private_text(path: Path, text: str) -> None:
    """Write a text file of the private folder in one step, readable by its owner only."""
    _write_part(path, lambda file: file.write(text.encode("utf-8", "backslashreplace"))).replace(path)
    _sync_folder(path.parent)


def prepare_private(private: Path) -> None:
    """Make the folder, or take over an existing one that is empty or private already; mode 0700.

    Raises:
        ArchiveError: it is no folder, holds other files, or cannot be made.
    """
    try:
        private.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (private / MANIFEST_FILE).exists():
            tables = {LABELS_TABLE, BOXES_TABLE, SPLITS_TABLE, PROBLEMS_TABLE}
            ours = {MANIFEST_FILE, LINKAGE_FILE, UNMAPPED_FILE, HEADERS_FILE, *tables}
            names = (entry.name.removeprefix(".").removesuffix(".part") for entry in private.iterdir())
            if any(name not in ours and not name.startswith(f"{HEADERS_FILE}.") for name in names):
                raise ArchiveError(f"{private} holds other files; give a new or an empty folder as --out")
        private.chmod(0o700)
    except FileExistsError:
        raise ArchiveError(f"{private} is a file; give a new or an empty folder as --out") from None
    except OSError as error:
        raise ArchiveError(f"the private folder {private} cannot be used ({error.strerror})") from None


def read_manifest(private: Path) -> pa.Table:
    """The manifest, sorted by row.

    Raises:
        ArchiveError: no folder, no private folder, damaged, or of another version.
    """
    table = _read(private, MANIFEST_FILE)
    version = (table.schema.metadata or {}).get(_VERSION, b"none").decode("ascii", "replace")
    if version != str(MANIFEST_VERSION) or not table.schema.equals(MANIFEST_SCHEMA):
        raise ArchiveError(
            f"{private} has manifest version {version}, this release reads version {MANIFEST_VERSION}; {_SCAN_AGAIN}"
        )
    return table


def read_linkage(private: Path, columns: list[str] | None = None) -> pa.Table:
    """Paths and original identifiers (only ``columns``, if given), one row per row of the manifest.

    Raises:
        ArchiveError: no folder, no private folder, or damaged.
    """
    return _read(private, LINKAGE_FILE, columns)


def key_fingerprint(manifest: pa.Table) -> str:
    """Fingerprint of the secret that made the keys of ``manifest``."""
    return str(manifest.schema.metadata[_FINGERPRINT].decode())


_SCAN_AGAIN = "make it with: python -m data_prep scan ARCHIVE --out PRIVATE"


def _read(private: Path, name: str, columns: list[str] | None = None) -> pa.Table:
    if not private.is_dir():
        raise ArchiveError(f"private folder {private} does not exist; {_SCAN_AGAIN}")
    try:
        return pq.read_table(private / name, columns=columns)
    except FileNotFoundError:
        raise ArchiveError(f"{private} is no private folder, or its scan has not finished; {_SCAN_AGAIN}") from None
    except (OSError, pa.ArrowInvalid):
        raise ArchiveError(f"{private / name} cannot be read; {_SCAN_AGAIN}") from None


@contextmanager
def part_of(path: Path) -> Iterator[BinaryIO]:
    """A new file beside ``path`` under a temporary name, readable by its owner only, synced to disk at the end."""
    with open(_part(path), "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        os.fchmod(file.fileno(), 0o600)
        yield file
        file.flush()
        os.fsync(file.fileno())


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _write_part(path: Path, write: Callable[[BinaryIO], object]) -> Path:
    """Write beside ``path`` under a temporary name."""
    with part_of(path) as file:
        write(file)
    return _part(path)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
