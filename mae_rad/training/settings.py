"""Settings of any training: data, optimizer, runtime."""

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from data_prep.settings import Folders, Settings
from mae_rad.data.shard_reader import Condition
from mae_rad.encoders.precision import Precision
from mae_rad.objectives.learning_rates import RateRule, rate_factor

Decay = Annotated[float, Field(ge=0, lt=1)]


class DataSettings(Settings):
    """Films of a training."""

    shards: Folders
    """Public folders; a resumed run needs the same content, not the same paths."""
    generations: int | None = Field(default=None, ge=1)
    """Number of generations of each folder that are read, from the first (default: all). Needed to resume a run that
    started before films were appended."""
    distinct_patients: bool = False
    """Folders of different secrets hold no patient twice; without this, such folders are not joined."""
    where: dict[str, Condition] = Field(default_factory=dict)
    """Index column → value or list of values that a film must have."""
    weights: dict[str, dict[str, float]] = Field(default_factory=dict)
    """Index column → value → relative frequency, for example to balance body parts."""
    read: Literal["index", "stream"] = "index"
    """How films are read. index: by their place in the shards, in an order that is the same for any number of ranks and
    workers, and in a resumed run; stream (pretraining only): shards from beginning to end through webdataset, in an
    order that a resumed run does not repeat."""

    @property
    def not_results(self) -> set[str]:
        """Settings that do not change a result, and ``read`` at the value of earlier releases."""
        return {"shards", "generations", "distinct_patients", *(["read"] if self.read == "index" else [])}

    @model_validator(mode="after")
    def _streams_are_not_weighted(self) -> Self:
        if self.read == "stream" and self.weights:
            raise ValueError("read: stream draws films as they come; leave weights out, or set read: index")
        return self

    @property
    def source(self) -> dict[str, Any]:
        """Arguments of ``ShardIndex`` besides ``split``."""
        return {
            "where": self.where,
            "generations": self.generations,
            "distinct_patients": self.distinct_patients,
        }


_EARLIER = (("rate_rule", "linear"), ("segments", ()), ("average_decay", 0.0), ("min_learning_rate", 0.0))
"""Settings of the optimiser that earlier releases did not have → their value there."""


