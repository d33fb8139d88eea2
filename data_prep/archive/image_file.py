"""PNG and JPEG films: size and orientation from the file's header, identity from its path."""

import re
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from data_prep.archive.file_facts import FileRow
from data_prep.archive.reject_rules import marks
from data_prep.archive.settings import ReadSettings
from data_prep.deidentify import header_screening
from data_prep.deidentify.pseudonyms import Pseudonyms
from data_prep.errors import Reason

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_PNG_DEPTH_BYTE = 24
"""Offset of the bit depth in the IHDR chunk, which comes first (PNG specification, section 11.2.1)."""
_PHOTOMETRIC = {"1": "MONOCHROME2", "L": "MONOCHROME2", "LA": "MONOCHROME2", "P": "PALETTE COLOR"}
_SCREENS = frozenset(
    {
        *((640, 480), (800, 600), (1024, 768), (1152, 864), (1280, 720), (1280, 800), (1280, 1024), (1360, 768)),
        *((1366, 768), (1440, 900), (1536, 864), (1600, 900), (1600, 1200), (1680, 1050), (1920, 1080), (1920, 1200)),
        *((2048, 1152), (2160, 1440), (2256, 1504), (2560, 1080), (2560, 1440), (2560, 1600), (2880, 1800)),
        *((3000, 2000), (3440, 1440), (3840, 2160), (1125, 2436), (1170, 2532), (1179, 2556), (750, 1334)),
        *((828, 1792), (1080, 1920), (1080, 2340), (1080, 2400), (1284, 2778), (1290, 2796), (1242, 2688)),
    }
)
"""(columns, rows) of monitors and telephones: a whole screen was stored, with whatever the program wrote on it."""
_SCREEN_PROGRAM = re.compile(r"screen ?-?(shot|capture|grab|snip)|snipping|snagit|greenshot|lightshot", re.IGNORECASE)
_LONGEST_TEXT = 4096


def image_kind(head: bytes) -> str | None:
    """Tell png or jpeg by the signature at the beginning of a file."""
    if head.startswith(_PNG):
        return "png"
    return "jpeg" if head.startswith(_JPEG) else None


def read_image(
    path: Path, below: str, kind: str, head: bytes, pseudonyms: Pseudonyms, settings: ReadSettings
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
        with Image.open(path, formats=[kind]) as image:
            columns, rows = image.size
            mode, told = image.mode, dict(image.info)
            exif = Image.Exif()
            exif.load(told.pop("exif", b""))
            orientation = exif.get(ExifTags.Base.Orientation, 1)
            rules = _rules(rows, columns, mode, told, exif)
    except Image.DecompressionBombError:
        return FileRow(kind, Reason.TOO_LARGE)
    except OSError as error:
        if error.errno is not None:  # the disk, not the file
            raise
        return FileRow(kind, Reason.UNREADABLE_HEADER)
    except Exception:  # Pillow raises whatever a broken file makes it stumble over
        return FileRow(kind, Reason.UNREADABLE_HEADER)
    facts = _identity(below, pseudonyms, settings) | {
        "marks": marks(rules),
        "orientation": orientation if orientation in range(1, 9) else 1,
        "rows": rows,
        "columns": columns,
        "bits_stored": 16 if kind == "png" and head[_PNG_DEPTH_BYTE] == 16 else 8,
        "photometric": "MONOCHROME2" if mode[0] in "IF" else _PHOTOMETRIC.get(mode, "RGB"),
    }
    return FileRow(kind, None, facts)


def _rules(rows: int, columns: int, mode: str, told: dict[Any, Any], exif: Image.Exif) -> set[Reason]:
    """The rules of selection that the image falls under."""
    rules = set()
    texts = [*told.values(), *exif.values(), *exif.get_ifd(ExifTags.IFD.Exif).values()]
    if (columns, rows) in _SCREENS or any(_SCREEN_PROGRAM.search(_plain(text)) for text in texts):
        rules.add(Reason.SCREENSHOT)
    camera = exif.get_ifd(ExifTags.IFD.Exif)
    if any(tag in camera for tag in (ExifTags.Base.ExposureTime, ExifTags.Base.FNumber, ExifTags.Base.FocalLength)):
        rules.add(Reason.PHOTOGRAPH)
    return rules


def _plain(value: object) -> str:
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    return text.replace("\0", "")[:_LONGEST_TEXT]


def _identity(below: str, pseudonyms: Pseudonyms, settings: ReadSettings) -> dict[str, object]:
    """Keys and words that the path tells by ``image_pattern``; without it each film is a study of its own."""
    match = re.search(settings.image_pattern, below) if settings.image_pattern else None
    told = {name: (text or "").strip() for name, text in match.groupdict().items()} if match else {}
    patient_id, study = told.get("patient", ""), told.get("study", "")
    key = pseudonyms.film_of_path(settings.source, below)
    mapped = {
        "body_part": header_screening.body_part(told.get("body_part", "")),
        "view": header_screening.view(told.get("view", "")),
    }
    facts: dict[str, object] = {
        "key": key,
        "patient_id": patient_id or None,
        "study": pseudonyms.named_study(settings.source, patient_id, study) if study else pseudonyms.study_of_film(key),
        "series": pseudonyms.series_of_film(key),
        **mapped,
    }
    return facts | {f"unmapped_{name}": told[name] for name, word in mapped.items() if told.get(name) and word is None}
