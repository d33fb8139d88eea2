"""Exceptions of the package: errors that a user can correct, and the rejection of one film.

UserError                 one line on stderr and exit code 2, without a traceback
├── SettingsError         a setting is unknown or its value is not valid
├── SecretError           the pseudonymisation secret is absent, too short or not that of the folder
├── ArchiveError          an archive or a private folder is missing, empty or unreadable
├── ShardFormatError      a public folder is missing, unfinished, damaged or of another format version
│   └── FolderBusyError   another command is writing to the public folder
├── StorageError          object storage cannot be reached, refuses a request, or lacks a file
└── LabelError            a label table is missing or malformed, or one of its rows is not valid
FilmReject                one film cannot become a sample; it is recorded with its reason, and the run continues
"""

import traceback
from enum import StrEnum
from pathlib import Path


class UserError(Exception):
    """An error that the user can correct; the message says what is wrong, where, and what to do."""


class SettingsError(UserError):
    """A setting is unknown, or its value is not valid."""


class SecretError(UserError):
    """The secret for pseudonyms is absent, too short, or not the one with which the folder was written."""


class ArchiveError(UserError):
    """An archive or a private folder is missing, empty or unreadable."""


class ShardFormatError(UserError):
    """A public folder is missing, unfinished, damaged, or of another format version."""


class FolderBusyError(ShardFormatError):
    """Another command is writing to a public folder."""


class StorageError(UserError):
    """Object storage cannot be reached, refuses a request, or lacks a file."""


class LabelError(UserError):
    """A label table is missing or malformed, or one of its rows is not valid."""


class Reason(StrEnum):
    """Reason for which a file is not among the films. The values are public: they name no file and no person."""

    NOT_A_FILM = "not_a_film"
    HIDDEN = "hidden"
    UNREADABLE_HEADER = "unreadable_header"
    NO_PIXELS = "no_pixels"
    NOT_A_RADIOGRAPH = "not_a_radiograph"
    DOCUMENT = "document"
    NOT_HUMAN = "not_human"
    NO_EXPOSURE = "no_exposure"
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
    WITHDRAWN = "withdrawn"


DROP_REASONS = frozenset({Reason.DUPLICATE, Reason.PROCESSING_TWIN, Reason.ALREADY_SHARDED})
"""Reasons that count as dropped, not as rejected: another file or generation holds the same exposure."""


class FilmReject(Exception):  # noqa: N818 - the outcome of one film, not an error of the program
    """One film cannot become a sample.

    Args:
        reason: value that is written to ``rejects.parquet``.
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason

    def __reduce__(self) -> tuple[type["FilmReject"], tuple[Reason]]:
        """Pickle by the reason, so that worker processes can raise it in the main process."""
        return (FilmReject, (self.reason,))


DEBUG = "MAE_RAD_DEBUG"
"""Environment variable: when set, unexpected errors print their traceback, which may quote identifying values."""


def unexpected(error: Exception) -> str:
    """Describe an unexpected error by its type and the last line of this project, without its message.

    The message of the error is left out because it may quote values of the archive.
    """
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f"{path.as_posix()}:{frame.lineno}" for frame in frames if (path := _project_path(frame.filename))]
    return (
        f"unexpected {type(error).__name__} at {lines[-1] if lines else 'an unknown place'};"
        f" set {DEBUG}=1 to see the traceback, which may quote identifying values"
    )


_ROOT = Path(__file__).resolve().parents[1]
_PACKAGES = {"data_prep", "mae_rad", "launch"}


def _project_path(file_name: str) -> Path | None:
    """Path of a source file relative to the project root; None for files of other packages."""
    path = Path(file_name).resolve()
    relative = path.relative_to(_ROOT) if path.is_relative_to(_ROOT) else None
    return relative if relative is not None and relative.parts[0] in _PACKAGES else None