class OptimizerSettings(Settings):
    """AdamW with linear warm-up and cosine decay, the recipe of the published masked autoencoder."""

    steps: int = Field(ge=1)
    """Optimiser steps of the whole run. Raised for a finished run, it extends the run by a segment."""
    segments: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Steps at which the earlier segments of an extended run ended; filled in when a finished run is extended. Each
    segment has its own warm-up and cosine decay; stages with another T belong to the first."""
    batch: int = Field(ge=1)
    """Films per optimiser step over all ranks."""
    accumulation: int = Field(default=1, ge=1)
    """Forward passes per optimiser step; a contrastive objective compares batch / accumulation films."""
    base_learning_rate: float = Field(default=1.5e-4, gt=0)
    """Learning rate at a batch of 256 films; ``rate_rule`` gives the peak at another one."""
    rate_rule: RateRule = "linear"
    """Peak learning rate at another batch. linear: base_learning_rate * batch / 256; square_root: base_learning_rate *
    sqrt(batch / 256); none: base_learning_rate. Default of pretraining: that of the objective."""
    min_learning_rate: float = Field(default=0.0, ge=0)
    """Learning rate that the cosine falls to, at this batch; 0 falls to zero."""
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1)
    """Fraction of the steps with linear warm-up."""
    weight_decay: float = Field(default=0.05, ge=0)
    """Of weight matrices; biases, norms and tokens are not decayed."""
    betas: tuple[Decay, Decay] = (0.9, 0.95)
    """Decay rates of the first and second moments of AdamW."""
    clip_norm: float = Field(default=1.0, ge=0)
    """Largest gradient norm; 0 disables clipping."""
    average_decay: float = Field(default=0.0, ge=0, lt=1)
    """Decay of an exponential moving average of the weights, such as 0.999, smaller in the first steps: the average is
    validated, probed and exported in place of the last weights. One more copy in memory and checkpoints. 0 is off."""

    @property
    def segment_ends(self) -> tuple[int, ...]:
        """Step at which each segment ends; the last is ``steps``."""
        return (*self.segments, self.steps)

    @property
    def scheduled_steps(self) -> int:
        """Steps of the first segment: stages of T are fractions of it, and what follows has the T of the last stage."""
        return self.segment_ends[0]

    @property
    def warmup_steps(self) -> int:
        """Number of steps with linear warm-up in the first segment."""
        return round(self.scheduled_steps * self.warmup_fraction)

    @property
    def off(self) -> set[str]:
        """Newer settings at the value of earlier releases; hashes exclude them, so that earlier hashes stay valid."""
        return {name for name, default in _EARLIER if getattr(self, name) == default}

    def segment_of(self, step: int) -> tuple[int, int]:
        """First step and end, exclusive, of the segment of an optimiser step, counted from 0."""
        starts = (0, *self.segments)
        return next((start, end) for start, end in zip(starts, self.segment_ends, strict=True) if step < end)

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        if any(end <= start for start, end in pairwise(self.segment_ends)):
            raise ValueError(f"segments {list(self.segments)} must ascend and end before steps {self.steps}")
        return self

    @property
    def peak_rate(self) -> float:
        """Highest learning rate of the schedule."""
        return self.base_learning_rate * rate_factor(self.batch, self.rate_rule)

    @model_validator(mode="after")
    def _falls(self) -> Self:
        if self.min_learning_rate > self.peak_rate:
            raise ValueError(
                f"min_learning_rate {self.min_learning_rate:g} is above the peak {self.peak_rate:g} of"
                f" base_learning_rate at a batch of {self.batch}. Give a lower one"
            )
        return self

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.batch % self.accumulation:
            raise ValueError(f"batch {self.batch} is not divisible by accumulation {self.accumulation}")
        return self


class RuntimeSettings(Settings):
    """Settings that do not change a result: paths, intervals, processes."""

    run_dir: Path
    """Run folder; an existing one is resumed."""
    trust_run: bool = False
    """Resume from checkpoints that bear no seal of this user (another user or an earlier release wrote them). Loading a
    checkpoint runs code that it may hold."""
    workers: int = Field(default=2, ge=0)
    """Loader processes per rank; 0 loads in the training process."""
    threads: int = Field(default=0, ge=0)
    """Arithmetic threads per rank; 0 shares the cores of the machine among its ranks."""
    compile: bool = False
    """Compile the model with ``torch.compile``: takes a minute at the start, then steps are faster on a GPU."""
    deterministic: bool = False
    """Use deterministic kernels only, so that an interrupted run ends in the same weights on GPUs, too. Slower on
    GPUs; no effect on CPUs."""
    zero_stage: Literal[0, 1, 2, 3] = 0
    """What DeepSpeed partitions over ranks: 0 nothing, 1 optimiser state, 2 also gradients, 3 also parameters."""
    log_every: int = Field(default=10, ge=1)
    """Steps between two lines of metrics."""
    checkpoint_every: int = Field(default=500, ge=1)
    """Steps between two checkpoints."""
    checkpoint_minutes: float | None = Field(default=None, gt=0)
    """Minutes after which a checkpoint is written, if ``checkpoint_every`` takes longer (default: none)."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """Number of newest checkpoints that are kept; if the newest is damaged, the previous one is used."""
    max_minutes: float | None = Field(default=None, gt=0)
    """Minutes after which the run saves a checkpoint and exits with code 75, before a queue ends the job."""
    timeout_seconds: float = Field(default=600, ge=5)
    """Seconds without a heartbeat of another rank, or in one collective operation, after which the training ends."""
    picture_every: int = Field(default=1000, ge=1)
    """Steps between two pictures of reconstructions."""
    pictures: int = Field(default=8, ge=0)
    """Number of held-out films in a picture."""
    probe_every: int = Field(default=0, ge=0)
    """Steps between two online probes (effective rank and nearest neighbours of val films); 0 disables them."""
    probe_films: int = Field(default=512, ge=16)
    """Number of validation films of the online probe."""
    probe_labels: list[str] | None = None
    """What the neighbours of a film predict in the online probe: class (body part and view), sex, age, and labels of
    the shards; null: all that enough of the films have, at most 8 labels. An empty list leaves only effective rank."""
    mlflow_uri: str | None = None
    """MLflow tracking store (default: MLFLOW_TRACKING_URI, else sqlite in the parent of the run folder)."""
    experiment: str | None = None
    """Name of the MLflow experiment (default: MLFLOW_EXPERIMENT_NAME, else mae_rad)."""
    mlflow_parent: str | None = None
    """Id of the MLflow run that this one is shown below; a sweep gives its own."""

    @model_validator(mode="after")
    def _keeps_its_kernels(self) -> Self:
        if self.deterministic and self.compile:
            raise ValueError(
                "compile selects kernels by measured time, which differs at each start; unset compile or deterministic"
            )
        return self


class TrainingSettings(Settings):
    """Settings that every training has."""

    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of weights, order and views."""
    precision: Precision = "bf16"
    """bf16 is autocast: weights, normalisation and losses stay in f32. auto is bf16 if this machine is fast at it, else
    f32, and is fixed at the start of the run."""
    start_from: Path | None = None
    """Run folder, or encoder folder, exported or converted, with the initial weights; its decoder or head is used, too,
    if it fits. A resumed run does not need it; its checksum becomes part of the provenance of exports."""
    data: DataSettings
    optimizer: OptimizerSettings
    runtime: RuntimeSettings

    @model_validator(mode="after")
    def _averages_whole_weights(self) -> Self:
        if self.optimizer.average_decay and self.runtime.zero_stage == 3:
            raise ValueError(
                "optimizer.average_decay needs whole weights, and runtime.zero_stage=3 partitions them. Choose stage 2"
            )
        return self

    def results(self) -> dict[str, object]:
        """Return the settings that can change a result, which a resumed run must share."""
        return self.model_dump(
            mode="json",
            exclude={
                "runtime": True,
                "start_from": True,
                "data": self.data.not_results,
                "optimizer": self.optimizer.off,
                "encoder": {"attention", "checkpoint_activations", "vector"},
            },
        )
