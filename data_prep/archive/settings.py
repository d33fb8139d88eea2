"""Settings for reading the headers of an archive."""

import re

from pydantic import Field, field_validator

from data_prep.settings import Settings

_IMAGE_GROUPS = {"patient", "study", "body_part", "view", "laterality", "sex", "age"}


class ReadSettings(Settings):
    """Settings for reading the headers of an archive."""

    source: str = ""
    """Issuer of patient numbers, for headers that name none: distinguishes equal numbers of two hospitals."""
    image_pattern: str | None = None
    r"""Regular expression for the path of a file relative to its archive, with the named groups ``patient``, ``study``,
    ``body_part``, ``view``, ``laterality``, ``sex`` and ``age`` (all optional): ``(?P<patient>\d{8})_\d{3}`` or
    ``^(?P<body_part>[^/]+)/``. Of a DICOM file the patient is taken only where its header names none, and the study
    is always that of its header; for the other facts see ``facts.order``."""
    workers: int = Field(default=0, ge=0)
    """Processes that read headers; 0 starts one per core."""
    read_ahead: int = Field(default=8, ge=1, le=256)
    """Files that each process opens at the same time; hides the latency of slow storage."""

    @field_validator("image_pattern")
    @classmethod
    def _known_groups(cls, pattern: str | None) -> str | None:
        try:
            groups = set(re.compile(pattern).groupindex) if pattern is not None else _IMAGE_GROUPS
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from None
        if not groups or groups - _IMAGE_GROUPS:
            raise ValueError(f"must have named groups (?P<name>…), and only these: {', '.join(sorted(_IMAGE_GROUPS))}")
        return pattern
