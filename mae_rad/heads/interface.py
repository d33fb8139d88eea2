"""The interface of a task head: features of an encoder in, predictions out.

Legend: B films of one grid, N patches, L labels, K boxes of a film.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from mae_rad.data.batch import Patches
from mae_rad.objectives.interface import ObjectiveOutput


class Calibration(NamedTuple):
    """Calibration of one output: the probability of a label is the sigmoid of ``slope * logit + offset``.

    The number of a regression is that value itself, in its unit; the probabilities of classes are the softmax of it.
    """

    slope: float = 1.0
    offset: float = 0.0


class Boxes(NamedTuple):
    """Predicted boxes of one film.

    Attributes:
        corners: [K, 4] float32 (x_min, y_min, x_max, y_max) in pixels of the encoder's input grid.
        scores: [K] in [0, 1].
        labels: [K] int64 index into ``labels`` of the head.
    """

    corners: Tensor
    scores: Tensor
    labels: Tensor


class Prediction(NamedTuple):
    """Predictions for films of one grid.

    Attributes:
        probabilities: of a classification, [B, L] calibrated probabilities of the labels; else None.
        boxes: of a detection, boxes of B films; else None.
        numbers: of a regression, [B, L] in the unit of each; else None.
        class_probabilities: of classes that exclude each other, [B, L] with a sum of 1 over L classes; else None.
    """

    probabilities: Tensor | None = None
    boxes: list[Boxes] | None = None
    numbers: Tensor | None = None
    class_probabilities: Tensor | None = None


class Head(nn.Module, ABC):
    """A task head on top of an encoder.

    Attributes:
        labels: names of L labels.
        input_kind: input per film. ``summary`` is the class token and the mean of the patch tokens; with ``summary``
            and ``tokens``, the features of a frozen encoder can be cached.
    """

    labels: tuple[str, ...]
    input_kind: Literal["summary", "tokens", "patches"]

    def encode(self, encoder: nn.Module, patches: Patches) -> Any:
        """Encode films for this head.

        Args:
            encoder: ViT or network of timm.
            patches: of B films of one grid.

        Returns:
            Input of :meth:`forward`.
        """
        return encoder(patches)

    def encode_groups(self, encoder: nn.Module, groups: Sequence[Patches]) -> list[Any]:
        """Encode groups of films.

        Args:
            encoder: ViT or network of timm.
            groups: patches of films, one grid per group.

        Returns:
            As :meth:`encode`, one per group.
        """
        return [self.encode(encoder, group) for group in groups]

    @abstractmethod
    def forward(self, features: Any, patches: Patches | None) -> Any:
        """Compute raw outputs for films of one grid.

        Args:
            features: of the films, from :meth:`encode`.
            patches: of the films; None where features are cached and the films are not read.

        Returns:
            Input of :meth:`loss` and :meth:`answer`.
        """

    @abstractmethod
    def loss(self, outputs: Sequence[Any], targets: Any) -> ObjectiveOutput:
        """Compute the loss, a mean over films, and so the same for any division into ranks and micro batches.

        Args:
            outputs: raw outputs, one per grid.
            targets: of all films, in the order of the outputs.

        Returns:
            Loss and metrics.
        """

    @abstractmethod
    def answer(self, outputs: Any) -> Prediction:
        """Turn raw outputs into predictions."""

    def calibrate(self, lines: Sequence[Calibration]) -> None:
        """Set the calibration of each label.

        Args:
            lines: L calibrations.

        Raises:
            TypeError: the head has no calibration.
        """
        raise TypeError(f"{type(self).__name__} has no calibration, but {len(lines)} were given")
