"""Task heads by name.

To add one: a file with its settings and its class, a line in ``HEADS``, a member of ``TaskSettings``; then its targets
and its evaluation, in ``mae_rad/finetuning``.
"""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from mae_rad.encoders.any_encoder import Encoder
from mae_rad.heads.classification import ClassificationHead, ClassificationSettings
from mae_rad.heads.detection import DetectionHead, DetectionSettings
from mae_rad.heads.interface import Boxes, Head, Prediction
from mae_rad.heads.multiclass import MulticlassHead, MulticlassSettings
from mae_rad.heads.regression import RegressionHead, RegressionSettings

__all__ = [
    "HEADS",
    "Boxes",
    "ClassificationSettings",
    "DetectionSettings",
    "Head",
    "MulticlassSettings",
    "Prediction",
    "RegressionSettings",
    "TaskSettings",
    "build_head",
]

TaskSettings = Annotated[
    ClassificationSettings | DetectionSettings | RegressionSettings | MulticlassSettings, Field(discriminator="name")
]
"""Settings of any task; ``name`` selects the class."""

HEADS: dict[str, Callable[[Any, Any], Head]] = {
    "classification": ClassificationHead,
    "detection": DetectionHead,
    "regression": RegressionHead,
    "multiclass": MulticlassHead,
}


def build_head(settings: TaskSettings, encoder: Encoder) -> Head:
    """Build a head.

    Args:
        settings: of the task; ``name`` selects the class.
        encoder: whose features are its input.

    Returns:
        The head with its initial weights.
    """
    return HEADS[settings.name](settings, encoder)
