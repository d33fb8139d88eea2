"""Result of reading the header of one file of an archive."""

from dataclasses import dataclass, field
from typing import Any

from data_prep.errors import Reason


@dataclass(frozen=True)
class FileRow:
    """One file: the facts of a film, or the reason why the file is no film.

    Attributes:
        source: dicom, png, jpeg or other.
        reason: None for a readable film.
        facts: columns of the private header table; the columns of the manifest are screened.
    """

    source: str
    reason: Reason | None = None
    facts: dict[str, Any] = field(default_factory=dict)
