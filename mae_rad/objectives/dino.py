"""DINO (Caron et al. 2021): a student predicts the output of a slowly moving teacher for other crops of the film.

The teacher is exported as a further encoder, ``encoders/teacher``, which is the one that the paper evaluates.

Deviations from the paper: the temperature of the teacher and the weight decay stay the same throughout the run.

Legend: n films of this rank, K outputs, D encoder channels.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from mae_rad.data.batch import Batch
from mae_rad.encoders.any_encoder import AnyEncoderSettings, Encoder
from mae_rad.encoders.blocks import initialise
from mae_rad.encoders.transformer_cost import Flops
from mae_rad.losses.distillation import dino, dino_center
from mae_rad.losses.vectors import product, unit_rows
from mae_rad.objectives.interface import ENCODER, FILM, MethodLabel, Objective, ObjectiveOutput
from mae_rad.objectives.multi_crop import MultiCropSettings, encode_crops
from mae_rad.objectives.target_network import follow, target_of
from mae_rad.objectives.two_views import TwoViewSettings, encode_views, view_metrics

TEACHER = "teacher"


class DINOSettings(MultiCropSettings):
    """Settings of DINO."""

    label: ClassVar[MethodLabel] = MethodLabel(
        "DINO", "self-distillation: from a crop of a film a slowly moving copy's output for other crops is predicted"
    )

    name: Literal["dino"] = "dino"
    """Name of the method."""
    head_hidden: int = Field(default=2048, ge=1)
    """Channels of the two hidden layers of the head."""
    head_dim: int = Field(default=256, ge=1)
    """Channels of the vectors of unit length that the outputs are computed from."""
    outputs: int = Field(default=65536, ge=2)
    """Number of outputs."""
    student_temperature: float = Field(default=0.1, gt=0)
    """Divisor of the outputs of the student."""
    teacher_temperature: float = Field(default=0.04, gt=0)
    """Divisor of the centred outputs of the teacher; a smaller one sharpens them."""
    center_momentum: float = Field(default=0.9, ge=0, lt=1)
    """Share of the centre of the outputs that a step keeps."""
    first_momentum: float = Field(default=0.996, ge=0, le=1)
    """Share of its weights that the teacher keeps in the first step; it rises to 1 by a cosine over the run."""
    frozen_steps: int = Field(default=0, ge=0)
    """First optimiser steps in which the last layer stays as it is; published is the first epoch."""

    @property
    def keeps_whole_copy(self) -> bool:
        """The teacher is a copy that no gradient trains."""
        return True

    def build(self, encoders: Mapping[str, Encoder]) -> "DINO":
        """Build DINO with the encoder of films."""
        return DINO(encoders[FILM], self)

    def flops(self, encoders: Mapping[str, AnyEncoderSettings], films: int) -> Flops:
        """Count all crops of the student, and the two views of the teacher."""
        student, views = super().flops(encoders, films), TwoViewSettings.flops(self, encoders, films)
        return student._replace(fixed=student.fixed + views.forward)

    def head_flops(self, encoder_dim: int, films: int) -> float:
        """Count the head of a crop."""
        del films
        hidden, dim = self.head_hidden, self.head_dim
        return 2.0 * (encoder_dim * hidden + hidden**2 + hidden * dim + dim * self.outputs)

    def head_bytes(self, films: int, operand_bytes: int) -> float:
        """Estimate both sides of each GELU, the vector before and after scaling, and the outputs."""
        del films
        return 2 * 2 * operand_bytes * self.head_hidden + 2 * 4 * self.head_dim + 3 * 4 * self.outputs


class DistillationHead(nn.Module):
    """A head of three layers, and products of its unit vectors with unit weights (Caron et al. 2021, appendix C).

    Args:
        encoder_dim: channels of the encoder.
        hidden: channels of the two hidden layers.
        dim: channels of the unit vectors.
        outputs: K.
    """

    def __init__(self, encoder_dim: int, hidden: int, dim: int, outputs: int) -> None:
        super().__init__()
        layers = [
            nn.Linear(encoder_dim, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, dim),
        ]
        self.layers = nn.Sequential(*layers).apply(initialise)
        self.last = nn.Parameter(torch.randn(outputs, dim))

    def forward(self, pooled: Tensor, frozen: bool = False) -> Tensor:
        """Compute the outputs.

        Args:
            pooled: [n, D] features.
            frozen: leave the last layer without gradient.

        Returns:
            [n, K] cosines in float32 or float64.
        """
        last = self.last.detach() if frozen else self.last
        return product(unit_rows(self.layers(pooled)), unit_rows(last).T)


class DINO(Objective):
    """Self-distillation between the crops of a film, with a centred and sharpened teacher."""

    center: Tensor

    def __init__(self, encoder: Encoder, settings: DINOSettings) -> None:
        super().__init__()
        self.encoder = encoder
        self.views = settings.views()
        self.temperatures = settings.student_temperature, settings.teacher_temperature
        self.center_momentum, self.first_momentum = settings.center_momentum, settings.first_momentum
        self.frozen_steps = settings.frozen_steps
        self.head = DistillationHead(encoder.dim, settings.head_hidden, settings.head_dim, settings.outputs)
        self.teacher, self.teacher_head = target_of(self.encoder), target_of(self.head)
        self.register_buffer("center", torch.zeros(settings.outputs))
        self._means: list[Tensor] = []

    def forward(self, batch: Batch) -> ObjectiveOutput:
        """Compute the cross-entropy of teacher and student over pairs of different crops (eq. 3)."""
        pooled = encode_crops(self.encoder, batch)
        student = torch.stack([self.head(crop, batch.step < self.frozen_steps) for crop in pooled])
        with torch.no_grad():
            teacher = torch.stack([self.teacher_head(view) for view in encode_views(self.teacher, batch)])
        loss = dino(student, teacher, self.center, *self.temperatures)
        if self.training:
            self._means.append(teacher.mean(dim=(0, 1)))
        return ObjectiveOutput(loss, view_metrics(pooled[:2], (student[0], student[1])))

    def stepped(self, progress: float) -> None:
        """Move the centre by the mean outputs of all passes of the step, and the teacher; a collective call."""
        if self._means:
            self.center.copy_(dino_center(self.center, torch.stack(self._means), self.center_momentum))
            self._means.clear()
        follow(self.teacher, self.encoder, progress, self.first_momentum)
        follow(self.teacher_head, self.head, progress, self.first_momentum)

    def exports(self) -> dict[str, Encoder]:
        """The student, and the teacher."""
        return {ENCODER: self.encoder, TEACHER: self.teacher}
