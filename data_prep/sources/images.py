"""PNG and JPEG films: size and orientation from the file's header, identity from its path."""

import re
import warnings
from pathlib import Path

from PIL import ExifTags, Image

from data_prep.config import ScanSettings
from data_prep.deidentify import fields
from data_prep.deidentify.keys import Pseudonyms
from data_prep.errors import Reason
from data_prep.sources.row import FileRow

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_PNG_DEPTH_BYTE = 24
"""Offset of the bit depth in the IHDR chunk, which comes first (PNG specification, section 11.2.1)."""
_PHOTOMETRIC = {"1": "MONOCHROME2", "L": "MONOCHROME2", "LA": "MONOCHROME2", "P": "PALETTE COLOR"}


def image_kind(head: bytes) -> str | None:
    """Tell png or jpeg by the signature at the beginning of a file."""
    if head.startswith(_PNG):
        return "png"
    return "jpeg" if head.startswith(_JPEG) else None


def read_image(
    path: Path, below: str, kind: str, head: bytes, pseudonyms: Pseudonyms, settings: ScanSettings
) -> FileRow:
    """Facts of one image.

    Args:
        path: the file.
        below: its path below the archive, with slashes: the film's identity.
        kind: png or jpeg.
        head: the first bytes of the file.
        pseudonyms: makes the keys.
        settings: ``image_pattern`` and ``source``.
    """
    try:
        with warnings.catch_warnings():  # Pillow's warnings may quote texts of the file
            warnings.simplefilter("ignore")
            with Image.open(path, formats=[kind]) as image:
                columns, rows = image.size
                mode = image.mode
                exif = Image.Exif()
                exif.load(image.info.get("exif", b""))
                orientation = exif.get(ExifTags.Base.Orientation, 1)
    except Image.DecompressionBombError:
        return FileRow(kind, Reason.TOO_LARGE)
    except OSError as error:
        if error.errno is not None:  # the disk, not the file
            raise
        return FileRow(kind, Reason.UNREADABLE_HEADER)
    except Exception:  # Pillow raises whatever a broken file makes it stumble over
        return FileRow(kind, Reason.UNREADABLE_HEADER)
    facts, unmapped = _identity(below, pseudonyms, settings)
    facts |= {
        "orientation": orientation if orientation in range(1, 9) else 1,
        "rows": rows,
        "columns": columns,
        "bits_stored": 16 if kind == "png" and head[_PNG_DEPTH_BYTE] == 16 else 8,
        "photometric": "MONOCHROME2" if mode[0] in "IF" else _PHOTOMETRIC.get(mode, "RGB"),
    }
    return FileRow(kind, None, facts, {}, unmapped)


def _identity(
    below: str, pseudonyms: Pseudonyms, settings: ScanSettings
) -> tuple[dict[str, object], tuple[tuple[str, str], ...]]:
    """Keys and words that the path tells by ``image_pattern``; without it each film is a study of its own."""
    match = re.search(settings.image_pattern, below) if settings.image_pattern else None
    told = {name: (text or "").strip() for name, text in match.groupdict().items()} if match else {}
    patient_id, study = told.get("patient", ""), told.get("study", "")
    key = pseudonyms.film_of_path(settings.source, below)
    study_key = pseudonyms.named_study(settings.source, patient_id, study) if study else pseudonyms.study_of_film(key)
    mapped = {"body_part": fields.body_part(told.get("body_part", "")), "view": fields.view(told.get("view", ""))}
    facts: dict[str, object] = {
        "key": key,
        "patient": pseudonyms.patient(settings.source, patient_id)
        if patient_id
        else pseudonyms.patient_of_study(study_key),
        "study": study_key,
        "series": pseudonyms.series_of_film(key),
        "patient_known": bool(patient_id),
        **mapped,
    }
    unmapped = tuple((name, told[name]) for name, value in mapped.items() if told.get(name) and value is None)
    return facts, unmapped
