"""What is found out about one file of an archive."""

from dataclasses import dataclass, field
from typing import Any

from data_prep.errors import Reason


@dataclass(frozen=True)
class FileRow:
    """One file: a film with its facts, or the reason why it is none.

    Attributes:
        source: dicom, png, jpeg or other.
        reason: None for a readable film.
        facts: columns of the private header table; those that go on into the manifest are screened.
    """

    source: str
    reason: Reason | None = None
    facts: dict[str, Any] = field(default_factory=dict)
