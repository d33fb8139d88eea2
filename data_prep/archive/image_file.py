"""Facts of PNG and JPEG films: size and orientation from the header of the file, identity from its path."""

import io
import re
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from data_prep.archive.file_facts import FileRow
from data_prep.archive.file_listing import path_text
from data_prep.archive.reject_by_header import format_marks
from data_prep.archive.settings import ReadSettings
from data_prep.deidentify.pseudonyms import Pseudonyms
from data_prep.errors import Reason
from data_prep.runtime.user_patterns import search

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_PNG_DEPTH_BYTE = 24
"""Offset of the bit depth in the IHDR chunk, which comes first (PNG specification, section 11.2.1)."""
_PHOTOMETRIC = {"1": "MONOCHROME2", "L": "MONOCHROME2", "LA": "MONOCHROME2", "P": "PALETTE COLOR"}
_SCREEN_SIZES = frozenset(
    {
        *((640, 480), (800, 600), (1024, 768), (1152, 864), (1280, 720), (1280, 800), (1280, 1024), (1360, 768)),
        *((1366, 768), (1440, 900), (1536, 864), (1600, 900), (1600, 1200), (1680, 1050), (1920, 1080), (1920, 1200)),
        *((2048, 1152), (2160, 1440), (2256, 1504), (2560, 1080), (2560, 1440), (2560, 1600), (2880, 1800)),
        *((3000, 2000), (3440, 1440), (3840, 2160), (1125, 2436), (1170, 2532), (1179, 2556), (750, 1334)),
        *((828, 1792), (1080, 1920), (1080, 2340), (1080, 2400), (1284, 2778), (1290, 2796), (1242, 2688)),
    }
)
"""(columns, rows) of monitors and telephones: an image of this size is a screenshot, which can show text."""
_SCREENSHOT_SOFTWARE = re.compile(
    r"screen ?-?(shot|capture|grab|snip)|snipping|snagit|greenshot|lightshot", re.IGNORECASE
)
_MAX_TEXT_CHARACTERS = 4096


def image_kind(head: bytes) -> str | None:
    """Detect ``png`` or ``jpeg`` by the signature in the first bytes of a file; None for other files."""
    if head.startswith(_PNG):
        return "png"
    return "jpeg" if head.startswith(_JPEG) else None


def read_image(
    file: Path | bytes, below: str, kind: str, head: bytes, pseudonyms: Pseudonyms, settings: ReadSettings
) -> FileRow:
    """Read the header of one image.

    Args:
        file: its path or content.
        below: path relative to the archive, with slashes: the identity of the film.
        kind: png or jpeg.
        head: the first bytes of the file.
        pseudonyms: makes the keys.
        settings: ``image_pattern`` and ``source`` are used.

    Returns:
        Facts of the film, or the reason why the file is no film.

    Raises:
        OSError: the disk fails.
    """
    try:
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file, formats=[kind]) as image:
            columns, rows = image.size
            mode, metadata = image.mode, dict(image.info)
            exif = Image.Exif()
            exif.load(metadata.pop("exif", b""))
            orientation = exif.get(ExifTags.Base.Orientation, 1)
            rules = _selection_rules(rows, columns, metadata, exif)
    except Image.DecompressionBombError:
        return FileRow(kind, Reason.TOO_LARGE)
    except OSError as error:
        if error.errno is not None:  # the disk, not the file
            raise
        return FileRow(kind, Reason.UNREADABLE_HEADER)
    except Exception:  # Pillow raises exceptions of any type on damaged files
        return FileRow(kind, Reason.UNREADABLE_HEADER)
    facts = _facts_of_path(below, pseudonyms, settings) | {
        "marks": format_marks(rules),
        "orientation": orientation if orientation in range(1, 9) else 1,
        "rows": rows,
        "columns": columns,
        "bits_stored": 16 if kind == "png" and head[_PNG_DEPTH_BYTE] == 16 else 8,
        "photometric": "MONOCHROME2" if mode[0] in "IF" else _PHOTOMETRIC.get(mode, "RGB"),
    }
    return FileRow(kind, None, facts)


def _selection_rules(rows: int, columns: int, metadata: dict[Any, Any], exif: Image.Exif) -> set[Reason]:
    """The selection rules that apply to the image."""
    rules = set()
    texts = [*metadata.values(), *exif.values(), *exif.get_ifd(ExifTags.IFD.Exif).values()]
    if (columns, rows) in _SCREEN_SIZES or any(_SCREENSHOT_SOFTWARE.search(_metadata_text(text)) for text in texts):
        rules.add(Reason.SCREENSHOT)
    camera = exif.get_ifd(ExifTags.IFD.Exif)
    if any(tag in camera for tag in (ExifTags.Base.ExposureTime, ExifTags.Base.FNumber, ExifTags.Base.FocalLength)):
        rules.add(Reason.PHOTOGRAPH)
    return rules


def _metadata_text(value: object) -> str:
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    return text.replace("\0", "")[:_MAX_TEXT_CHARACTERS]


def _facts_of_path(below: str, pseudonyms: Pseudonyms, settings: ReadSettings) -> dict[str, object]:
    """Keys of the film, its patient and its study from the path, by ``image_pattern``; else each film is a study."""
    groups = groups_of_path(below, settings.image_pattern)
    patient_id, study = groups.get("patient", ""), groups.get("study", "")
    key = pseudonyms.film_of_path(settings.source, below)
    return {
        "key": key,
        "patient_id": patient_id or None,
        "study": pseudonyms.study_of_name(settings.source, patient_id, study)
        if study
        else pseudonyms.study_of_film(key),
        "series": pseudonyms.series_of_film(key),
    }


def groups_of_path(below: str, pattern: str | None) -> dict[str, str]:
    """Find what the path of a file states.

    Args:
        below: path relative to the archive.
        pattern: the setting ``image_pattern``.

    Returns:
        Named group → text that is not empty; no groups if the pattern does not match.

    Raises:
        SettingsError: the pattern takes too long.
    """
    match = search(pattern, below, setting="image_pattern") if pattern else None
    texts = match.groupdict() if match else {}
    return {name: path_text(text.strip()) for name, text in texts.items() if text and text.strip()}
