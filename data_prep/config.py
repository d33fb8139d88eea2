"""Settings of scanning and sharding. ``runtime`` cannot change a byte of a shard; everything else can."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from data_prep.settings import Settings

_IMAGE_GROUPS = {"patient", "study", "body_part", "view"}


class ScanSettings(Settings):
    """How an archive is read into the private folder."""

    key_file: Path | None = None
    """File with the secret for pseudonyms; the environment variable MAE_RAD_KEY goes before it."""
    source: str = ""
    """Who gave out the patient numbers, for films that name no issuer: keeps equal numbers of two hospitals apart."""
    secondary_captures: bool = False
    """Take secondary captures whose modality is CR, DX or RG: they are often screenshots with the patient's name."""
    image_pattern: str | None = None
    r"""Regular expression searched in the path of a PNG or JPEG below its archive, with the named groups ``patient``,
    ``study``, ``body_part`` and ``view`` (all optional), for example ``(?P<patient>\d{8})_\d{3}``."""
    workers: int = Field(default=0, ge=0)
    """Processes that read headers; 0 takes one per core."""

    @field_validator("image_pattern")
    @classmethod
    def _known_groups(cls, pattern: str | None) -> str | None:
        try:
            groups = set(re.compile(pattern).groupindex) if pattern is not None else _IMAGE_GROUPS
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        if not groups or groups - _IMAGE_GROUPS:
            raise ValueError(f"needs named groups (?P<name>…), and only of {', '.join(sorted(_IMAGE_GROUPS))}")
        return pattern


class SplitSettings(Settings):
    """Fractions of the known patients; the rest trains."""

    val: float = Field(default=0.1, ge=0, lt=1)
    test: float = Field(default=0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _leave_some_to_train(self) -> Self:
        if self.val + self.test >= 1:
            raise ValueError("val and test together must leave patients to train on")
        return self


class ShardRuntime(Settings):
    """Settings that change speed and tolerance, never a byte of a shard."""

    workers: int = Field(default=0, ge=0)
    """Processes that write shards; 0 takes one per core."""
    max_reject_fraction: float = Field(default=0.05, ge=0, le=1)
    """The run ends non-zero where more of the radiograph files than this are rejected."""


class ShardSettings(Settings):
    """How the films of a private folder become shards."""

    max_side: Annotated[int, Field(ge=16)] | Literal["native"] = 1536
    """Longest side in pixels after area averaging; a smaller film is never enlarged."""
    films_per_shard: int = Field(default=500, ge=1, le=100_000)
    seed: int = Field(default=0, ge=0)
    splits: SplitSettings = SplitSettings()
    keep_for_processing: bool = False
    """Take DX films FOR PROCESSING, which have no look of their own."""
    runtime: ShardRuntime = ShardRuntime()
