"""Settings of a comparison of encoders. ``runtime`` and ``tracking`` cannot change a number; everything else can."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from data_prep.settings import Folders, Settings
from mae_rad.data.shards import Condition

ProbeName = Literal["linear", "knn"]


class TaskSettings(Settings):
    """One question put to the embeddings: an index column, or one label of labels.parquet."""

    column: str | None = None
    """Index column whose values are the classes, for example body_part or view."""
    label: str | None = None
    """Label whose values present and absent are the classes."""
    where: dict[str, Condition] = Field(default={})
    """Index column → value, or list of values, that a film must have."""
    name: str = ""
    """Shown in tables and figures; by default the column or label."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.column is None) == (self.label is None):
            raise ValueError("a task has either a column or a label")
        return self

    @property
    def title(self) -> str:
        """The name, or what it is by default."""
        return self.name or self.column or self.label or ""


class RuntimeSettings(Settings):
    """How fast; changes no number beyond rounding."""

    batch_size: int = Field(default=64, ge=1)
    """Films per forward pass of an encoder."""
    workers: int = Field(default=2, ge=0)
    """Processes that read films."""


class TrackingSettings(Settings):
    """Where the comparison is kept."""

    uri: str | None = None
    """MLflow store; None is the sqlite store beside the first run folder."""
    experiment: str = "compare"


class CompareSettings(Settings):
    """Which encoders are asked what, and with which certainty."""

    shards: Folders = Field(min_length=1)
    """Public folders with the films of the tasks."""
    out: Path
    """Folder for embeddings, table and figures."""
    tokens: int = Field(default=196, ge=1)
    """T, the size at which films are embedded."""
    pool: Literal["mean", "cls"] = "mean"
    """Vector of a film: mean of its patch tokens, or the class token."""
    tasks: list[TaskSettings] = Field(default=[TaskSettings(column="body_part"), TaskSettings(column="view")])
    all_labels: bool = True
    """A task for every label of labels.parquet that ``tasks`` does not name."""
    probes: list[ProbeName] = Field(default=["linear", "knn"], min_length=1)
    floor_seeds: list[int] = Field(default=[0])
    """One randomly initialised encoder per seed; their mean is the floor. Empty for none."""
    min_patients: int = Field(default=5, ge=2)
    """A class with fewer training or test patients is left out, and said so."""
    max_train_films: int = Field(default=50_000, ge=50)
    """Beyond it training patients are drawn at random: a probe on a million films takes hours and tells little more."""
    repetitions: int = Field(default=1000, ge=100)
    """Bootstrap resamples of the test patients."""
    seed: int = Field(default=0, ge=0)
    runtime: RuntimeSettings = RuntimeSettings()
    tracking: TrackingSettings = TrackingSettings()

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        titles = [task.title for task in self.tasks]
        double = sorted({title for title in titles if titles.count(title) > 1})
        if double:
            raise ValueError(f"two tasks are called {', '.join(double)}; give one of them another name")
        return self
