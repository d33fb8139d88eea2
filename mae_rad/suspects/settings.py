"""Settings of the ``suspects`` command."""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from data_prep.settings import Folders, Settings
from data_prep.shard_format.index_schema import INDEX_SCHEMA
from data_prep.shard_format.label_policy import LabelPolicy
from mae_rad.data.shard_reader import Condition
from mae_rad.evaluation.comparison.settings import NUMBER_COLUMNS
from mae_rad.suspects.answers import BETWEEN_CLASSES


class SuspectFieldSettings(Settings):
    """What is stated of films: an index column, a label, or labels that exclude each other."""

    column: str | None = None
    """Index column, such as body_part, view or sex, or one of numbers, such as age_years."""
    label: str | None = None
    """Label of labels.parquet that is present or absent, or a number."""
    labels: tuple[str, ...] = Field(default=(), max_length=100)
    """Labels of labels.parquet of which exactly one is present: the classes are their names."""
    number: bool = False
    """Whether the numbers of ``label`` are looked at, not its values; a column of numbers needs no saying."""
    where: dict[str, Condition] = Field(default={})
    """Index column → value, or list of values, of the films that are looked at."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.column is not None) + (self.label is not None) + bool(self.labels) != 1:
            raise ValueError("a field needs a column, a label or labels. Give one of them.")
        if self.labels and (len(set(self.labels)) != len(self.labels) or len(self.labels) < 2):
            raise ValueError("labels must be two or more different labels of which exactly one is present")
        if self.number and self.label is None:
            raise ValueError("number is for a label; a column of numbers needs no saying")
        return self

    @property
    def name(self) -> str:
        """Name in tables: the column, the label, or the labels with ``|`` between them."""
        return self.column or self.label or BETWEEN_CLASSES.join(self.labels)

    @property
    def is_number(self) -> bool:
        """Whether it states numbers."""
        return self.number or self.column in NUMBER_COLUMNS


def _from_name(value: Any) -> Any:
    """A name stands for the index column of that name, or else for a label."""
    if not isinstance(value, str):
        return value
    return {"column" if value in INDEX_SCHEMA.names else "label": value}


Fields = Annotated[
    list[Annotated[SuspectFieldSettings, BeforeValidator(_from_name)]],
    BeforeValidator(lambda value: value if isinstance(value, list | tuple) else [value]),
]
"""One field or a list of them; a name stands for a column or a label."""


class SuspectsSettings(Settings):
    """What is searched for films whose picture contradicts what is stated of them."""

    shards: Folders
    """Public folders."""
    out: Path
    """Folder to write."""
    fields: Fields = Field(default=[SuspectFieldSettings(column="body_part")], min_length=1)
    """What is stated of the films, such as [body_part, view, fracture, {label: bone_age, number: true}]."""
    distinct_patients: bool = False
    """Folders that were made with different secrets hold no patient twice; it cannot be checked."""
    policy: LabelPolicy = LabelPolicy()
    """How several label entries of a film are reconciled into one value."""
    listed: int = Field(default=1000, ge=1)
    """Most films in the table, per field; how many more there are is said."""
    shown: int = Field(default=120, ge=0)
    """Most films on the page, per field."""
    seed: int = Field(default=0, ge=0)
    """Seed of the folds and of the intervals."""
    choose_on: int = Field(default=20_000, ge=100)
    """Most films on which the hyperparameter of the probe is chosen; all are scored."""
    repetitions: int = Field(default=200, ge=100)
    """Bootstrap samples of the patients, for the interval of the expected number of wrong films."""
    batch_size: int = Field(default=32, ge=1)
    """Films per forward pass, where an encoder has to embed them."""
    workers: int = Field(default=2, ge=0)
    """Loader processes of the embedding; 0 loads in its process."""

    @model_validator(mode="after")
    def _fields_once(self) -> Self:
        names = [field.name for field in self.fields]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"fields names {', '.join(twice)} twice")
        return self
