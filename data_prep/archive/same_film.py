"""Whether a file that is read a second time still holds the film that was scanned.

Size and time of a file can stay the same when its content is replaced, so its header is read again: the identifiers of
the object and all that the selection rules depend on have to be those of the scan.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.archive.dicom_file import read_dicom
from data_prep.archive.file_facts import FileRow
from data_prep.archive.image_file import image_kind, read_image
from data_prep.archive.settings import ReadSettings
from data_prep.deidentify.pseudonyms import MIN_SECRET_BYTES, Pseudonyms
from data_prep.runtime.library_warnings import silence_libraries

IDENTIFIERS = ("sop_instance_uid", "study_uid", "patient_id")
"""Columns of the linkage table that a header states."""
_FACTS = ("marks", "frames", "rows", "columns", "orientation", "sop_instance_uid", "study_uid")
_NO_KEYS = Pseudonyms(bytes(MIN_SECRET_BYTES))
"""The keys that it makes are not compared: processes that read pixels do not have the secret."""


def is_film_of_scan(data: bytes, facts: Mapping[str, Any]) -> bool:
    """Compare a file with its row.

    Args:
        data: the whole file.
        facts: row of the manifest, with IDENTIFIERS; columns that it lacks are not compared.
    """
    with silence_libraries():
        row = _read(data, facts["source"])
    if row is None or row.reason is not None:
        return False
    if any(row.facts.get(name) != facts[name] for name in _FACTS if name in facts):
        return False
    patient = row.facts.get("patient_id")  # a table may have told it where the header does not
    return patient is None or facts.get("patient_id", patient) == patient


def _read(data: bytes, source: str) -> FileRow | None:
    if source == "dicom":
        return read_dicom(Path(), data, len(data), _NO_KEYS)
    kind = image_kind(data)
    return read_image(data, "", kind, data, _NO_KEYS, ReadSettings()) if kind == source else None
