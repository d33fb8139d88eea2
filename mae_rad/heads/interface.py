"""What finetuning and prediction know of a head: it stands on an encoder's features and answers a question.

Legend: B films of one grid, N patches, L labels, K boxes of a film.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from mae_rad.data.batch import Patches
from mae_rad.objectives.interface import ObjectiveOutput


class Line(NamedTuple):
    """Calibration of one label: its probability is the sigmoid of ``slope * logit + offset``."""

    slope: float = 1.0
    offset: float = 0.0


class Boxes(NamedTuple):
    """What was found on one film.

    Attributes:
        corners: [K, 4] float32 (x_min, y_min, x_max, y_max) in pixels of the encoder's input grid.
        scores: [K] in [0, 1].
        labels: [K] int64 place in the head's ``labels``.
    """

    corners: Tensor
    scores: Tensor
    labels: Tensor


class Prediction(NamedTuple):
    """The answer for films of one grid.

    Attributes:
        probabilities: [B, L] calibrated, of a classification; else None.
        boxes: B films' boxes, of a detection; else None.
    """

    probabilities: Tensor | None = None
    boxes: list[Boxes] | None = None


class Head(nn.Module, ABC):
    """What is trained on top of an encoder.

    Attributes:
        labels: L names of what it answers.
        input_kind: what it takes of a film; where that is not its patches, features may be cached in their place. The
            summary is the class token and the mean of the others.
    """

    labels: tuple[str, ...]
    input_kind: Literal["summary", "tokens", "patches"]

    def encode(self, encoder: nn.Module, patches: Patches) -> Any:
        """What it takes of an encoder for films of one grid."""
        return encoder(patches)

    def encode_groups(self, encoder: nn.Module, groups: Sequence[Patches]) -> list[Any]:
        """What :meth:`encode` takes for every group of films of one grid."""
        return [self.encode(encoder, group) for group in groups]

    @abstractmethod
    def forward(self, features: Any, patches: Patches | None) -> Any:
        """Raw outputs for films of one grid.

        Args:
            features: of the films, as :meth:`encode` gives them.
            patches: that they were made from; None where features were cached and no picture is at hand.
        """

    @abstractmethod
    def loss(self, outputs: Sequence[Any], targets: Any) -> ObjectiveOutput:
        """Loss of the outputs of several grids, in the order of the targets, and metrics.

        The loss is a mean over films of what each film costs: the same for any division into ranks and parts.
        """

    @abstractmethod
    def answer(self, outputs: Any) -> Prediction:
        """What is told of raw outputs."""

    def calibrate(self, lines: Sequence[Line]) -> None:
        """Set how the scores of each label become probabilities.

        Raises:
            TypeError: they do not, in this head.
        """
        raise TypeError(f"{type(self).__name__} takes no calibration, and was given {len(lines)}")
