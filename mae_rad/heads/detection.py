"""Detection of findings as boxes, on films of any shape.

A feature pyramid on the last map of the encoder (ViTDet; for a convolutional network, a feature pyramid network on its
maps), and a one-stage box head (FCOS).

Legend: B films of one grid, L labels, D channels of the encoder, C channels of the pyramid.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeGuard

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

from data_prep.settings import Settings
from mae_rad.data.batch import Patches
from mae_rad.encoders.any_encoder import Encoder
from mae_rad.encoders.timm_encoder import TimmEncoder
from mae_rad.encoders.vit import ViT
from mae_rad.heads.classification import TargetLabelSettings
from mae_rad.heads.fcos_head import GROUPS, BoxHead, choose_boxes
from mae_rad.heads.feature_pyramid import FeaturePyramid, as_map
from mae_rad.heads.interface import Head, Prediction
from mae_rad.heads.target import duplicate_titles
from mae_rad.heads.window_attention import window_features
from mae_rad.losses.fcos import BoxTargets, Predictions, box_losses
from mae_rad.objectives.interface import ObjectiveOutput


class DetectionSettings(Settings):
    """Settings of a detection; all change results."""

    name: Literal["detection"] = "detection"
    """Kind of task."""
    labels: tuple[TargetLabelSettings, ...] = Field(min_length=1)
    """Labels of boxes.parquet; labels.parquet states which films without boxes have no finding."""
    channels: int = Field(default=256, ge=GROUPS, multiple_of=GROUPS)
    """C, channels of pyramid and head."""
    convolutions: int = Field(default=4, ge=1)
    """3 × 3 convolutions in each of the two branches, labels and boxes."""
    crop: int | None = Field(default=None, ge=4)
    """Side in patches of the square crops to train on, placed at boxes, in the content, or at structures outside of it;
    null trains on whole films. Evaluation always uses whole films."""
    crops: int = Field(default=1, ge=1)
    """Crops per film: reading a film takes about as long as a training step on a small crop. Memory grows with the
    number; for a film no larger than the crop, all crops are equal."""
    window: int | None = Field(default=None, ge=4)
    """Side of the windows in patches, at most, in which the encoder processes a film, in training and prediction; null
    processes whole films."""
    balance: Literal["none", "sampling"] = "sampling"
    """Draw films with and without boxes equally often (``sampling``), or all films equally often."""
    least: float = Field(default=0.02, ge=0, lt=1)
    """Boxes with a lower score are discarded."""
    overlap: float = Field(default=0.4, gt=0, le=1)
    """Largest intersection over union of two boxes of a label; of boxes with more, the one with the lower score is
    discarded."""
    most: int = Field(default=100, ge=1)
    """Boxes per film, at most."""

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        if duplicates := duplicate_titles(self.labels):
            raise ValueError(f"two labels are called {', '.join(duplicates)}. Give one of them another name")
        return self

    @model_validator(mode="after")
    def _check_crops(self) -> Self:
        if self.crops > 1 and self.crop is None:
            raise ValueError(f"crops={self.crops} needs the size of a crop. Give crop, its side in patches")
        return self

    @property
    def validation_metrics(self) -> tuple[str, ...]:
        """Metrics that a validation logs: means over labels, and those of each label."""
        means = ("ap50", "froc")
        return (*means, *(f"{metric}/{title}" for title in self.titles for metric in means))

    @property
    def selection_metric(self) -> str:
        """One of the two metrics whose mean selects the best weights."""
        return "froc"

    @property
    def titles(self) -> tuple[str, ...]:
        """Names of the L labels."""
        return tuple(label.title for label in self.labels)

    @property
    def targets(self) -> tuple[TargetLabelSettings, ...]:
        """The labels."""
        return self.labels


@dataclass(frozen=True)
class FilmTargets:
    """Targets of the films of a batch."""

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
    """Feature pyramid and box head.

    Attributes:
        settings: of the task.
        patch: side of a patch in pixels.
        strides: pixels per cell of each map, finest first.
    """

    input_kind: Literal["patches"] = "patches"

    def __init__(self, settings: DetectionSettings, encoder: Encoder) -> None:
        super().__init__()
        self.labels = settings.titles
        self.settings = settings
        self.patch = encoder.patch
        self.pyramid: nn.Module
        self.strides: tuple[float, ...]
        if _has_maps(encoder):
            numbers = encoder.map_blocks
            self.pyramid = _MapPyramid([encoder.block_dims[number - 1] for number in numbers], settings.channels)
            self.strides = tuple(encoder.facts.strides[number - 1] for number in numbers)
        else:
            pyramid = FeaturePyramid(encoder.dim, settings.channels, encoder.patch)
            self.pyramid, self.strides = pyramid, pyramid.strides
        self.boxes = BoxHead(settings.channels, len(self.labels), settings.convolutions)

    def encode(self, encoder: nn.Module, patches: Patches) -> Tensor | list[Tensor]:
        """Encode films into the last map of a ViT [B, D, rows, columns], or the maps of a convolutional network."""
        if _has_maps(encoder):
            return encoder.maps(patches)
        if isinstance(encoder, ViT):
            (features,) = window_features(encoder, [patches], self.settings.window)
        else:
            features = encoder(patches)
        return as_map(features.tokens, patches.grid)

    def forward(self, features: Tensor | list[Tensor], patches: Patches | None) -> Predictions:
        """Predict labels and boxes at every location."""
        assert patches is not None  # features are not cached for a detection
        rows, columns = patches.grid
        size = (columns * self.patch, rows * self.patch)
        predictions: Predictions = self.boxes(self.pyramid(features), self.strides, size)
        return predictions

    def loss(self, outputs: Sequence[Predictions], targets: FilmTargets) -> ObjectiveOutput:
        """Compute the sum of the three losses, as a mean over films."""
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
        """Return the boxes after non-maximum suppression."""
        settings = self.settings
        return Prediction(
            boxes=choose_boxes(outputs, least=settings.least, overlap=settings.overlap, most=settings.most)
        )


def _has_maps(encoder: nn.Module) -> TypeGuard[TimmEncoder]:
    """Whether the maps of an encoder become coarser; the tokens of others are one per patch."""
    return isinstance(encoder, TimmEncoder) and encoder.facts.patch is None


class _MapPyramid(nn.Module):
    """torchvision's feature pyramid network on a list of maps."""

    def __init__(self, widths: Sequence[int], channels: int) -> None:
        super().__init__()
        self.network = FeaturePyramidNetwork(list(widths), channels)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        named = {str(number): cells for number, cells in enumerate(maps)}
        return list(self.network(named).values())
