"""Settings of finetuning; ``runtime`` changes no result, everything else is fixed when a run has begun."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from data_prep.settings import Settings
from data_prep.shard_format.label_policy import LabelPolicy
from mae_rad.data.augmentation import Augmentation
from mae_rad.data.patch_layout import REFERENCE_TOKENS
from mae_rad.encoders.any_encoder import AnyEncoderSettings
from mae_rad.encoders.timm_encoder import TimmSettings
from mae_rad.errors import SettingsError
from mae_rad.export.encoder_card import EncoderCard
from mae_rad.finetuning.task.early_stopping import EarlyStoppingSettings
from mae_rad.heads import TaskSettings
from mae_rad.training.run_folder import unfinished_settings
from mae_rad.training.settings import DataSettings, RuntimeSettings, TrainingSettings


class LabelledDataSettings(DataSettings):
    """Films to train on, and how their labels become targets."""

    policy: LabelPolicy = LabelPolicy()
    """How the label entries of experts, readers and reports become one value per film and label."""
    label_fraction: float = Field(default=1.0, gt=0, le=1)
    """Fraction of the training patients whose labels are used; a smaller fraction is a subset of a larger one. All
    films of val and test are used."""
    label_seed: int = Field(default=0, ge=0)
    """Seed that selects these patients; a comparison with this ``seed`` trains its probes on the same ones in its first
    draw."""

    @model_validator(mode="after")
    def _reads_by_index(self) -> Self:
        if self.read == "stream":
            raise ValueError("read: stream is for pretraining; labels are looked up by film. Leave it out")
        return self


class FilmSettings(Augmentation):
    """Size and augmentation of the films; a film is always used whole."""

    tokens: int | None = Field(default=None, ge=16)
    """T, number of patches that the content of a film is scaled to; null takes T of start_from, or 196 from scratch."""
    scale: float = Field(default=0.0, ge=0, le=1)
    """Random scaling in training: the sides of a film are multiplied by a factor from 1 / (1 + scale) to 1 + scale.
    This also shifts the content relative to the patch grid."""

    @model_validator(mode="after")
    def _check_crop(self) -> Self:
        if self.crop is not None:
            raise ValueError(
                "film.crop must be null: the label is of the whole film, and a crop may not contain the finding"
            )
        return self


class AdaptationSettings(Settings):
    """Whether and how fast the encoder is trained."""

    encoder: Literal["frozen", "finetuned"] = "finetuned"
    """``frozen`` keeps the weights; ``finetuned`` trains them with the head. To train from scratch, use ``finetuned``
    without start_from."""
    layer_decay: float = Field(default=0.75, gt=0, le=1)
    """Learning rate of a block relative to the block above it; 1 trains all blocks at the same rate."""


class EvaluationSettings(Settings):
    """Validation during training, and the final evaluation."""

    every: int = Field(default=100, ge=1)
    """Optimiser steps between validations; the weights with the best validation are kept."""
    policy: LabelPolicy | None = None
    """How labels of val and test films become one value; by default ``data.policy``."""
    calibration: Literal["platt", "temperature", "none"] = "platt"
    """How logits become probabilities, fitted on val: slope and offset (``platt``), slope alone, or no calibration.
    Classes that exclude each other have one temperature in both cases; numbers have no calibration."""
    sensitivities: tuple[float, ...] = (0.9, 0.95)
    """Operating points of labels: thresholds with these sensitivities on val, each in (0, 1]."""
    repetitions: int = Field(default=1000, ge=100)
    """Bootstrap resamples of the test patients."""

    @model_validator(mode="after")
    def _check_sensitivities(self) -> Self:
        if wrong := [value for value in self.sensitivities if not 0 < value <= 1]:
            raise ValueError(f"sensitivities are shares above 0 and up to 1: 0.9 for 90 %, not {wrong[0]:g}")
        return self


class FinetuneRuntime(RuntimeSettings):
    """Settings that do not change a result."""

    cache_gib: float = Field(default=4.0, ge=0)
    """Memory per rank for features of a frozen encoder, in GiB. Without augmentation, and if all features fit, each
    film is encoded once."""
    compile: Literal[False] = False
    """Not supported: films have many grids, and each would be compiled separately."""
    test_films: bool = True
    """Evaluate the test films at the end. A sweep leaves them out until it has chosen a trial; the same command with
    this set evaluates them afterwards."""
    zero_stage: Literal[0, 1, 2] = 0
    """What DeepSpeed partitions over the ranks: nothing, optimiser state, gradients. Not the parameters (stage 3):
    each rank evaluates val films with all of them."""


class FinetuneSettings(TrainingSettings):
    """One finetuning run."""

    data: LabelledDataSettings
    film: FilmSettings = FilmSettings()
    task: TaskSettings
    encoder: AnyEncoderSettings | None = None
    """Settings of the encoder, a ViT or {timm: NAME}; by default those of start_from, required without it."""
    adaptation: AdaptationSettings = AdaptationSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    early_stopping: EarlyStoppingSettings | None = None
    """When the training ends before its last step, such as {metric: auroc, patience: 10}; null takes all steps."""
    runtime: FinetuneRuntime

    @model_validator(mode="before")
    @classmethod
    def _check_resnet(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.pop("resnet", None) is not None:
            raise ValueError(
                "resnet has become a network of timm. Give encoder={timm: resnet50_gn}, or another network as encoder"
            )
        return values

    @model_validator(mode="after")
    def _check_encoder(self) -> Self:
        if self.encoder is None and self.start_from is None:
            raise ValueError(
                "the encoder is not defined. Give start_from (a run or an encoder folder), or encoder (its settings, to"
                " train from scratch)"
            )
        return self

    @model_validator(mode="after")
    def _check_uncertain(self) -> Self:
        for name, policy in (("data", self.data.policy), ("evaluation", self.evaluation.policy)):
            if policy is not None and policy.uncertain == "class":
                raise ValueError(
                    f"{name}.policy.uncertain=class is not supported: a head has two classes, present and absent."
                    " Use ignore, soft, positive or negative"
                )
        return self

    @model_validator(mode="after")
    def _check_metric(self) -> Self:
        metrics = self.task.validation_metrics
        if self.early_stopping and self.early_stopping.metric not in metrics:
            raise ValueError(
                f"early_stopping.metric {self.early_stopping.metric} is not logged by this task. Give one of"
                f" {', '.join(metrics)}"
            )
        return self

    def results(self) -> dict[str, object]:
        """Return the settings that can change a result; early stopping, which is new, only where it is set."""
        results = super().results() | {"film": self.film.model_dump(mode="json", exclude=self.film.off)}
        if self.early_stopping is None:
            del results["early_stopping"]
        return results

    @property
    def selection_metric(self) -> str:
        """Metric on val that selects the best weights (of detections one of two)."""
        return self.early_stopping.metric if self.early_stopping else self.task.selection_metric

    @property
    def backbone(self) -> AnyEncoderSettings:
        """Settings of the encoder; those of start_from after :func:`with_encoder`."""
        assert self.encoder is not None  # checked by _check_encoder, or filled in by with_encoder
        return self.encoder

    @property
    def tokens(self) -> int:
        """T of the films; defined after :func:`with_encoder`."""
        assert self.film.tokens is not None
        return self.film.tokens


def with_encoder(settings: FinetuneSettings, start: EncoderCard | None) -> FinetuneSettings:
    """Fill in the shape and T of the encoder where the settings do not give them.

    A resumed run keeps its T: in release 0.1 the default was 196, whatever the encoder.

    Args:
        settings: of the run.
        start: card of the encoder of ``start_from``; None without one.

    Returns:
        The settings with ``encoder`` and ``film.tokens`` set.

    Raises:
        SettingsError: windows are requested, and the encoder is a network of timm.
    """
    encoder = settings.encoder or (start.encoder if start else None)
    if isinstance(encoder, TimmSettings) and settings.task.window is not None:
        raise SettingsError(f"{encoder.timm} encodes whole films only. Leave task.window out.")
    if encoder is not None and encoder.film_scale.is_fixed and settings.film.scale:
        raise SettingsError(
            "film.scale resizes films at random, and the encoder keeps their scale. Leave film.scale out."
        )
    film: Any = unfinished_settings(settings.runtime.run_dir).get("film")
    recorded = film.get("tokens") if isinstance(film, dict) else None
    default = start.preprocessing.tokens if start else REFERENCE_TOKENS
    tokens = settings.film.tokens or recorded or default
    return settings.model_copy(update={"encoder": encoder, "film": settings.film.model_copy(update={"tokens": tokens})})
