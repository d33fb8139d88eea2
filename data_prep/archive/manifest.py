"""The private folder: what a scan found, one row per file. Only this folder knows paths and original identifiers.

PRIVATE/            mode 0700, files 0600
  manifest.parquet  one row per file: screened facts and keys, or the reason why it is no film (MANIFEST_SCHEMA)
  linkage.parquet   one row per file: path and original identifiers → key (LINKAGE_SCHEMA)
  unmapped.csv      words of the headers that the vocabularies do not know
  headers.arrow     one row per file: all that was read, for the next scan (data_prep.archive.header_cache)
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.errors import ArchiveError
from data_prep.runtime.atomic_write import PRIVATE_MODE, atomic_file, atomic_text, is_temporary
from data_prep.runtime.folder_lock import LOCK_FILE

MANIFEST_VERSION = 3
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
        ("modality", pa.string()),
        ("orientation", pa.int8()),
        ("frames", pa.int16()),
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
that its header falls under, and ``twin`` is the key of the film for presentation of the same exposure. ``frames`` is
how many films the file holds; null means one. ``rows`` and ``columns`` are those of the file, before the EXIF
``orientation`` is applied; ``pixel_spacing_mm`` is (row, column) spacing of the file's raster (a plain list: Parquet
does not read nulls among lists of fixed size back)."""

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
"""Only where the archive is a public data set with tables: see ``data_prep.public_datasets.dataset_tables``."""

_GROUP_ROWS = 2**16
"""Rows that are held in memory while a table is written."""
_FINGERPRINT = b"key_fingerprint"
_DATASET = b"dataset"
_VERSION = b"format_version"


def with_fingerprint(manifest: pa.Table, fingerprint: str, dataset: str | None = None) -> pa.Table:
    """``manifest`` with the metadata that :func:`read_manifest` asks for.

    Args:
        manifest: rows of a scan (MANIFEST_SCHEMA).
        fingerprint: of the secret that made its keys.
        dataset: name of the public data set whose tables were read with it; None for other archives.
    """
    metadata = {_FINGERPRINT: fingerprint.encode(), _VERSION: str(MANIFEST_VERSION).encode()}
    return manifest.replace_schema_metadata(metadata | ({_DATASET: dataset.encode()} if dataset else {}))


def write_manifest(private: Path, manifest: pa.Table, linkage: pa.Table) -> None:
    """Write both tables into the folder ``private``, readable by its owner only.

    The old manifest is removed before anything is replaced and the new one comes last: no interruption leaves a
    manifest beside the linkage of another scan.
    """
    prepare_private(private)
    paths = private / MANIFEST_FILE, private / LINKAGE_FILE
    with atomic_file(paths[0], PRIVATE_MODE) as manifest_file, atomic_file(paths[1], PRIVATE_MODE) as linkage_file:
        pq.write_table(manifest, manifest_file, row_group_size=_GROUP_ROWS)
        pq.write_table(linkage, linkage_file, row_group_size=_GROUP_ROWS)
        paths[0].unlink(missing_ok=True)


def write_private_text(path: Path, text: str) -> None:
    """Write a text file of the private folder in one step, readable by its owner only."""
    atomic_text(path, text, PRIVATE_MODE)


def prepare_private(private: Path) -> None:
    """Make the folder, or take over an existing one that is empty or private already; mode 0700.

    Raises:
        ArchiveError: it is no folder, holds other files, or cannot be made.
    """
    try:
        private.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not any((private / name).exists() for name in (MANIFEST_FILE, LINKAGE_FILE, HEADERS_FILE)):
            ours = {UNMAPPED_FILE, LOCK_FILE, LABELS_TABLE, BOXES_TABLE, SPLITS_TABLE, PROBLEMS_TABLE}
            if any(path.name not in ours and not is_temporary(path) for path in private.iterdir()):
                raise ArchiveError(f"{private} holds other files; give a new or an empty folder as --out")
        private.chmod(0o700)
    except FileExistsError:
        raise ArchiveError(f"{private} is a file; give a new or an empty folder as --out") from None
    except OSError as error:
        raise ArchiveError(f"the private folder {private} cannot be used ({error.strerror})") from None


def clear_leftovers(private: Path) -> None:
    """Remove what killed scans left, but for the parts of headers.arrow, which serve the next one."""
    for path in private.iterdir():
        if is_temporary(path) and not path.name.startswith(f".{HEADERS_FILE}."):
            path.unlink()


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


def dataset_name(private: Path) -> str | None:
    """Name of the public data set that was scanned; None where none was, or an earlier release did not record it."""
    metadata = pq.read_schema(private / MANIFEST_FILE).metadata or {}
    return metadata[_DATASET].decode() if _DATASET in metadata else None


def is_private(folder: Path) -> bool:
    """Whether a scan has finished in the folder."""
    return (folder / MANIFEST_FILE).exists()


_SCAN_AGAIN = "make it with: python -m data_prep scan ARCHIVE --out PRIVATE"


def _read(private: Path, name: str, columns: list[str] | None = None) -> pa.Table:
    if not private.is_dir():
        raise ArchiveError(f"private folder {private} does not exist; {_SCAN_AGAIN}")
    try:
        return pq.read_table(private / name, columns=columns)
    except FileNotFoundError:
        raise ArchiveError(f"{private} is no private folder, or its scan has not finished; {_SCAN_AGAIN}") from None
    except (OSError, pa.ArrowException):
        raise ArchiveError(f"{private / name} cannot be read; {_SCAN_AGAIN}") from None
