"""Settings of sharding: ``runtime`` does not change the bytes of a shard, all others do."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from data_prep.archive.selection_settings import SelectionSettings
from data_prep.settings import Settings
from data_prep.shard_format.film_codec import Codec


def _parse_table(value: object) -> object:
    """Accept ``none`` and ``auto`` in upper or lower case; null, as in former settings, means ``none``."""
    if not isinstance(value, str | Path | None):
        raise ValueError("give auto, none, or the path of a table")
    name = value.lower() if isinstance(value, str) else None
    return None if name in {"none", "null"} else "auto" if name == "auto" else value


class StratifySettings(Settings):
    """Column whose values shall have the same fractions of val and test patients."""

    column: str
    """Column of the films, such as body_part or sex, or of ``table``."""
    table: Path | None = None
    """CSV that is read while planning, before labels exist. It names films (``path``, ``film`` or
    ``sop_instance_uid``), studies (``study``: the UID) or patients (``patient``); null: a column of the films."""


class SplitSettings(Settings):
    """Assignment of patients to train, val and test."""

    val: float = Field(default=0.1, ge=0, lt=1)
    """Fraction (0 to 1) of the known patients that are drawn for validation; those of no other split train."""
    test: float = Field(default=0.1, ge=0, lt=1)
    """Fraction (0 to 1) of the known patients that are drawn for testing."""
    table: Annotated[Literal["auto"] | Path | None, BeforeValidator(_parse_table)] = "auto"
    """CSV with the columns ``patient`` (number as in the archive) and ``split`` (train, val, test, or train_val: drawn
    into train or val). ``auto`` takes splits.csv of the private folder, which the scan of a public data set writes;
    ``none`` draws all patients. A file named auto or none is given as ./auto or ./none."""
    unnamed: Literal["train", "draw"] = "train"
    """Patients whom the table does not name: all train, or their splits are drawn."""
    stratify: StratifySettings | None = None
    """Draw val and test from the patients of each value of a column, each patient counted at the rarest of its values;
    the private folder keeps what was drawn. null: the splits of patients are drawn by themselves."""
    hold_out: dict[str, str | int] = Field(default_factory=dict)
    """Column of the films or of ``stratify.table`` → value: all patients with such a film test, for example
    ``{site: 3fd0…}`` keeps a site for testing."""

    @property
    def kept(self) -> bool:
        """Whether the splits depend on other patients, so that the private folder has to keep them."""
        return self.stratify is not None or bool(self.hold_out)

    @model_validator(mode="after")
    def _check_one_source(self) -> Self:
        if self.kept and self.table not in ("auto", None):
            raise ValueError("a table states splits, stratify and hold_out draw them; give one of the two")
        return self

    @model_validator(mode="after")
    def _check_train_fraction(self) -> Self:
        if self.val + self.test >= 1:
            raise ValueError("val and test together must be less than 1, so that patients are left to train on")
        return self


class ShardRuntime(Settings):
    """Speed and tolerance of sharding; of the content, they decide only which failing files are rejected."""

    renamed: ClassVar[Mapping[str, str]] = {
        "file_seconds": "file_timeout_seconds", "recycle_files": "restart_after_files",
    }  # fmt: skip

    workers: int = Field(default=0, ge=0)
    """Number of processes that write shards; 0: one per core."""
    file_timeout_seconds: float = Field(default=120, gt=0)
    """Seconds that one file may take. A slower file is tried once more, then fails with ``decoder_timeout``."""
    memory_gib: float = Field(default=8, ge=0)
    """GiB that a process may allocate for a film, beyond its memory at the start; 0: no limit."""
    restart_after_files: int = Field(default=5000, ge=1)
    """Number of files after which a process is replaced, once its current shard is done."""
    accept: frozenset[Literal["unreadable_file", "changed_since_scan", "decoder_timeout"]] = frozenset()
    """Failures for which a file is rejected and its shard is written without it. By default such files leave their
    shard unfinished, since they may be readable later. A file that crashes its process twice is always rejected
    (``decoder_crashed``)."""
    check_disk: bool = True
    """Refuse to start where the shards are expected to need more space than is free."""
    isolated: bool = True
    """False: decode in the process of the command, without limits, for debuggers; a decoder crash ends the run."""
    part: str | None = None
    """``K/N``: write only part K (from 0) of N, so that N machines share the work, and do not publish. The same command
    without ``part``, after all parts, publishes."""
    max_reject_fraction: float = Field(default=0.05, ge=0, le=1)
    """Fraction (0 to 1) of the radiograph files; where more are rejected, the command ends with exit code 3."""

    @field_validator("part")
    @classmethod
    def _check_part(cls, part: str | None) -> str | None:
        if part is not None:
            numbers = re.fullmatch(r"(\d+)/(\d+)", part)
            if not numbers or int(numbers[1]) >= int(numbers[2]):
                raise ValueError("give K/N with 0 ≤ K < N, for example 0/16")
        return part

    @property
    def share(self) -> slice:
        """The shards of ``part`` in the list of planned shards: every Nth, from the Kth."""
        first, step = (int(number) for number in (self.part or "0/1").split("/"))
        return slice(first, None, step)


class SidecarSettings(Settings):
    """What is published about a film beside what training needs."""

    hashes: Literal["all", "none"] = "all"
    """Whether ``pixel_sha256`` and ``perceptual_hash`` are published. They need no secret, so that who holds a film, or
    another release of it, finds it here; so do the films themselves. none: they stay in the private folder."""


class ShardSettings(Settings):
    """Selection, size, codec, splits and published values of the films of a private folder."""

    max_side: Annotated[int, Field(ge=16)] | Literal["native"] = 1536
    """Longest side of a film in pixels, reduced by area averaging, never enlarged; native: the size of the source."""
    min_short_side: Annotated[int, Field(ge=16)] | None = None
    """Least shorter side in pixels of a film that ``max_side`` reduces: stitched films of a leg or a spine keep more
    than max_side, rather than becoming slivers. null: ``max_side`` alone decides."""
    min_side: int = Field(default=64, ge=16)
    """Films with fewer rows or columns in their file are rejected (``too_small``): icons and thumbnails."""
    codec: Codec = "htj2k"
    """Image codec of films; htj2k and png are lossless."""
    films_per_shard: int = Field(default=500, ge=1, le=100_000)
    """Number of films in a shard; the last shard of a split may have fewer."""
    seed: int = Field(default=0, ge=0)
    """Seed of the drawn splits and of the order of films."""
    splits: SplitSettings = SplitSettings()
    selection: SelectionSettings = SelectionSettings()
    sidecar: SidecarSettings = SidecarSettings()
    runtime: ShardRuntime = ShardRuntime()


class SlurmSettings(Settings):
    """Resources of the jobs that write shards on a Slurm cluster."""

    renamed: ClassVar[Mapping[str, str]] = {"at_once": "max_parallel"}

    jobs: int = Field(default=16, ge=1)
    """Number of parts that the shards are divided into: tasks of the job array."""
    max_parallel: int = Field(default=1000, ge=1)
    """Largest number of tasks that run at the same time."""
    cpus: int = Field(default=8, ge=1)
    """Cores per task; each runs one process."""
    memory_gb: Annotated[int, Field(ge=1)] | None = 32
    """GB of memory per task: about 1 GB per core, and more for large films; null where the site does not limit it."""
    minutes: int = Field(default=1440, ge=1)
    """Wall time of a task in minutes; a task that reaches it is queued again and continues."""
    partition: str | None = None
    """Partition of the jobs; null: the default of the site."""
    account: str | None = None
    """Account of the jobs; null: the default of the site."""
    qos: str | None = None
    """Quality of service of the jobs; null: the default of the site."""
    extra: dict[str, str | int] = Field(default_factory=dict)
    """Other options of ``sbatch``, without their dashes."""
    cluster: Literal["slurm", "local"] = "slurm"
    """local: run the same jobs as processes of this machine, to try them."""


class SubmitSettings(ShardSettings):
    """Settings of shards that a Slurm cluster writes."""

    slurm: SlurmSettings = SlurmSettings()
