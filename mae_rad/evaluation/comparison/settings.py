"""Settings of a comparison of encoders; all but ``runtime`` and ``tracking`` change results."""

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple, Self

import pyarrow as pa
from pydantic import BeforeValidator, Field, field_validator, model_validator

from data_prep.settings import Folders, Settings
from data_prep.shard_format.index_schema import INDEX_SCHEMA
from data_prep.shard_format.label_policy import LabelPolicy
from mae_rad.data.shard_reader import Condition
from mae_rad.encoders.pooling_name import FilmPool
from mae_rad.encoders.precision import Precision
from mae_rad.evaluation.results.rows import NOT_SELF_SUPERVISED, Arm
from mae_rad.objectives import OBJECTIVES

TrainedProbe = Literal["linear", "knn", "attentive"]
Analysis = Literal["retrieval", "clustering", "geometry", "shortcuts"]
NUMBER_COLUMNS = frozenset(
    field.name for field in INDEX_SCHEMA if pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
)
"""Index columns of numbers."""
Sizes = Annotated[
    list[Annotated[int, Field(ge=1)]],
    BeforeValidator(lambda value: [value] if isinstance(value, int) else value),
]
"""One T or a list of them."""


class VectorChoice(NamedTuple):
    """T and pooling of compared vectors; None is the encoder's own.

    Attributes:
        tokens: T.
        pool: name of the pooling.
        components: largest width; wider vectors are replaced by this number of principal components. None is any width.
    """

    tokens: int | None
    pool: str | None
    components: int | None = None


class EncoderEntry(Settings):
    """One compared encoder: a run, or vectors of another program."""

    run: Path | None = None
    """Run folder, or encoder folder (exported or converted)."""
    foreign: Path | None = None
    """Parquet file with the columns key and embedding, of any model; the columns patient and split are checked if it
    has them."""
    name: str = ""
    """Name in tables and figures (default: name of the folder or file)."""
    method: str | None = Field(default=None, min_length=1)
    """Name of an objective, or supervised, random, pca, imported, foreign (default: the method that the encoder folder
    states)."""
    group: str = ""
    """Group of runs that repeat one method (default: runs whose settings differ only in the seed)."""
    arms: list[Arm] = Field(default=[])
    """Arms in which this run is matched with others (default: derived from numbers of films and FLOPs). Always
    checked."""
    role: Literal["encoder", "ceiling"] = "encoder"
    """encoder: compared with floors, ceilings and the other encoders; ceiling: what is possible on these films, such as
    a supervised run or a table of measurements, towards which the scores of the encoders are read (default:
    encoder)."""
    about: str = ""
    """Description in one line, shown with the results: weights, pixels and size of an external model (default: derived
    from the encoder folder)."""
    other_films: bool | None = None
    """Whether it may have been trained on films of the test patients; false for a model of natural photographs
    (default: derived; true for external vectors, except those of a ceiling)."""

    @field_validator("method")
    @classmethod
    def _no_slip_of_a_known_name(cls, method: str | None) -> str | None:
        known = [*NOT_SELF_SUPERVISED, *OBJECTIVES]
        near = difflib.get_close_matches(method or "", known, n=1, cutoff=0.75)
        if near and method not in known:  # an unknown method counts as self-supervised: a slip would change the result
            raise ValueError(f"{method} is not a known method. Did you mean {near[0]}?")
        return method

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.run is None) == (self.foreign is None):
            raise ValueError("an encoder needs either a run or a foreign table. Give one of them.")
        return self

    @property
    def path(self) -> Path:
        """Path of the run or the table."""
        path = self.run or self.foreign
        assert path is not None  # one of them is given
        return path

    @property
    def title(self) -> str:
        """Displayed name."""
        resolved = self.path.resolve()
        return self.name or (resolved.name if self.run else resolved.stem)


