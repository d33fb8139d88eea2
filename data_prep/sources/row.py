"""What is found out about one file of an archive."""

from dataclasses import dataclass, field
from typing import Any

from data_prep.errors import Reason


@dataclass(frozen=True)
class FileRow:
    """One file: a film with its facts, or the reason why it is none.

    Attributes:
        source: dicom, png, jpeg or other.
        reason: None for a film.
        facts: columns of the manifest that hold for a film, screened; the model name is still to be screened.
        identifiers: columns of the linkage table; private.
        unmapped: (field, word) for each word that no vocabulary knows; private.
    """

    source: str
    reason: Reason | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    identifiers: dict[str, str | None] = field(default_factory=dict)
    unmapped: tuple[tuple[str, str], ...] = ()
