"""Heads by the name of their task.

To add one: a file with its settings and its class, a line in ``HEADS``, a member of ``TaskSettings``; then what it is
trained on and how it is judged, in ``mae_rad/finetuning``.
"""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from mae_rad.encoders.resnet import ResNet
from mae_rad.encoders.vit import ViT
from mae_rad.heads.classification import ClassificationHead, ClassificationSettings
from mae_rad.heads.detection import DetectionHead, DetectionSettings
from mae_rad.heads.interface import Boxes, Head, Prediction

__all__ = [
    "HEADS",
    "Boxes",
    "ClassificationSettings",
    "DetectionSettings",
    "Head",
    "Prediction",
    "TaskSettings",
    "build_head",
]

TaskSettings = Annotated[ClassificationSettings | DetectionSettings, Field(discriminator="name")]
"""The settings of any task, told apart by ``name``."""

HEADS: dict[str, Callable[[Any, Any], Head]] = {
    "classification": ClassificationHead,
    "detection": DetectionHead,
}


def build_head(settings: TaskSettings, encoder: ViT | ResNet) -> Head:
    """The head that the settings describe, for the features of ``encoder``."""
    return HEADS[settings.name](settings, encoder)
