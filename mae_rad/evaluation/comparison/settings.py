"""Settings of a comparison of encoders. ``runtime`` and ``tracking`` cannot change a number; everything else can."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple, Self

from pydantic import BeforeValidator, Field, model_validator

from data_prep.settings import Folders, Settings
from data_prep.shard_format.label_policy import LabelPolicy
from mae_rad.data.shard_reader import Condition
from mae_rad.encoders.film_pooling import FilmPool
from mae_rad.encoders.precision import Precision
from mae_rad.evaluation.results.rows import Arm

TrainedProbe = Literal["linear", "knn", "attentive"]
Analysis = Literal["retrieval", "clustering", "geometry", "shortcuts"]
Sizes = Annotated[
    list[Annotated[int, Field(ge=1)]],
    BeforeValidator(lambda value: [value] if isinstance(value, int) else value),
]
"""One T or a list of them."""


class VectorChoice(NamedTuple):
    """T and pooling of the vectors that are compared; None is the encoder's own."""

    tokens: int | None
    pool: FilmPool | None


class EncoderEntry(Settings):
    """One encoder that is compared: a run, or vectors that were made elsewhere."""

    run: Path | None = None
    """Run folder, or encoder folder (exported or converted)."""
    foreign: Path | None = None
    """Parquet file with the columns key and embedding, of any model; patient and split are checked if it has them."""
    name: str = ""
    """Shown in tables and figures; by default the name of the folder or file."""
    method: str | None = Field(default=None, min_length=1)
    """Name of an objective, or supervised, random, pca, imported, foreign; by default what the encoder folder says of
    its training."""
    group: str = ""
    """Runs of one group are repetitions of one method; by default those whose settings differ in the seed alone."""
    arms: list[Arm] = Field(default=[])
    """What this run is matched with the others in; by default found from films and arithmetic. Always checked."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.run is None) == (self.foreign is None):
            raise ValueError("an encoder has either a run or a foreign table")
        return self

    @property
    def path(self) -> Path:
        """Of the run or the table."""
        path = self.run or self.foreign
        assert path is not None  # one of them is given
        return path

    @property
    def title(self) -> str:
        """The name, or what it is by default."""
        resolved = self.path.resolve()
        return self.name or (resolved.name if self.run else resolved.stem)


class TaskSettings(Settings):
    """One question put to the embeddings: an index column, or one label of labels.parquet."""

    column: str | None = None
    """Index column whose values are the classes, for example body_part, view or sex."""
    label: str | None = None
    """Label whose values present and absent are the classes."""
    edges: list[float] = Field(default=[])
    """Of a column of numbers: the classes are the ranges between these, for example [20, 40, 60] years."""
    where: dict[str, Condition] = Field(default={})
    """Index column → value, or list of values, that a film must have."""
    name: str = ""
    """Shown in tables and figures; by default the column or label."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.column is None) == (self.label is None):
            raise ValueError("a task has either a column or a label")
        if self.edges and self.column is None:
            raise ValueError("edges are for a column of numbers, not for a label")
        if sorted(set(self.edges)) != self.edges:
            raise ValueError("edges must rise")
        return self

    @property
    def title(self) -> str:
        """The name, or what it is by default."""
        return self.name or self.column or self.label or ""


class CompareRuntimeSettings(Settings):
    """How fast; changes no number beyond rounding."""

    batch_size: int = Field(default=64, ge=1)
    """Films per forward pass of an encoder."""
    workers: int = Field(default=2, ge=0)
    """Processes that read films, per embedding process."""
    processes: int = Field(default=0, ge=0)
    """Embedding processes; 0 is one per GPU, or one without."""
    threads: int = Field(default=0, ge=0)
    """Of the arithmetic of probes; 0 takes the cores that are idle when the comparison begins."""
    cache: Path | None = None
    """Folder for vectors and patch tokens, found again by encoder, shards, T and precision; None is out/embeddings."""
    token_cache_gib: float = Field(default=20, ge=0)
    """Patch tokens for the attentive probe are kept on disk up to this size; beyond it each pass computes them."""


class TrackingSettings(Settings):
    """Where the comparison is kept."""

    uri: str | None = None
    """MLflow store; None is the sqlite store beside the first run folder."""
    experiment: str = "compare"


