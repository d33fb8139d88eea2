"""Reads DICOMDIR, the index of a medium (PS3.3 Annex F), which may be incomplete."""

from pathlib import Path
from typing import Any

from pydicom import dcmread

DICOMDIR_NAME = "DICOMDIR"
_RECORDS = "DirectoryRecordSequence"


def is_dicomdir(path: Path) -> bool:
    """Whether a file has the name that PS3.10 section 8.6 requires, in upper or lower case."""
    return path.name.upper() == DICOMDIR_NAME and path.is_file()


def count_missing_files(path: Path) -> int:
    """Count the files that a DICOMDIR refers to and that do not exist.

    Raises:
        Exception: pydicom fails on a damaged file.
    """
    records = dcmread(path, specific_tags=[_RECORDS]).get(_RECORDS) or []
    file_ids = {parts for record in records if (parts := _file_id(record))}
    return sum(not _exists(path.parent, parts) for parts in file_ids)


def _file_id(record: Any) -> tuple[str, ...]:
    """Components of Referenced File ID (0004,1500); empty if the record refers to no file on the medium."""
    value = record.get("ReferencedFileID")
    parts = (value,) if isinstance(value, str) else tuple(value or ())
    return parts if all(part and part not in (".", "..") and "/" not in part for part in parts) else ()


def _exists(folder: Path, parts: tuple[str, ...]) -> bool:
    """Whether the file exists, with its name as written or in lower or upper case, as some systems show it."""
    cases = (parts, tuple(part.lower() for part in parts), tuple(part.upper() for part in parts))
    return any(folder.joinpath(*case).is_file() for case in cases)
