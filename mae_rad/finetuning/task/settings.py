"""Settings of finetuning. ``runtime`` cannot change a result; everything else can, and is fixed then."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from data_prep.settings import Settings
from data_prep.shard_format.label_policy import LabelPolicy
from mae_rad.data.augmentation import Augmentation
from mae_rad.data.patch_layout import REFERENCE_TOKENS
from mae_rad.encoders.resnet import ResNetSettings
from mae_rad.encoders.vit import EncoderSettings
from mae_rad.export.encoder_card import EncoderCard
from mae_rad.heads import TaskSettings
from mae_rad.training.run_folder import unfinished_settings
from mae_rad.training.settings import DataSettings, RuntimeSettings, TrainingSettings


class LabelledDataSettings(DataSettings):
    """Which films are trained on, and what is taken for true of them."""

    policy: LabelPolicy = LabelPolicy()
    """How the words of experts, readers and reports become one value."""
    label_fraction: float = Field(default=1.0, gt=0, le=1)
    """Of the training patients whose labels are used; a smaller fraction is a part of a larger one. Films of val and
    test are all used."""
    label_seed: int = Field(default=0, ge=0)
    """Which patients these are; a comparison of this ``seed`` gives its probes the same ones, in their first draw."""


class FilmSettings(Augmentation):
    """How a film is shown: always the whole of it."""

    tokens: int | None = Field(default=None, ge=16)
    """T, patches that the content of a film is scaled to; null is that of start_from, and 196 from scratch."""
    scale: float = Field(default=0.0, ge=0, le=1)
    """How much larger or smaller films are shown in training, as a share of their sides: by a factor from
    1 / (1 + scale) to 1 + scale. What is on them then falls elsewhere on the grid of patches, too."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.crop is not None:
            raise ValueError("the whole film is labelled: a crop may lose what the label tells of; leave it null")
        return self


class AdaptationSettings(Settings):
    """What becomes of the encoder."""

    encoder: Literal["frozen", "finetuned"] = "finetuned"
    """Frozen keeps its weights; finetuned trains them with the head. From scratch is finetuned without start_from."""
    layer_decay: float = Field(default=0.75, gt=0, le=1)
    """Each block learns at this fraction of the rate of the block above it; 1 trains all alike."""


class EvaluationSettings(Settings):
    """How the model is evaluated."""

    every: int = Field(default=100, ge=1)
    """Steps between two looks at the val films; the best weights by these are those that are kept."""
    policy: LabelPolicy | None = None
    """What is taken for true of val and test films; by default as in training."""
    calibration: Literal["platt", "temperature", "none"] = "platt"
    """How scores become probabilities, learned on val: a line in the logit, a slope alone, or not at all."""
    sensitivities: tuple[float, ...] = (0.9, 0.95)
    """Operating points: the thresholds that find so much of what is present in val."""
    repetitions: int = Field(default=1000, ge=100)
    """Bootstrap resamples of the test patients."""


class FinetuneRuntime(RuntimeSettings):
    """What does not change a result."""

    cache_gib: float = Field(default=4.0, ge=0)
    """Memory of a rank for the features of a frozen encoder: where no film varies and all fit, each is encoded once."""
    compile: Literal[False] = False
    """Never: films have many grids, and each would be compiled anew."""
    zero_stage: Literal[0, 1, 2] = 0
    """What DeepSpeed partitions over the ranks: nothing, optimiser state, gradients. Not the parameters (stage 3):
    each rank looks at val films with all of them."""


class FinetuneSettings(TrainingSettings):
    """One finetuning run."""

    data: LabelledDataSettings
    film: FilmSettings = FilmSettings()
    task: TaskSettings
    encoder: EncoderSettings | None = None
    """By default that of start_from; needed without."""
    resnet: ResNetSettings | None = None
    """A ResNet in place of the encoder, to compare with."""
    adaptation: AdaptationSettings = AdaptationSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    runtime: FinetuneRuntime

    @model_validator(mode="after")
    def _some_encoder(self) -> Self:
        given = self.encoder is not None or self.start_from is not None
        if given == (self.resnet is not None):
            raise ValueError(
                "give start_from, a run or an encoder folder; or encoder, its settings, to begin from scratch;"
                " or resnet, to compare with one, and neither of the two"
            )
        return self

    @model_validator(mode="after")
    def _windows_are_of_a_vit(self) -> Self:
        if self.resnet is not None and self.task.window is not None:
            raise ValueError("task.window is how a ViT looks at a film; leave it out with resnet")
        return self

    @model_validator(mode="after")
    def _two_classes(self) -> Self:
        for name, policy in (("data", self.data.policy), ("evaluation", self.evaluation.policy)):
            if policy is not None and policy.uncertain == "class":
                raise ValueError(
                    f"{name}.policy.uncertain=class: heads tell present from absent, and would learn nothing of such"
                    " films; take ignore, soft, positive or negative"
                )
        return self

    @property
    def backbone(self) -> EncoderSettings | ResNetSettings:
        """What looks at the films; that of start_from once it has been read."""
        backbone = self.resnet or self.encoder
        assert backbone is not None  # or these settings would have been refused
        return backbone

    @property
    def tokens(self) -> int:
        """T of the films; only of settings that :func:`with_encoder` has filled in."""
        assert self.film.tokens is not None
        return self.film.tokens


def with_encoder(settings: FinetuneSettings, start: EncoderCard | None) -> FinetuneSettings:
    """Fill in what the settings leave to the encoder: its shape and its T.

    A run that is resumed keeps its T: one of an earlier release had 196 where none was given, whatever the encoder.

    Args:
        settings: of the run.
        start: card of the encoder of ``start_from``; None without one.
    """
    encoder = settings.encoder or (start.encoder if start else None)
    film: Any = unfinished_settings(settings.runtime.run_dir).get("film")
    recorded = film.get("tokens") if isinstance(film, dict) else None
    default = start.preprocessing.tokens if start else REFERENCE_TOKENS
    tokens = settings.film.tokens or recorded or default
    return settings.model_copy(update={"encoder": encoder, "film": settings.film.model_copy(update={"tokens": tokens})})
