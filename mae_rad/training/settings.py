"""Settings of any training: data, optimizer, runtime."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from data_prep.settings import Folders, Settings
from mae_rad.data.shard_reader import Condition
from mae_rad.encoders.precision import Precision


class DataSettings(Settings):
    """Which films are trained on."""

    shards: Folders
    """Public folders; their paths do not matter to a resumed run, their content does."""
    generations: int | None = Field(default=None, ge=1)
    """How many generations of each folder are read, from the first; by default all. Lets a run go on that began before
    the folder grew."""
    where: dict[str, Condition] = Field(default_factory=dict)
    """Index column → value or list of values that a film must have."""
    weights: dict[str, dict[str, float]] = Field(default_factory=dict)
    """Index column → value → relative frequency, for example to balance body parts."""


class OptimizerSettings(Settings):
    """AdamW with linear warm-up and cosine decay, the recipe of the published masked autoencoder."""

    steps: int = Field(ge=1)
    batch: int = Field(ge=1)
    """Films per optimiser step over all ranks."""
    accumulation: int = Field(default=1, ge=1)
    """Forward passes per step; an objective that contrasts films sees batch / accumulation of them at once."""
    base_learning_rate: float = Field(default=1.5e-4, gt=0)
    """Per 256 films: the peak is base_learning_rate * batch / 256."""
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1)
    weight_decay: float = Field(default=0.05, ge=0)
    betas: tuple[float, float] = (0.9, 0.95)
    clip_norm: float = Field(default=1.0, ge=0)
    """Largest gradient norm; 0 does not clip."""

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.batch % self.accumulation:
            raise ValueError(f"batch {self.batch} does not divide into accumulation {self.accumulation} equal parts")
        return self


class RuntimeSettings(Settings):
    """What does not change a result: where, how often, how many processes."""

    run_dir: Path
    workers: int = Field(default=2, ge=0)
    """Loader processes per rank; 0 reads in the training process."""
    threads: int = Field(default=0, ge=0)
    """Arithmetic threads per rank; 0 shares the cores of the machine among its ranks."""
    compile: bool = False
    """Compile the model with ``torch.compile``: a minute at the start, then faster steps on a GPU."""
    deterministic: bool = False
    """Only kernels that give the same bits each time: an interrupted run ends in the same weights on GPUs, too. Slower
    there; on a CPU all are such."""
    zero_stage: Literal[0, 1, 2, 3] = 0
    """What DeepSpeed partitions over the ranks: nothing, optimiser state, gradients, parameters."""
    log_every: int = Field(default=10, ge=1)
    checkpoint_every: int = Field(default=500, ge=1)
    """Steps between two checkpoints."""
    checkpoint_minutes: float | None = Field(default=None, gt=0)
    """Minutes between two checkpoints, where the steps take longer than that."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """How many of the newest stay; a damaged newest one needs the one before."""
    max_minutes: float | None = Field(default=None, gt=0)
    """Save and leave with exit code 75 at the end of the step that passes this, before the queue ends the job."""
    timeout_seconds: float = Field(default=600, ge=5)
    """After so long without a word from another rank, or waiting in one exchange with them, the training ends."""
    picture_every: int = Field(default=1000, ge=1)
    pictures: int = Field(default=8, ge=0)
    """Held-out films whose reconstruction is drawn."""
    probe_every: int = Field(default=0, ge=0)
    """Steps between two looks at what the embedding is worth: effective rank and nearest neighbours; 0 for none."""
    probe_films: int = Field(default=512, ge=16)
    """Validation films that are looked at."""
    mlflow_uri: str | None = None
    """Tracking store; by default sqlite in the folder that holds the run folder."""
    experiment: str = "mae_rad"

    @model_validator(mode="after")
    def _keeps_its_kernels(self) -> Self:
        if self.deterministic and self.compile:
            raise ValueError(
                "compile chooses kernels by the clock, another one at each start; deterministic excludes it"
            )
        return self


class TrainingSettings(Settings):
    """One run of the training loop, whatever it trains."""

    seed: int = Field(default=0, ge=0)
    precision: Precision = "bf16"
    """bf16 is autocast: weights, normalisation and losses stay in f32. auto takes bf16 where this machine is fast at
    it, else f32; the run then stays with it."""
    start_from: Path | None = None
    """Encoder folder, exported or converted, whose weights training begins with; its own decoder too where it fits.
    Its path does not matter later: its checksum goes into the provenance of what is exported."""
    data: DataSettings
    optimizer: OptimizerSettings
    runtime: RuntimeSettings

    def results(self) -> dict[str, object]:
        """The settings that can change a result: those that a resumed run must share."""
        return self.model_dump(
            mode="json",
            exclude={
                "runtime": True,
                "start_from": True,
                "data": {"shards", "generations"},
                "encoder": {"attention", "checkpoint_activations"},
                "resnet": {"weights"},
            },
        )