class CompareSettings(Settings):
    """Which encoders are compared, on which tasks, and with which certainty."""

    renamed: ClassVar[Mapping[str, str]] = {
        "floor_seeds": "random_seeds", "matched_within": "match_tolerance", "further": "analyses",
    }  # fmt: skip

    shards: Folders = Field(min_length=1)
    """Public folders with the films of the tasks."""
    out: Path
    """Folder for embeddings, table and figures."""
    encoders: list[EncoderEntry] = Field(default=[])
    """Compared beside the runs of the command line."""
    random_seeds: list[int] = Field(default=[0, 1, 2])
    """One randomly initialised encoder per seed, of the shape, T and pooling of the first run: the floor. Empty for
    none."""
    pixel_components: int = Field(default=64, ge=0)
    """Principal components of the raw pixels that are compared as an encoder; 0 for none."""
    match_tolerance: float = Field(default=0.05, gt=0, lt=1)
    """Runs whose films, or arithmetic, differ by at most this fraction are matched in them."""
    tokens: Annotated[Sizes, Field(min_length=1)] | None = None
    """T, the sizes at which every encoder embeds films: all analyses at the first, only the probes at the others. null
    is the encoder's own T."""
    pools: Annotated[list[FilmPool], Field(min_length=1)] | None = None
    """Vectors of a film by every encoder: all analyses of the first, only the probes of the others. null is the
    encoder's own pooling, then the others."""
    precision: Precision | None = None
    """Of the forward pass; null is the encoder's own, auto is bf16 where this machine is fast at it, else f32."""
    tasks: list[TaskSettings] = Field(
        default=[
            TaskSettings(column="body_part"),
            TaskSettings(column="view"),
            TaskSettings(column="sex"),
            TaskSettings(column="age_years", edges=[20, 40, 60], name="age"),
        ]
    )
    all_labels: bool = True
    """A task for every label of labels.parquet that ``tasks`` does not name."""
    policy: LabelPolicy = LabelPolicy()
    """Which word counts where several sources and readers speak of a film."""
    probes: list[TrainedProbe] = Field(default=["linear", "knn", "attentive"], min_length=1)
    analyses: list[Analysis] = Field(default=["retrieval", "clustering", "geometry", "shortcuts"])
    label_fractions: list[Annotated[float, Field(gt=0, le=1)]] = Field(default=[0.01, 0.1, 1.0], min_length=1)
    """Of the training patients, nested. What is not all of them is asked of the first T and pool alone."""
    label_draws: int = Field(default=3, ge=1)
    """How often the patients of a fraction are drawn; the first draw is that of a finetuning with
    ``data.label_seed`` equal to ``seed``."""
    subsets: list[str] = Field(default=["body_part"])
    """Index columns by whose values the results of the labels are shown apart."""
    object_sizes: list[float] = Field(default=[0.02, 0.05])
    """Edges between small and large objects: longer side of the largest box over longer side of the film."""
    shortcuts: list[str] = Field(default=["manufacturer", "model", "site", "bits_stored", "laterality", "collimation"])
    """What should not count as skill: index columns (laterality is what the side marker says), and collimation, the
    share of the film that its content box takes."""
    min_patients: int = Field(default=5, ge=2)
    """A class with fewer training or test patients is left out, and said so."""
    max_train_films: int = Field(default=50_000, ge=50)
    """Beyond it training patients are drawn at random: a probe on a million films takes hours and tells little more."""
    relevant_difference: float = Field(default=0.03, gt=0)
    """Smallest difference that matters: an interval within ± it says that there is none."""
    repetitions: int = Field(default=1000, ge=100)
    """Bootstrap resamples of the test patients."""
    seed: int = Field(default=0, ge=0)
    runtime: CompareRuntimeSettings = CompareRuntimeSettings()
    tracking: TrackingSettings = TrackingSettings()

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        titles = [task.title for task in self.tasks]
        double = sorted({title for title in titles if titles.count(title) > 1})
        if double:
            raise ValueError(f"two tasks are called {', '.join(double)}; give one of them another name")
        return self

    @property
    def choices(self) -> list[VectorChoice]:
        """Which vectors of each encoder are compared; all analyses are of the first."""
        pools: Sequence[FilmPool | None] = self.pools or (None, "cls_mean", "mean", "cls")
        return [VectorChoice(tokens, pool) for tokens in self.tokens or (None,) for pool in pools]

    @property
    def cache(self) -> Path:
        """Where embeddings are kept."""
        return self.runtime.cache or self.out / "embeddings"
