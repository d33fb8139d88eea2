"""The interface of a pretraining objective: its settings, and the model that they build.

An objective is one file with both, and a line in ``OBJECTIVES``. No code outside this folder depends on which it is.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from data_prep.settings import Settings
from mae_rad.data.batch import Batch, View, ViewSpec
from mae_rad.data.resolution_schedule import Schedule, SquareTokens
from mae_rad.encoders.any_encoder import AnyEncoderSettings, Encoder
from mae_rad.encoders.blocks import Shape
from mae_rad.encoders.timm_encoder import TimmSettings
from mae_rad.encoders.transformer_cost import Activations, Flops
from mae_rad.errors import SettingsError
from mae_rad.objectives.learning_rates import RateRule, TriedRates
from mae_rad.objectives.mae_decoder import Decoder
from mae_rad.pairing.settings import PairSettings

FILM = "film"
"""The modality for which every objective has an encoder."""
ENCODER = "encoder"
"""Name of the trained encoder of films among several."""


class MethodLabel(NamedTuple):
    """Display name of a method.

    Attributes:
        short: name in tables and plots.
        sentence: what the method does, without capital and full stop.
    """

    short: str
    sentence: str


class ObjectiveOutput(NamedTuple):
    """Result of one step.

    Attributes:
        loss: [] with gradient; its mean over ranks is the loss of the global batch.
        metrics: name → [] detached; the same names on every rank. NaN where a batch does not define one.
    """

    loss: Tensor
    metrics: dict[str, Tensor]


class Trainable(nn.Module, ABC):
    """A model that computes its own loss.

    Attributes:
        encoder: its encoder of features.
    """

    encoder: nn.Module

    @abstractmethod
    def forward(self, batch: Any) -> ObjectiveOutput:
        """Compute loss and metrics of the batch of this rank."""

    def rate_of(self, name: str) -> float:
        """Factor on the learning rate of the parameter ``name``."""
        del name
        return 1.0

    def stepped(self, progress: float) -> None:
        """Change what is not trained (a target encoder, prototypes, memory) after an optimiser step; does nothing.

        Called without gradient, once before the first step of a run, too, but not after a resume: buffers and frozen
        parameters are part of every checkpoint. It must leave them equal on all ranks.

        Args:
            progress: share of the run that is done, in [0, 1]; 1 in an extension.
        """


class PixelDecoder(NamedTuple):
    """A pixel decoder with self-attention over all patches, which other frameworks can express.

    Attributes:
        decoder: with its weights.
        shape: of its blocks.
        visible: fraction of the patches that the encoder gets.
        normalised: whether it predicts patches normalised by their mean and standard deviation.
        variance_floor: lower bound of the variance of a patch, in squared display ranges.
    """

    decoder: Decoder
    shape: Shape
    visible: float
    normalised: bool
    variance_floor: float


class Objective(Trainable):
    """A self-supervised model with an encoder.

    Attributes:
        encoder: exported after training.
        views: view name → specification of the view that the loader draws.
        renew_every: optimiser steps of a round, at whose start :meth:`renew` is called; 0 for none.
        renew_from: optimiser step at which the first round starts, so that no random weights choose neighbours.
    """

    encoder: Encoder
    views: dict[str, ViewSpec]
    renew_every: int = 0
    renew_from: int = 0

    @abstractmethod
    def forward(self, batch: Batch) -> ObjectiveOutput:
        """Compute loss and metrics of the batch of this rank; a collective call if the loss compares films."""

    def exports(self) -> dict[str, Encoder]:
        """Encoders that are exported after training: the trained one as ``encoder``, further ones by other names."""
        return {ENCODER: self.encoder}

    def renews(self) -> dict[str, Encoder]:
        """Encoders whose vectors of all training films :meth:`renew` gets."""
        return {ENCODER: self.encoder}

    def renew(self, vectors: Mapping[str, Tensor], generator: np.random.Generator) -> dict[str, Tensor]:
        """Make what holds for a round: centres, neighbours, pseudo-labels. Called on rank 0 alone.

        Args:
            vectors: encoder → [films, D] vectors of the films of the run, by row of its index, on the CPU.
            generator: of the run and round.

        Returns:
            Name → tensor: one with the name of a buffer replaces it on all ranks; any other has a row per film and is
            the column ``round.NAME`` of the batches of the round.
        """
        raise NotImplementedError

    def pixel_decoder(self) -> PixelDecoder | None:
        """The decoder for export to other frameworks; None without a decoder.

        Raises:
            WeightsError: no other framework can express the decoder.
        """
        return None


@runtime_checkable
class Reconstructs(Protocol):
    """An objective that can reconstruct patches as pictures."""

    predicts_alone: bool
    """Whether the prediction of a patch does not depend on which others are predicted; pictures then show all hidden
    patches."""
    normalise: bool
    """Whether :meth:`reconstruct` applies mean and standard deviation of the true patch to its prediction."""

    def reconstruct(self, view: View) -> Tensor:
        """Return display values [B, P, p*p] of the predicted patches."""


class ObjectiveSettings(Settings, ABC):
    """Settings of one method, with its views and costs.

    Attributes:
        label: display name for tables and plots.
        speed_only: fields that do not change a result; a resumed run may change them.
        rate_rule: default of ``optimizer.rate_rule``.
        tried_rates: peak learning rates at which it was tried; a run outside of them starts with a warning.
    """

    label: ClassVar[MethodLabel]
    speed_only: ClassVar[frozenset[str]] = frozenset()
    rate_rule: ClassVar[RateRule] = "linear"
    tried_rates: ClassVar[tuple[TriedRates, ...]] = ()

    name: str
    tokens: SquareTokens = Field(default=196, ge=16)
    """T, number of patches that the content of a film (with ``crop``, the crop) is scaled to."""
    schedule: Schedule = ()
    """Stages before the last, each with its T, for example [{until: 0.7, tokens: 196}] before tokens: 1024. Settings
    that are fractions of T scale with it; batch, accumulation and learning rate do not."""

    @abstractmethod
    def views(self) -> dict[str, ViewSpec]:
        """View name → specification of the view that the loader draws."""

    @property
    def strategy(self) -> PairSettings:
        """Which films belong together; by default none but the views of one film."""
        return PairSettings()

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that ``forward`` reads in the ``meta`` of a batch: of the index, label.NAME, or label.* for all."""
        return self.strategy.columns_of_relation

    def check_columns(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Check that the columns of ``needs`` hold what the objective needs; by default what its relation needs.

        Args:
            columns: column → [films] values.

        Raises:
            SettingsError: a column holds something else.
        """
        self.strategy.check(columns)

    @property
    def keeps_whole_copy(self) -> bool:
        """Whether the model holds parameters that no gradient trains, such as a target encoder."""
        return False

    @property
    def has_rounds(self) -> bool:
        """Whether the model renews something in rounds."""
        return self.strategy.neighbours is not None

    @abstractmethod
    def flops(self, encoders: Mapping[str, AnyEncoderSettings], films: int) -> Flops:
        """Count the floating-point operations of one film.

        Args:
            encoders: modality → its encoder; ``film`` is always among them.
            films: of one forward pass over all ranks, for a loss that compares films.

        Returns:
            Of one film, forward, at the T of these settings.
        """

    @abstractmethod
    def activations(self, encoders: Mapping[str, AnyEncoderSettings], films: int, operand_bytes: int) -> Activations:
        """Estimate the memory of the activations of one film that backward needs.

        Args:
            encoders: modality → its encoder; ``attention: auto`` counts as on a GPU.
            films: of one forward pass over all ranks, for a loss that compares films.
            operand_bytes: of a matrix operand: 2 in bf16, 4 in f32.

        Returns:
            Bytes of one film.
        """

    @abstractmethod
    def build(self, encoders: Mapping[str, Encoder]) -> Objective:
        """Build the model with its encoders (modality → encoder)."""

    def check_encoder(self, encoder: AnyEncoderSettings) -> None:
        """Check that the objective can train an encoder.

        Args:
            encoder: settings of the encoder.

        Raises:
            ValueError: the objective hides patches, and the encoder takes whole images only.
        """
        if isinstance(encoder, TimmSettings):
            raise ValueError(
                f"objective {self.name} hides patches, and {encoder.timm} takes whole images only. Give encoder.model"
            )

    @property
    def needs_whole_batch(self) -> bool:
        """Whether the output for a film depends on the other films of the forward pass, other than through the loss."""
        return False

    def films_in_memory(self, films: int) -> int:
        """Number of films whose activations are in memory at once, of ``films`` per forward pass of a rank."""
        return films

    def smaller_passes(self, films: int) -> dict[str, Any]:
        """Settings that keep at most ``films`` films in memory without a change of results; none if there are none."""
        del films
        return {}

    def cost_column(self) -> str:
        """Text of the column ``budget`` in the cost table: visible and predicted fractions, or views."""
        return ""

    def published(self) -> Self | None:
        """The settings of the paper at the same T; None if there are none to compare with."""
        return None

    def parse_budget(self, text: str) -> dict[str, Any]:
        """Parse a budget of ``--budgets`` of the cost command.

        Args:
            text: one budget, for example 0.25/0.25.

        Returns:
            Setting → value.

        Raises:
            SettingsError: the text is not a budget, or the objective has no budgets.
        """
        setting_names = [name for name in type(self).model_fields if name not in ObjectiveSettings.model_fields]
        raise SettingsError(
            f"--budgets {text} does not apply to {self.label.short}. Give its settings instead"
            + (f": {', '.join(f'objective.{name}=…' for name in setting_names)}" if setting_names else "")
        )


@torch.no_grad()
def feature_std(pooled: Tensor) -> Tensor:
    """Standard deviation of unit-length features, times the square root of D (Chen and He 2021, section 4.1).

    Args:
        pooled: [B, D] features.

    Returns:
        [] 1 for features spread over the sphere, 0 for equal features, NaN for one film.
    """
    if len(pooled) < 2:
        return torch.full((), torch.nan, device=pooled.device)
    spread: Tensor = normalize(pooled.float(), dim=1).std(dim=0).mean() * math.sqrt(pooled.shape[1])
    return spread
