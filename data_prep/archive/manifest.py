"""The private folder with the results of a scan; only this folder holds paths and original identifiers.

PRIVATE/            mode 0700, files 0600
  manifest.parquet  one row per file: screened facts and keys, or the reason why it is no film (MANIFEST_SCHEMA)
  linkage.parquet   one row per file: path and original identifiers → key (LINKAGE_SCHEMA)
  facts.parquet     one row per file: what header, path and table state (data_prep.archive.stated_facts)
  unmapped.csv      body parts and views that the vocabularies do not contain
  differences.csv   films of which header, path and table state different facts
  headers.arrow     one row per file: all header facts, for the next scan (data_prep.archive.header_cache)
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.archive.stated_facts import FACTS, USED_COLUMNS
from data_prep.errors import ArchiveError
from data_prep.runtime.atomic_write import PRIVATE_MODE, atomic_file, atomic_text, is_temporary
from data_prep.runtime.folder_lock import LOCK_FILE
from data_prep.shard_format.parquet_bytes import with_null_columns

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
        ("image_type", pa.string()),
        ("body_part", pa.string()),
        ("view", pa.string()),
        ("laterality", pa.string()),
        ("sex", pa.string()),
        ("age_years", pa.int16()),
        ("body_part_from", pa.string()),
        ("view_from", pa.string()),
        ("laterality_from", pa.string()),
        ("sex_from", pa.string()),
        ("age_years_from", pa.string()),
        ("body_part_doubtful", pa.bool_()),
        ("manufacturer", pa.string()),
        ("model", pa.string()),
        ("pixel_spacing_mm", pa.list_(pa.float32())),
        ("pixel_spacing_from", pa.string()),
    ]
)
"""``source`` is dicom, png, jpeg or other; ``reason`` null means a readable film, ``marks`` are the selection rules
that apply to its header, and ``twin`` is the key of the film for presentation of the same exposure. ``frames`` is the
number of films in the file; null means one. ``rows`` and ``columns`` are those of the file, before the EXIF
``orientation`` is applied; ``pixel_spacing_mm`` is the (row, column) spacing of the file's raster (a list of variable
size: Parquet cannot read nulls among lists of fixed size). ``image_type``: see ``data_prep.deidentify.image_type``. The
columns ``…_from`` name the source of a fact (``data_prep.archive.stated_facts``); ``body_part_doubtful`` is true where
its word is not to be relied on."""

LATER_COLUMNS = ("image_type", *USED_COLUMNS[len(FACTS) :])
"""Columns that manifests of earlier releases lack; they are read as null."""

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
        ("name_digests", pa.list_(pa.string())),
        ("date_digests", pa.list_(pa.string())),
        ("patient_aliases", pa.list_(pa.string())),
    ]
)
"""``name_digests`` and ``date_digests``: see :mod:`data_prep.deidentify.person_digests`; tables of earlier
releases lack them, and their key in the metadata. ``patient_aliases`` are the keys that the
patient would have if no header named an issuer: a public folder that was begun before headers did has one of these."""

MANIFEST_FILE = "manifest.parquet"
LINKAGE_FILE = "linkage.parquet"
UNMAPPED_FILE = "unmapped.csv"
STATED_FILE, DIFFERENCES_FILE = "facts.parquet", "differences.csv"
HEADERS_FILE = "headers.arrow"
LABELS_TABLE, BOXES_TABLE, SPLITS_TABLE, PROBLEMS_TABLE = "labels.csv", "boxes.csv", "splits.csv", "problems.csv"
"""Written only if the archive is a public data set with tables: see ``data_prep.public_datasets.dataset_tables``."""

_ROW_GROUP_ROWS = 2**16
"""Rows that are kept in memory while a table is written."""
_FINGERPRINT = b"key_fingerprint"
_DATASET = b"dataset"
_VERSION = b"format_version"
_DIGEST_KEY, _KEYS, _SOURCE = b"digest_key", b"keys", b"source"


def with_fingerprint(
    manifest: pa.Table, fingerprint: str, dataset: str | None = None, keys: int = 2, source: str = ""
) -> pa.Table:
    """Add the metadata that :func:`read_manifest` requires.

    Args:
        manifest: rows of a scan (MANIFEST_SCHEMA).
        fingerprint: fingerprint of the secret that made the keys.
        dataset: name of the public data set whose tables were read; None for other archives.
        keys: how the keys were made.
        source: key of the setting ``source``.
    """
    metadata = {_FINGERPRINT: fingerprint.encode(), _VERSION: str(MANIFEST_VERSION).encode()}
    metadata |= {_KEYS: str(keys).encode(), _SOURCE: source.encode()}
    return manifest.replace_schema_metadata(metadata | ({_DATASET: dataset.encode()} if dataset else {}))


def with_digest_key(linkage: pa.Table, key: bytes) -> pa.Table:
    """Add the key of the digests to a linkage table."""
    return linkage.replace_schema_metadata({_DIGEST_KEY: key.hex()})


def digest_key(linkage: pa.Table) -> bytes | None:
    """The key of the digests in a linkage table; None in tables of earlier releases."""
    text = (linkage.schema.metadata or {}).get(_DIGEST_KEY)
    return bytes.fromhex(text.decode()) if text else None


def write_manifest(private: Path, manifest: pa.Table, linkage: pa.Table) -> None:
    """Write both tables into the folder ``private``, readable by its owner only.

    The old manifest is removed before the linkage is replaced, and the new one is written last: an interruption cannot
    leave a manifest with the linkage of another scan.

    Args:
        private: the private folder.
        manifest: rows of a scan (MANIFEST_SCHEMA), with metadata.
        linkage: rows of the same scan (LINKAGE_SCHEMA).
    """
    prepare_private(private)
    manifest_path, linkage_path = private / MANIFEST_FILE, private / LINKAGE_FILE
    with (
        atomic_file(manifest_path, PRIVATE_MODE) as manifest_file,
        atomic_file(linkage_path, PRIVATE_MODE) as linkage_file,
    ):
        pq.write_table(manifest, manifest_file, row_group_size=_ROW_GROUP_ROWS)
        pq.write_table(linkage, linkage_file, row_group_size=_ROW_GROUP_ROWS)
        manifest_path.unlink(missing_ok=True)


def write_private_text(path: Path, text: str) -> None:
    """Write a text file of the private folder atomically, readable by its owner only."""
    atomic_text(path, text, PRIVATE_MODE)


def prepare_private(private: Path) -> None:
    """Create the private folder with mode 0700, or accept an existing one that is empty or private already.

    Raises:
        ArchiveError: the path is a file, or the folder holds other files or cannot be created.
    """
    try:
        private.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not any((private / name).exists() for name in (MANIFEST_FILE, LINKAGE_FILE, HEADERS_FILE)):
            known_names = {UNMAPPED_FILE, STATED_FILE, DIFFERENCES_FILE, LOCK_FILE}
            known_names |= {LABELS_TABLE, BOXES_TABLE, SPLITS_TABLE, PROBLEMS_TABLE}
            if any(path.name not in known_names and not is_temporary(path) for path in private.iterdir()):
                raise ArchiveError(f"{private} holds other files. Give a new or an empty folder as --out.")
        private.chmod(0o700)
    except FileExistsError:
        raise ArchiveError(f"{private} is a file. Give a new or an empty folder as --out.") from None
    except OSError as error:
        raise ArchiveError(
            f"the private folder {private} cannot be used ({error.strerror}). Give another folder as --out."
        ) from None


def remove_temporary_files(private: Path) -> None:
    """Remove the temporary files of interrupted scans, except the parts of headers.arrow, which the next scan uses."""
    for path in private.iterdir():
        if is_temporary(path) and not path.name.startswith(f".{HEADERS_FILE}."):
            path.unlink()


def read_manifest(private: Path) -> pa.Table:
    """Read the manifest, sorted by row.

    Raises:
        ArchiveError: the folder is missing, holds no manifest, or the manifest is damaged or of another version.
    """
    table = _read(private, MANIFEST_FILE)
    if not set(LATER_COLUMNS) & set(table.column_names):
        table = with_null_columns(table, MANIFEST_SCHEMA)
    version = (table.schema.metadata or {}).get(_VERSION, b"none").decode("ascii", "replace")
    if version != str(MANIFEST_VERSION) or not table.schema.equals(MANIFEST_SCHEMA):
        raise ArchiveError(
            f"{private} has manifest version {version}, this release reads version {MANIFEST_VERSION}. {_HOW_TO_SCAN}"
        )
    return table


def read_linkage(private: Path, columns: list[str] | None = None) -> pa.Table:
    """Read paths and original identifiers, one row per row of the manifest.

    Args:
        private: the private folder.
        columns: columns to read; None reads all.

    Raises:
        ArchiveError: the folder is missing, holds no linkage, or the linkage is damaged.
    """
    return _read(private, LINKAGE_FILE, columns)


def read_aliases(private: Path) -> pa.ChunkedArray | None:
    """Read the column ``patient_aliases`` of the linkage table; None in folders of earlier releases."""
    linkage = read_linkage(private)
    return linkage["patient_aliases"] if "patient_aliases" in linkage.column_names else None


def key_fingerprint(manifest: pa.Table) -> str:
    """The fingerprint of the secret that made the keys of ``manifest``."""
    return str(manifest.schema.metadata[_FINGERPRINT].decode())


def is_begun_with(private: Path, fingerprint: str) -> bool:
    """Whether an earlier scan has made the keys in a private folder with the secret of this fingerprint."""
    try:
        metadata = pq.read_schema(private / MANIFEST_FILE).metadata or {}
    except (OSError, pa.ArrowException):
        return False
    return bool(metadata.get(_FINGERPRINT, b"").decode("ascii", "replace") == fingerprint)


def key_origin(manifest: pa.Table) -> tuple[int, str]:
    """How the keys of ``manifest`` were made: 1 in earlier releases, else 2; and the key of the setting ``source``."""
    metadata = manifest.schema.metadata or {}
    return int(metadata.get(_KEYS, b"1")), metadata.get(_SOURCE, b"").decode()


def dataset_name(private: Path) -> str | None:
    """The name of the public data set that was scanned; None for other archives and those of earlier releases."""
    metadata = pq.read_schema(private / MANIFEST_FILE).metadata or {}
    return metadata[_DATASET].decode() if _DATASET in metadata else None


def is_private(folder: Path) -> bool:
    """Whether a scan has finished in the folder."""
    return (folder / MANIFEST_FILE).exists()


_HOW_TO_SCAN = "Make it with: mae-rad scan ARCHIVE --out PRIVATE"


def _read(private: Path, name: str, columns: list[str] | None = None) -> pa.Table:
    if not private.is_dir():
        raise ArchiveError(f"private folder {private} does not exist. {_HOW_TO_SCAN}")
    try:
        return pq.read_table(private / name, columns=columns)
    except FileNotFoundError:
        raise ArchiveError(f"{private} is no private folder, or its scan has not finished. {_HOW_TO_SCAN}") from None
    except (OSError, pa.ArrowException):
        raise ArchiveError(f"{private / name} cannot be read. {_HOW_TO_SCAN}") from None
