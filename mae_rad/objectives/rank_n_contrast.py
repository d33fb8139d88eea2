"""Rank-N-Contrast (Zha et al. 2023): films lie the nearer to each other, the closer a number that is known of them.

As published, the distances are those of the features themselves, without a projection head. Films whose number is not
known are left out of the loss.

Legend: n films of this rank.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from mae_rad.data.batch import Batch
from mae_rad.encoders.any_encoder import Encoder
from mae_rad.errors import SettingsError
from mae_rad.losses.ranking import rank_n_contrast
from mae_rad.objectives.interface import FILM, MethodLabel, Objective, ObjectiveOutput, feature_std
from mae_rad.objectives.two_views import VIEWS, TwoViewSettings, encode_views
from mae_rad.pairing.columns import Column, is_known


class RankNContrastSettings(TwoViewSettings):
    """Settings of Rank-N-Contrast."""

    label: ClassVar[MethodLabel] = MethodLabel(
        "Rank-N-Contrast", "supervised contrast: features are ordered as a number that is known of the films"
    )

    name: Literal["rank_n_contrast"] = "rank_n_contrast"
    """Name of the method."""
    ranked: Column = "age_years"
    """Number that orders the films: a column of the index, or label.NAME. It is read of training films alone, at
    labels.fraction."""
    temperature: float = Field(default=2.0, gt=0)
    """Divisor of the Euclidean distances."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The number."""
        return (self.ranked,)

    def check_columns(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Check that the column holds numbers, and that two films have one."""
        values = columns[self.ranked]
        if not np.issubdtype(values.dtype, np.floating):
            raise SettingsError(f"objective.ranked: {self.ranked!r} holds no numbers. Choose a column that does.")
        if (known := int(is_known(values).sum())) < 2:
            raise SettingsError(
                f"objective.ranked: {known} of {len(values):,} training films have a known {self.ranked!r}, and two are"
                " compared. Choose another column, or a larger labels.fraction."
            )

    def build(self, encoders: Mapping[str, Encoder]) -> "RankNContrast":
        """Build Rank-N-Contrast with the encoder of films."""
        return RankNContrast(encoders[FILM], self)

    def head_flops(self, encoder_dim: int, films: int) -> float:
        """Count the distances of a view to both views of every film."""
        return 3.0 * encoder_dim * 2 * films

    def head_bytes(self, films: int, operand_bytes: int) -> float:
        """Estimate distances, similarities, their order and running sums of a view."""
        del operand_bytes
        return 8 * 4.0 * 2 * films


class RankNContrast(Objective):
    """Contrast by the order of a number, between both views of every film, over all ranks."""

    def __init__(self, encoder: Encoder, settings: RankNContrastSettings) -> None:
        super().__init__()
        self.encoder = encoder
        self.views = settings.views()
        self.ranked, self.temperature = settings.ranked, settings.temperature

    def forward(self, batch: Batch) -> ObjectiveOutput:
        """Compute the loss of ranked distances (eq. 1 and 2); a collective call."""
        pooled = encode_views(self.encoder, batch)
        values = torch.cat([batch.meta[name][self.ranked] for name in VIEWS])
        loss = rank_n_contrast(torch.cat(pooled), values, self.temperature)
        metrics = {"feature_std": feature_std(torch.cat(pooled)), "known_values": (~values.isnan()).float().mean()}
        return ObjectiveOutput(loss, metrics)
