"""DICOMDIR: the index of a medium (PS3.3 Annex F). It is not trusted to be complete: what lies beside it is found."""

from pathlib import Path
from typing import Any

from pydicom import dcmread

NAME = "DICOMDIR"
_RECORDS = "DirectoryRecordSequence"


def is_dicomdir(path: Path) -> bool:
    """Whether a file bears the one name that PS3.10 section 8.6 gives it; some media have it in small letters."""
    return path.name.upper() == NAME and path.is_file()


def missing_files(path: Path) -> int:
    """How many files a DICOMDIR refers to that are not there.

    Raises:
        Exception: whatever a broken file makes pydicom stumble over.
    """
    records = dcmread(path, specific_tags=[_RECORDS]).get(_RECORDS) or []
    named = {parts for record in records if (parts := _file_id(record))}
    return sum(not _exists(path.parent, parts) for parts in named)


def _file_id(record: Any) -> tuple[str, ...]:
    """Components of Referenced File ID (0004,1500); none where the record refers to no file, or leads elsewhere."""
    value = record.get("ReferencedFileID")
    parts = (value,) if isinstance(value, str) else tuple(value or ())
    return parts if all(part and part not in (".", "..") and "/" not in part for part in parts) else ()


def _exists(folder: Path, parts: tuple[str, ...]) -> bool:
    """Some systems show the names of a medium in small letters, or with an ending."""
    cases = (parts, tuple(part.lower() for part in parts), tuple(part.upper() for part in parts))
    return any(folder.joinpath(*case).is_file() for case in cases)
