"""What the training loop knows of an objective."""

import math
from abc import ABC, abstractmethod
from typing import Annotated, NamedTuple

from pydantic import AfterValidator
from torch import Tensor, nn

from mae_rad.data.batch import Batch, ViewSpec
from mae_rad.encoders.vit import ViT


def _is_area_range(crop: tuple[float, float]) -> tuple[float, float]:
    low, high = crop
    if not 0 < low <= high <= 1:
        raise ValueError(f"{low} to {high} is not a range of area fractions in (0, 1]")
    return crop


def _is_square(tokens: int) -> int:
    if math.isqrt(tokens) ** 2 != tokens:
        raise ValueError(f"{tokens} patches make no square; choose a square number such as 196, 1024 or 4096")
    return tokens


Crop = Annotated[tuple[float, float], AfterValidator(_is_area_range)]
"""Range of the area of a random square crop, as fractions of the content."""

SquareTokens = Annotated[int, AfterValidator(_is_square)]
"""T of a view that may be a square crop."""


class ObjectiveOutput(NamedTuple):
    """Result of one step.

    Attributes:
        loss: [] with gradient; its mean over ranks is the loss of the global batch.
        metrics: name → [] detached; the same names on every rank. NaN where this batch cannot tell.
    """

    loss: Tensor
    metrics: dict[str, Tensor]


class Objective(nn.Module, ABC):
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
