"""What the training loop knows of the model that it trains."""

import math
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mae_rad.data.batch import Batch, ViewSpec
from mae_rad.encoders.vit import ViT


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


@torch.no_grad()
def feature_std(pooled: Tensor) -> Tensor:
    """[] spread of features [B, D] on the sphere; NaN for one film.

    1 where they are all over it, 0 where they are one vector (Chen and He 2021, section 4.1).
    """
    if len(pooled) < 2:
        return torch.full((), torch.nan, device=pooled.device)
    spread: Tensor = normalize(pooled.float(), dim=1).std(dim=0).mean() * math.sqrt(pooled.shape[1])
    return spread
