"""What the rest of the package knows of a pretraining method: its settings, and the model that they build.

An objective is one file with both, and a line in ``OBJECTIVES``. Nothing outside this folder asks which one it is.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, Self, runtime_checkable

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from data_prep.settings import Settings
from mae_rad.data.batch import Batch, View, ViewSpec
from mae_rad.data.resolution_schedule import Schedule, SquareTokens
from mae_rad.encoders.blocks import Shape
from mae_rad.encoders.transformer_cost import Activations, Flops
from mae_rad.encoders.vit import EncoderSettings, ViT
from mae_rad.errors import SettingsError
from mae_rad.objectives.mae_decoder import Decoder

FILM = "film"
"""The modality that every objective has an encoder of."""


class MethodLabel(NamedTuple):
    """A method before people.

    Attributes:
        short: its name in tables and plots.
        sentence: what it does, without capital and full stop.
    """

    short: str
    sentence: str


class ObjectiveOutput(NamedTuple):
    """Result of one step.

    Attributes:
        loss: [] with gradient; its mean over ranks is the loss of the global batch.
        metrics: name → [] detached; the same names on every rank. NaN where this batch cannot tell.
    """

    loss: Tensor
    metrics: dict[str, Tensor]


class Trainable(nn.Module, ABC):
    """A model that tells its own loss.

    Attributes:
        encoder: the part of it that makes features.
    """

    encoder: nn.Module

    @abstractmethod
    def forward(self, batch: Any) -> ObjectiveOutput:
        """Loss and metrics of this rank's batch."""

    def rate_of(self, name: str) -> float:
        """Factor on the learning rate of the parameter ``name``."""
        del name
        return 1.0


class PixelDecoder(NamedTuple):
    """A decoder of pixels that reads all patches by self-attention, as other frameworks have it.

    Attributes:
        decoder: with its weights.
        shape: size of its blocks.
        visible: fraction of the patches that the encoder sees.
        normalised: it predicts patches normalised each by its mean and deviation.
        variance_floor: smallest variance by which a patch is normalised, in squared display ranges.
    """

    decoder: Decoder
    shape: Shape
    visible: float
    normalised: bool
    variance_floor: float


class Objective(Trainable):
    """A self-supervised task around an encoder.

    Attributes:
        encoder: what is exported after training.
        views: view name → what the loader draws under it.
    """

    encoder: ViT
    views: dict[str, ViewSpec]

    @abstractmethod
    def forward(self, batch: Batch) -> ObjectiveOutput:
        """Loss and metrics of this rank's batch; a collective call where the loss compares films over ranks."""

    def pixel_decoder(self) -> PixelDecoder | None:
        """Its decoder for other frameworks; None if it has none.

        Raises:
            WeightsError: it has a decoder, but one that no other framework can express.
        """
        return None


@runtime_checkable
class Reconstructs(Protocol):
    """An objective that predicts patches and can show them."""

    predicts_alone: bool
    """Whether the prediction of a patch is independent of which others are predicted; then pictures show all hidden
    patches."""
    normalise: bool
    """Whether :meth:`reconstruct` gives a patch the mean and deviation of its true patch."""

    def reconstruct(self, view: View) -> Tensor:
        """[B, P, p*p] display values of the predicted patches."""


class ObjectiveSettings(Settings, ABC):
    """The settings of one method, and what is known of it before a model is built.

    Attributes:
        label: name and sentence for tables and plots.
        speed_only: fields that change no result; a resumed run may change them.
    """

    label: ClassVar[MethodLabel]
    speed_only: ClassVar[frozenset[str]] = frozenset()

    name: str
    tokens: SquareTokens = Field(default=196, ge=16)
    """T, patches that the content of a film (with a crop, the crop) is scaled to."""
    schedule: Schedule = ()
    """Stages before the last with a T of their own, for example [{until: 0.7, tokens: 196}] before tokens: 1024. What
    is a fraction of T follows it; batch, accumulation and learning rate do not."""

    @abstractmethod
    def views(self) -> dict[str, ViewSpec]:
        """View name → what the loader draws under it."""

    @abstractmethod
    def flops(self, encoders: Mapping[str, EncoderSettings], films: int) -> Flops:
        """Floating-point operations of one film.

        Args:
            encoders: modality → its encoder; ``film`` is always among them.
            films: of one forward pass over all ranks, for a loss that compares films.

        Returns:
            Of one film, forward, at the T of these settings.
        """

    @abstractmethod
    def activations(self, encoders: Mapping[str, EncoderSettings], films: int, operand_bytes: int) -> Activations:
        """Memory that backward needs of one film.

        Args:
            encoders: modality → its encoder; ``attention: auto`` counts as on a GPU.
            films: of one forward pass over all ranks, for a loss that compares films.
            operand_bytes: of a matrix operand: 2 in bf16, 4 in f32.

        Returns:
            Bytes of one film.
        """

    @abstractmethod
    def build(self, encoders: Mapping[str, ViT]) -> Objective:
        """The model around its encoders (modality → encoder)."""

    def cost_column(self) -> str:
        """What the table of costs says of the patches of a film: visible, predicted, views."""
        return ""

    def published(self) -> Self | None:
        """These settings as the paper has them, at the same T; None if there is nothing to compare with."""
        return None

    def parse_budget(self, text: str) -> dict[str, Any]:
        """Settings that ``--budgets`` of the cost command stands for.

        Args:
            text: one budget, for example 0.25/0.25.

        Returns:
            Setting → value.

        Raises:
            SettingsError: the text is no budget, or this objective has none.
        """
        own = [name for name in type(self).model_fields if name not in ObjectiveSettings.model_fields]
        raise SettingsError(
            f"--budgets {text} does not apply to {self.label.short}; give its own settings instead"
            + (f": {', '.join(f'objective.{name}=…' for name in own)}" if own else "")
        )


@torch.no_grad()
def feature_std(pooled: Tensor) -> Tensor:
    """[] spread of features [B, D] on the sphere; NaN for one film.

    1 where they are all over it, 0 where they are one vector (Chen and He 2021, section 4.1).
    """
    if len(pooled) < 2:
        return torch.full((), torch.nan, device=pooled.device)
    spread: Tensor = normalize(pooled.float(), dim=1).std(dim=0).mean() * math.sqrt(pooled.shape[1])
    return spread
