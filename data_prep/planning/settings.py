"""Settings of sharding. ``runtime`` cannot change a byte of a shard; everything else can."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from data_prep.archive.selection_settings import SelectionSettings
from data_prep.settings import Settings
from data_prep.shard_format.film_codec import Codec


def _table_word(value: object) -> object:
    """``none`` and ``auto`` in any case; null, as older settings have it, is ``none``."""
    if not isinstance(value, str | Path | None):
        raise ValueError("give auto, none, or the path of a table")
    word = value.lower() if isinstance(value, str) else None
    return None if word in {"none", "null"} else "auto" if word == "auto" else value


class SplitSettings(Settings):
    """Which patients validate and test; the others train."""

    val: float = Field(default=0.1, ge=0, lt=1)
    test: float = Field(default=0.1, ge=0, lt=1)
    """Fractions of the known patients whose split is drawn."""
    table: Annotated[Literal["auto"] | Path | None, BeforeValidator(_table_word)] = "auto"
    """CSV with the columns ``patient`` (number as in the archive) and ``split`` (train, val, test, or train_val: drawn
    into these two). ``auto`` takes splits.csv of the private folder, where the scan of a known set wrote one; ``none``
    draws all patients. A file of one of these names: ./auto."""
    unnamed: Literal["train", "draw"] = "train"
    """Patients whom the table does not name: they train, or their split is drawn."""

    @model_validator(mode="after")
    def _leave_some_to_train(self) -> Self:
        if self.val + self.test >= 1:
            raise ValueError("val and test together must leave patients to train on")
        return self


class ShardRuntime(Settings):
    """Settings that change speed and tolerance; of the shards, only which files are given up, each with its reason."""

    renamed: ClassVar[Mapping[str, str]] = {
        "file_seconds": "file_timeout_seconds", "recycle_files": "restart_after_files",
    }  # fmt: skip

    workers: int = Field(default=0, ge=0)
    """Processes that write shards; 0 takes one per core."""
    file_timeout_seconds: float = Field(default=120, gt=0)
    """A file that takes longer is tried once more; then it counts as ``decoder_timeout``."""
    memory_gib: float = Field(default=8, ge=0)
    """Memory that a process may take for a film, beyond what it begins with; 0 sets no limit."""
    restart_after_files: int = Field(default=5000, ge=1)
    """A process is replaced after the shard with which it has reached so many files."""
    accept: frozenset[Literal["unreadable_file", "changed_since_scan", "decoder_timeout"]] = frozenset()
    """Go on without files that fail in these ways. By default such files leave their shard unfinished, since another
    day may bring them back. A file that kills its process twice is always given up (``decoder_crashed``)."""
    check_disk: bool = True
    """Refuse to begin where the shards are expected to need more space than is free."""
    isolated: bool = True
    """False decodes in this process, without time-out: for debuggers. A decoder that crashes takes the run with it."""
    part: str | None = None
    """``K/N``: write the Kth of N parts (from 0) and publish nothing, so that N machines can share the work; the same
    command without it, after them, publishes."""
    max_reject_fraction: float = Field(default=0.05, ge=0, le=1)
    """The run ends non-zero where more of the radiograph files than this are rejected."""

    @field_validator("part")
    @classmethod
    def _is_part(cls, part: str | None) -> str | None:
        if part is not None:
            numbers = re.fullmatch(r"(\d+)/(\d+)", part)
            if not numbers or int(numbers[1]) >= int(numbers[2]):
                raise ValueError("give K/N with 0 ≤ K < N, for example 0/16")
        return part

    @property
    def share(self) -> slice:
        """Which of the shards are to be written: every Nth, from the Kth."""
        first, step = (int(number) for number in (self.part or "0/1").split("/"))
        return slice(first, None, step)


class ShardSettings(Settings):
    """How the films of a private folder become shards."""

    max_side: Annotated[int, Field(ge=16)] | Literal["native"] = 1536
    """Longest side in pixels after area averaging; a smaller film is never enlarged."""
    min_side: int = Field(default=64, ge=16)
    """A film with fewer rows or columns in its file is none (``too_small``): stubs, icons, thumbnails of thumbnails."""
    codec: Codec = "htj2k"
    """How films are stored, see :mod:`data_prep.shard_format.film_codec`; only htj2k and png keep every value."""
    films_per_shard: int = Field(default=500, ge=1, le=100_000)
    seed: int = Field(default=0, ge=0)
    splits: SplitSettings = SplitSettings()
    selection: SelectionSettings = SelectionSettings()
    runtime: ShardRuntime = ShardRuntime()


class SlurmSettings(Settings):
    """How machines are requested from Slurm."""

    renamed: ClassVar[Mapping[str, str]] = {"at_once": "max_parallel"}

    jobs: int = Field(default=16, ge=1)
    """Parts that the shards are divided into: tasks of the array."""
    max_parallel: int = Field(default=1000, ge=1)
    """So many of them run at the same time, at most."""
    cpus: int = Field(default=8, ge=1)
    """Cores of a task, each with a process of its own."""
    memory_gb: Annotated[int, Field(ge=1)] | None = 32
    """Of a task: about 1 GB per core, and room for large films; null where the site counts no memory."""
    minutes: int = Field(default=1440, ge=1)
    """Wall time of a task; one that reaches it is queued again and goes on."""
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    extra: dict[str, str | int] = Field(default_factory=dict)
    """Further options of ``sbatch``, without their dashes."""
    cluster: Literal["slurm", "local"] = "slurm"
    """``local`` runs the same jobs as processes of this machine, to try it."""


class SubmitSettings(ShardSettings):
    """Shards that a cluster writes."""

    slurm: SlurmSettings = SlurmSettings()
