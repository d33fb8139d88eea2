"""SwAV (Caron et al. 2020): the assignment of one view to prototypes is predicted from the other views of the film.

Deviations from the paper: GELU instead of ReLU; the projection head has three layers; batch norm of the heads is over
the films of all ranks; the queue is filled from the first step on.

Legend: n films of this rank, K prototypes, D channels of the projection.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from mae_rad.data.batch import Batch
from mae_rad.encoders.any_encoder import AnyEncoderSettings, Encoder
from mae_rad.encoders.transformer_cost import Flops
from mae_rad.losses.all_ranks import rank_and_world
from mae_rad.losses.clustering import swav
from mae_rad.losses.vectors import product, unit_rows
from mae_rad.objectives.interface import FILM, MethodLabel, Objective, ObjectiveOutput
from mae_rad.objectives.multi_crop import MultiCropSettings, encode_crops
from mae_rad.objectives.projection_head import projection_head
from mae_rad.objectives.two_views import VIEWS, BatchNormHeadSettings, view_metrics
from mae_rad.objectives.vector_memory import VectorMemory


class SwAVSettings(MultiCropSettings, BatchNormHeadSettings):
    """Settings of SwAV."""

    label: ClassVar[MethodLabel] = MethodLabel(
        "SwAV", "clustering: the prototype of one crop of a film is predicted from its other crops"
    )

    name: Literal["swav"] = "swav"
    """Name of the method."""
    head_dim: int = Field(default=128, ge=1)
    """Channels of the projection."""
    prototypes: int = Field(default=3000, ge=2)
    """Number of prototypes; published is about ten times the number of classes."""
    temperature: float = Field(default=0.1, gt=0)
    """Divisor of the scores that are predicted."""
    epsilon: float = Field(default=0.05, gt=0)
    """Smoothness of the assignment; towards 0 it is hard."""
    iterations: int = Field(default=3, ge=1)
    """Iterations of the Sinkhorn-Knopp algorithm, which makes all prototypes equally frequent."""
    frozen_steps: int = Field(default=313, ge=0)
    """First optimiser steps in which the prototypes stay as they are."""
    queue: int = Field(default=0, ge=0)
    """Vectors of earlier steps per view that are assigned together with the batch, for batches that are smaller than
    the number of prototypes; 0 for none."""
    queue_from: float = Field(default=0.15, ge=0, le=1)
    """Share of the run after which the queue is used, if it is full by then."""

    def build(self, encoders: Mapping[str, Encoder]) -> "SwAV":
        """Build SwAV with the encoder of films."""
        return SwAV(encoders[FILM], self)

    def flops(self, encoders: Mapping[str, AnyEncoderSettings], films: int) -> Flops:
        """Count all crops with their heads, and the scores of the queue."""
        counted = super().flops(encoders, films)
        of_queue = 2 * 2.0 * self.head_dim * self.prototypes * self.queue / films
        return counted._replace(fixed=counted.fixed + of_queue)

    def head_flops(self, encoder_dim: int, films: int) -> float:
        """Count the projection of a crop, and its scores."""
        return super().head_flops(encoder_dim, films) + 2.0 * self.head_dim * self.prototypes

    def head_bytes(self, films: int, operand_bytes: int) -> float:
        """Estimate the layers of the head, and the scores."""
        return super().head_bytes(films, operand_bytes) + 3 * 4 * self.prototypes


class SwAV(Objective):
    """Swapped prediction of assignments between the crops of a film."""

    def __init__(self, encoder: Encoder, settings: SwAVSettings) -> None:
        super().__init__()
        self.encoder = encoder
        self.views = settings.views()
        self.temperature, self.epsilon, self.iterations = settings.temperature, settings.epsilon, settings.iterations
        self.frozen_steps, self.queue_from = settings.frozen_steps, settings.queue_from
        self.projector = projection_head(encoder.dim, settings.head_hidden, settings.head_dim, "batch")
        self.prototypes = nn.Parameter(normalize(torch.randn(settings.prototypes, settings.head_dim), dim=1))
        queues = [VectorMemory(settings.queue, settings.head_dim) for _ in VIEWS] if settings.queue else []
        self.queues = nn.ModuleList(queues)

    def forward(self, batch: Batch) -> ObjectiveOutput:
        """Compute the cross-entropy of swapped assignments (eq. 1 and 2); a collective call."""
        pooled = encode_crops(self.encoder, batch)
        projected: tuple[Tensor, ...] = self.projector(torch.cat(pooled)).chunk(len(pooled))
        prototypes = self.prototypes.detach() if batch.step < self.frozen_steps else self.prototypes
        first, second, *small = (product(unit_rows(z), prototypes.T) for z in projected)
        earlier = self._earlier(prototypes.detach()) if batch.progress >= self.queue_from else ()
        loss = swav(first, second, self.temperature, self.epsilon, self.iterations, further=small, earlier=earlier)
        for queue, z, name in zip(self._queues, projected, VIEWS, strict=False):
            queue.collect(z, batch.members[name])
        return ObjectiveOutput(loss, view_metrics(pooled[:2], projected[:2]))

    def stepped(self, progress: float) -> None:
        """Scale the prototypes to unit length, and take the views of the step into the queue."""
        del progress
        self.prototypes.copy_(normalize(self.prototypes, dim=1))
        for queue in self._queues:
            queue.store()

    @property
    def _queues(self) -> tuple[VectorMemory, ...]:
        return tuple(cast(VectorMemory, queue) for queue in self.queues)

    def _earlier(self, prototypes: Tensor) -> tuple[Tensor, ...]:
        """Scores [Q / ranks, K] of the part of this rank of each queue; none unless both are full."""
        if not all(queue.is_full for queue in self._queues):
            return ()
        rank, world = rank_and_world()
        return tuple(product(queue.vectors[rank::world], prototypes.T) for queue in self._queues)
