"""Detection: where on a film the findings are, as boxes.

A feature pyramid on the encoder's map (ViTDet, for a ResNet its own maps in a feature pyramid network) and a one-stage
head on it, for films of any shape.

Legend: B films of one grid, L labels, D channels of the encoder, C channels of the pyramid.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

from data_prep.settings import Settings
from mae_rad.data.batch import Patches
from mae_rad.encoders.resnet import ResNet
from mae_rad.encoders.vit import ViT
from mae_rad.heads.classification import TargetLabelSettings
from mae_rad.heads.fcos_head import GROUPS, BoxHead, choose_boxes
from mae_rad.heads.feature_pyramid import FeaturePyramid, as_map
from mae_rad.heads.interface import Head, Prediction
from mae_rad.heads.window_attention import window_features
from mae_rad.losses.fcos import BoxTargets, Predictions, box_losses
from mae_rad.objectives.interface import ObjectiveOutput


class DetectionSettings(Settings):
    """Settings of a detection; all change results."""

    name: Literal["detection"] = "detection"
    labels: tuple[TargetLabelSettings, ...] = Field(min_length=1)
    """Labels of boxes.parquet; whether a film without boxes has none, labels.parquet tells."""
    channels: int = Field(default=256, ge=GROUPS, multiple_of=GROUPS)
    """C of pyramid and head."""
    convolutions: int = Field(default=4, ge=1)
    """3 × 3 convolutions before the labels, and as many before the boxes."""
    crop: int | None = Field(default=None, ge=4)
    """Training looks at squares of so many patches a side: where boxes are, anywhere in the content, or at what is
    shown beside it; null at whole films. Films are always judged as a whole."""
    crops: int = Field(default=1, ge=1)
    """Squares of each film of a batch, for to read a film costs about as much as to learn from a small square of it.
    Memory grows with them; of a film no larger than the square they are copies."""
    window: int | None = Field(default=None, ge=4)
    """The encoder looks at windows of at most so many patches a side, in training and after; null at whole films."""
    balance: Literal["none", "sampling"] = "sampling"
    """Draw films with and without boxes equally often."""
    least: float = Field(default=0.02, ge=0, lt=1)
    """Boxes with a lower score are not told."""
    overlap: float = Field(default=0.4, gt=0, le=1)
    """Of two boxes of a label that overlap more, the surer one stands."""
    most: int = Field(default=100, ge=1)
    """Boxes of a film."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        double = sorted({title for title in self.titles if self.titles.count(title) > 1})
        if double:
            raise ValueError(f"two labels are called {', '.join(double)}; give one of them another name")
        return self

    @model_validator(mode="after")
    def _squares_have_a_size(self) -> Self:
        if self.crops > 1 and self.crop is None:
            raise ValueError(f"crops={self.crops} squares of a film have no size; give crop, patches a side")
        return self

    @property
    def titles(self) -> tuple[str, ...]:
        """L names."""
        return tuple(label.title for label in self.labels)


@dataclass(frozen=True)
class FilmTargets:
    """What is to be found on the films of a batch."""

    films: tuple[BoxTargets, ...]

    def to(self, device: Any) -> "FilmTargets":
        """Copy to ``device``."""
        return FilmTargets(
            tuple(BoxTargets(*(part.to(device, non_blocking=True) for part in film)) for film in self.films)
        )

    def pin_memory(self) -> "FilmTargets":
        """Copy to page-locked memory."""
        return FilmTargets(tuple(BoxTargets(*(part.pin_memory() for part in film)) for film in self.films))


class DetectionHead(Head):
    """Feature pyramid and box head."""

    input_kind: Literal["patches"] = "patches"

    def __init__(self, settings: DetectionSettings, encoder: ViT | ResNet) -> None:
        super().__init__()
        self.labels = settings.titles
        self.settings = settings
        self.patch = encoder.patch
        self.pyramid: nn.Module
        if isinstance(encoder, ResNet):
            self.pyramid, self.strides = _Lateral(encoder.widths, settings.channels), encoder.strides
        else:
            simple = FeaturePyramid(encoder.dim, settings.channels, encoder.patch)
            self.pyramid, self.strides = simple, simple.strides
        self.boxes = BoxHead(settings.channels, len(self.labels), settings.convolutions)

    def encode(self, encoder: nn.Module, patches: Patches) -> Tensor | list[Tensor]:
        """The map of a ViT [B, D, rows, columns], or the maps of a ResNet."""
        if isinstance(encoder, ResNet):
            return encoder.maps(patches)
        assert isinstance(encoder, ViT)
        (features,) = window_features(encoder, [patches], self.settings.window)
        return as_map(features.tokens, patches.grid)

    def forward(self, features: Tensor | list[Tensor], patches: Patches | None) -> Predictions:
        """What is told of every place."""
        assert patches is not None  # it stands on them
        rows, columns = patches.grid
        size = (columns * self.patch, rows * self.patch)
        predictions: Predictions = self.boxes(self.pyramid(features), self.strides, size)
        return predictions

    def loss(self, outputs: Sequence[Predictions], targets: FilmTargets) -> ObjectiveOutput:
        """Mean over films of the three losses together."""
        films = [len(one.logits) for one in outputs]
        starts = [sum(films[:number]) for number in range(len(films))]
        parts = [
            [part * count / sum(films) for part in box_losses(one, targets.films[start : start + count])]
            for one, start, count in zip(outputs, starts, films, strict=True)
        ]
        label, box, fit = (torch.stack(column).sum() for column in zip(*parts, strict=True))
        metrics = {"label_loss": label.detach(), "box_loss": box.detach(), "fit_loss": fit.detach()}
        return ObjectiveOutput(label + box + fit, metrics)

    def answer(self, outputs: Predictions) -> Prediction:
        """The boxes that stand."""
        wanted = self.settings
        return Prediction(boxes=choose_boxes(outputs, least=wanted.least, overlap=wanted.overlap, most=wanted.most))


class _Lateral(nn.Module):
    """torchvision's feature pyramid network on a list of maps."""

    def __init__(self, widths: Sequence[int], channels: int) -> None:
        super().__init__()
        self.network = FeaturePyramidNetwork(list(widths), channels)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        named = {str(number): cells for number, cells in enumerate(maps)}
        return list(self.network(named).values())
