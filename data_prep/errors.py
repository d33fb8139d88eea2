"""Everything that can go wrong in a way that a user can mend.

UserError                 one clear line, exit code 2; never a traceback
├── SettingsError         a config key or value is wrong
├── SecretError           the pseudonymisation secret is absent, too short or another one
├── ArchiveError          an archive or a private folder is missing, empty or unreadable
├── ShardFormatError      a public folder is missing, unfinished, damaged or of another version
│   └── FolderBusyError   … or another command is writing to it
└── LabelError            an expert table is missing or malformed, or a row of it is wrong
FilmReject                one film cannot become a sample; becomes a row with its reason, never stops a run
"""

import traceback
from enum import StrEnum
from pathlib import Path


class UserError(Exception):
    """A mistake or a missing thing that the user can mend; the message says what, where and what to do."""


class SettingsError(UserError):
    """A config key is unknown or a value is not valid."""


class SecretError(UserError):
    """The secret for pseudonyms is absent, too short, or not the one that made the folder."""


class ArchiveError(UserError):
    """An archive or private folder is missing, empty or cannot be read."""


class ShardFormatError(UserError):
    """A public folder is missing, unfinished, damaged, or written by another format version."""


class FolderBusyError(ShardFormatError):
    """Another command is writing to a public folder."""


class LabelError(UserError):
    """An expert table is missing or malformed, or a row of it is wrong."""


class Reason(StrEnum):
    """Why a file did not become a film. Public: the words name no file and no person."""

    NOT_A_FILM = "not_a_film"
    UNREADABLE_HEADER = "unreadable_header"
    NO_PIXELS = "no_pixels"
    NOT_A_RADIOGRAPH = "not_a_radiograph"
    DOCUMENT = "document"
    MAMMOGRAPHY = "mammography"
    INTRA_ORAL = "intra_oral"
    FLUOROSCOPY = "fluoroscopy"
    LOCALIZER = "localizer"
    FOR_PROCESSING = "for_processing"
    PROCESSING_TWIN = "processing_twin"
    SECONDARY_CAPTURE = "secondary_capture"
    DIGITIZED_FILM = "digitized_film"
    SCREENSHOT = "screenshot"
    PHOTOGRAPH = "photograph"
    MULTI_FRAME = "multi_frame"
    NO_IDENTIFIER = "no_identifier"
    TRANSFER_SYNTAX = "transfer_syntax_not_supported"
    PIXEL_LAYOUT = "pixel_layout_not_supported"
    COLOUR = "colour"
    CORRUPT_PIXELS = "corrupt_pixels"
    BURNED_IN_ANNOTATION = "burned_in_annotation"
    TOO_SMALL = "too_small"
    TOO_LARGE = "too_large"
    CONSTANT = "constant"
    EMPTY_EXPOSURE = "empty_exposure"
    UNREADABLE_FILE = "unreadable_file"
    CHANGED_SINCE_SCAN = "changed_since_scan"
    DECODER_CRASHED = "decoder_crashed"
    DECODER_TIMEOUT = "decoder_timeout"
    DUPLICATE = "duplicate"
    UID_CONFLICT = "uid_conflict"
    ALREADY_SHARDED = "already_sharded"
    IDENTITY_CHANGED = "identity_changed"


DROPPED = frozenset({Reason.DUPLICATE, Reason.PROCESSING_TWIN, Reason.ALREADY_SHARDED})
"""Reasons that count as dropped, not as rejected: the same exposure is there in another file or generation."""


class FilmReject(Exception):  # noqa: N818 - a verdict on one film, not an error of the program
    """One film cannot become a sample.

    Args:
        reason: the enum that is written to the ledger.
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason

    def __reduce__(self) -> tuple[type["FilmReject"], tuple[Reason]]:
        """Survive the way back from a worker process."""
        return (FilmReject, (self.reason,))


DEBUG = "MAE_RAD_DEBUG"
"""Environment variable: set, unexpected errors show their whole traceback, which may quote identifying values."""


def unexpected(error: Exception) -> str:
    """An error that nobody foresaw, in words that quote nothing of the archive: its type and our own line."""
    frames = traceback.extract_tb(error.__traceback__)
    where = [f"{place.as_posix()}:{frame.lineno}" for frame in frames if (place := _own_file(frame.filename))]
    return (
        f"unexpected {type(error).__name__} at {where[-1] if where else 'an unknown place'};"
        f" set {DEBUG}=1 to see the traceback, which may quote identifying values"
    )


_ROOT = Path(__file__).resolve().parents[1]
_OWN = {"data_prep", "mae_rad", "launch"}


def _own_file(name: str) -> Path | None:
    """The file's place below the folder that holds our packages, at any depth; None for the code of others."""
    path = Path(name).resolve()
    place = path.relative_to(_ROOT) if path.is_relative_to(_ROOT) else None
    return place if place is not None and place.parts[0] in _OWN else None