class TaskSettings(Settings):
    """A task: an index column, or one label of labels.parquet, is predicted from the embeddings."""

    column: str | None = None
    """Index column whose values are the classes, for example body_part, view or sex, or a column of numbers, for
    example age_years."""
    label: str | None = None
    """Label whose values present and absent are the classes, or whose numbers are predicted."""
    edges: list[float] = Field(default=[])
    """Edges that divide a column of numbers into classes, for example [20, 40, 60] years."""
    number: bool | None = None
    """Whether numbers are predicted, by regression (default: null, which is true for a column of numbers without edges
    and for a label that has numbers only; a label that has both is a task of its values)."""
    unit: str = ""
    """Unit of the number in tables and figures (default: years for age_years, else none)."""
    where: dict[str, Condition] = Field(default={})
    """Index column → value, or list of values, that a film must have."""
    name: str = ""
    """Name in tables and figures (default: the column or label)."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.column is None) == (self.label is None):
            raise ValueError("a task needs either a column or a label. Give one of them.")
        if self.edges and self.column is None:
            raise ValueError("edges are given for a label. Give them for a column of numbers.")
        if sorted(set(self.edges)) != self.edges:
            raise ValueError("edges are not in ascending order. Sort them.")
        if self.edges and self.number:
            raise ValueError("edges divide numbers into classes, but number is true. Remove one of them.")
        return self

    @property
    def unit_name(self) -> str:
        """Unit of the number, empty if unknown."""
        return self.unit or ("years" if self.column == "age_years" else "")

    @property
    def title(self) -> str:
        """Displayed name."""
        return self.name or self.column or self.label or ""


class CompareRuntimeSettings(Settings):
    """Speed; changes results only by rounding."""

    batch_size: int = Field(default=64, ge=1)
    """Films per forward pass of an encoder (default: 64)."""
    workers: int = Field(default=2, ge=0)
    """Processes that read films, per embedding process (default: 2)."""
    processes: int = Field(default=0, ge=0)
    """Embedding processes (default: 0, which is one per GPU, or one without a GPU)."""
    threads: int = Field(default=0, ge=0)
    """Threads of the probes (default: 0, which is the number of cores that are idle at the start)."""
    map_films: int = Field(default=1500, ge=0, le=3000)
    """Films of ``map.html``, with their thumbnails: about 4 KB each (default: 1500; 0 for no such page)."""
    cache: Path | None = None
    """Folder of vectors and patch tokens, which later comparisons use again (default: null, which is
    out/embeddings)."""
    token_cache_gib: float = Field(default=20, ge=0)
    """Largest size in GiB of the patch tokens on disk, for the attentive probe; above it they are computed in every
    pass (default: 20)."""


class TrackingSettings(Settings):
    """MLflow store of the comparison."""

    uri: str | None = None
    """URI of the MLflow store (default: MLFLOW_TRACKING_URI, else mlflow.db in the folder of the first run folder)."""
    experiment: str | None = None
    """Name of the MLflow experiment (default: MLFLOW_EXPERIMENT_NAME, else compare)."""


class CompareSettings(Settings):
    """Encoders, tasks and statistics of a comparison."""

    renamed: ClassVar[Mapping[str, str]] = {
        "floor_seeds": "random_seeds", "matched_within": "match_tolerance", "further": "analyses",
    }  # fmt: skip

    shards: Folders = Field(min_length=1)
    """Public folders with the films."""
    distinct_patients: bool = False
    """Folders that were made with different secrets hold no patient twice; it cannot be checked."""
    out: Path
    """Folder for embeddings, table, report and figures."""
    encoders: list[EncoderEntry] = Field(default=[])
    """Encoders in addition to the runs of the command line."""
    random_seeds: list[int] = Field(default=[0, 1, 2])
    """Seeds of randomly initialised encoders of the shape, T and pooling of the first run, the random baseline
    (default: [0, 1, 2]; [] for none)."""
    pixel_components: int = Field(default=64, ge=0)
    """Number of principal components of the raw pixels, compared as an encoder (default: 64; 0 for none)."""
    match_tolerance: float = Field(default=0.05, gt=0, lt=1)
    """Largest relative difference in numbers of films, or in FLOPs, of matched runs (default: 0.05)."""
    tokens: Annotated[Sizes, Field(min_length=1)] | None = None
    """T at which every encoder embeds the films; all analyses use the first, only the probes use the others (default:
    null, which is each encoder's own T)."""
    pools: Annotated[list[FilmPool], Field(min_length=1)] | None = None
    """Poolings of every encoder, such as mean, or mean+deviation of blocks 3 6 9 12; all analyses use the first, only
    the probes use the others (default: null, which is each encoder's own film vector, then class token, mean and both
    of the last block)."""
    equal_width: int | None = Field(default=None, ge=2)
    """Compare all encoders at this width, too: linear probe and nearest neighbours on the first principal components
    of vectors that are wider, computed from the training films of the comparison (default: null, which is not)."""
    precision: Precision | None = None
    """Precision of the forward pass: f32, bf16, or auto, which is bf16 if this machine computes it fast, else f32
    (default: null, which is each encoder's own)."""
    score_on: Literal["test", "val"] = "test"
    """Split whose films are scored. val is for choosing settings, for example pools or the arms of a sweep: test films
    then take no part, and hyperparameters of probes are chosen by cross-validation in train (default: test)."""
    tasks: list[TaskSettings] = Field(
        default=[
            TaskSettings(column="body_part"),
            TaskSettings(column="view"),
            TaskSettings(column="sex"),
            TaskSettings(column="age_years", edges=[20, 40, 60], name="age"),
        ]
    )
    """What the probes predict: columns of the index and labels (default: body part, view, sex and age)."""
    all_labels: bool = True
    """Add a task for every label of labels.parquet that ``tasks`` does not name (default: true)."""
    policy: LabelPolicy = LabelPolicy()
    """Rule for films with label entries from several sources and readers."""
    probes: list[TrainedProbe] = Field(default=["linear", "knn", "attentive"], min_length=1)
    """Probes on frozen features: linear, nearest neighbours, attention over patch tokens (default: all)."""
    analyses: list[Analysis] = Field(default=["retrieval", "clustering", "geometry", "shortcuts"])
    """What else is measured (default: all)."""
    label_fractions: list[Annotated[float, Field(gt=0, le=1)]] = Field(default=[0.01, 0.1, 1.0], min_length=1)
    """Fractions of the training patients whose labels are used, nested; fractions below 1 are evaluated only at the
    first T and pooling (default: [0.01, 0.1, 1.0])."""
    label_draws: int = Field(default=3, ge=1)
    """Draws of patients per fraction (default: 3); the first draw is that of a finetuning with ``data.label_seed``
    equal to ``seed``."""
    subsets: list[str] = Field(default=["body_part"])
    """Index columns whose values define subsets with separate results for labels (default: [body_part]); of a column of
    numbers, such as age_years, thirds of the scored films."""
    object_sizes: list[float] = Field(default=[0.02, 0.05])
    """Edges of the object sizes with separate results: longer side of the largest box / longer side of the film
    (default: [0.02, 0.05])."""
    shortcuts: list[str] = Field(default=["manufacturer", "model", "site", "bits_stored", "laterality", "collimation"])
    """Possible shortcuts: index columns (laterality is that of the side marker), labels of labels.parquet, and
    collimation, the fraction of the film that its content box covers. Columns and labels of many different numbers are
    divided into thirds."""
    min_patients: int = Field(default=5, ge=2)
    """Lowest number of training and of test patients of a class; a class with fewer is left out and reported (default:
    5)."""
    cross_fit: int = Field(default=0, ge=0)
    """Number of folds, for few films: the patients of the test split are divided into so many folds, and the films of
    each fold are scored by probes that were fitted to the other folds (default: 0, which fits the probes to the
    training split; else 2 or more). The training and validation splits are then not used by probes."""
    max_train_films: int = Field(default=50_000, ge=50)
    """Largest number of training films of a probe; above it training patients are drawn at random (default: 50000)."""
    relevant_difference: float = Field(default=0.03, gt=0)
    """Smallest relevant difference; an interval within ± this value shows that there is no relevant difference
    (default: 0.03)."""
    repetitions: int = Field(default=1000, ge=100)
    """Bootstrap resamples of the test patients (default: 1000)."""
    seed: int = Field(default=0, ge=0)
    """Seed of label draws, subsampling and bootstrap (default: 0)."""
    runtime: CompareRuntimeSettings = CompareRuntimeSettings()
    tracking: TrackingSettings = TrackingSettings()

    @field_validator("cross_fit")
    @classmethod
    def _several_folds(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError("one fold has no other fold to fit a probe to. Give 2 or more, or 0 for none.")
        return folds

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        titles = [task.title for task in self.tasks]
        double = sorted({title for title in titles if titles.count(title) > 1})
        if double:
            raise ValueError(f"two tasks have the same name: {', '.join(double)}. Give one of them another `name`.")
        return self

    @property
    def choices(self) -> list[VectorChoice]:
        """T and pooling of all compared vectors; all analyses use the first."""
        pools: Sequence[str | None] = self.pools or (None, "cls_mean", "mean", "cls")
        sizes = self.tokens or (None,)
        choices = [VectorChoice(tokens, pool) for tokens in sizes for pool in pools]
        if self.equal_width:
            choices += [VectorChoice(sizes[0], pool, self.equal_width) for pool in self.pools or (None,)]
        return choices

    @property
    def config_sha256(self) -> str:
        """Checksum of the settings without paths and encoders; newer settings at their defaults do not enter it."""
        values = self.model_copy(update={"out": Path(), "shards": [], "encoders": []}).model_dump(mode="json")
        for name, default in (
            ("cross_fit", 0),
            ("score_on", "test"),
            ("equal_width", None),
            ("distinct_patients", False),
        ):
            if values[name] == default:
                del values[name]
        del values["runtime"]["map_films"]
        values["tracking"]["experiment"] = values["tracking"]["experiment"] or "compare"  # as before it could be open
        for task in values["tasks"]:
            if not task["unit"]:
                del task["unit"]
            if task["number"] is None and (task["edges"] or task["column"] not in NUMBER_COLUMNS):
                del task["number"]  # a column of numbers without edges had classes before
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    @property
    def cache(self) -> Path:
        """Folder of the embeddings."""
        return self.runtime.cache or self.out / "embeddings"
