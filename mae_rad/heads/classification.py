"""Multi-label classification of whole films: each label is present or absent, independently of the others.

Legend: B films, N patches, L labels, D channels.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple, Self

import torch
from pydantic import BeforeValidator, Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from data_prep.settings import Settings
from mae_rad.data.batch import Patches
from mae_rad.data.shard_reader import Condition
from mae_rad.encoders.any_encoder import Encoder
from mae_rad.encoders.blocks import initialise
from mae_rad.encoders.resnet import ResNet
from mae_rad.encoders.vit import Features, ViT
from mae_rad.heads.interface import Calibration, Head, Prediction
from mae_rad.heads.pooling import Pooling, PoolName
from mae_rad.heads.window_attention import window_features
from mae_rad.objectives.interface import ObjectiveOutput

Names = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
"""One label or a list of them."""


class TargetLabelSettings(Settings):
    """One label of a task."""

    label: Names = Field(min_length=1)
    """Name in labels.parquet. Of several names, any: present if one is present, absent if all are absent."""
    where: dict[str, Condition] = Field(default_factory=dict)
    """Index column → value, or list of values, of the films that the label applies to; on others it is unknown."""
    name: str = ""
    """Name in tables and predictions; by default the label."""
    weight: float = Field(default=1.0, gt=0)
    """Weight of this label in the loss, relative to the others."""

    @property
    def title(self) -> str:
        """The name, by default made of the labels."""
        return self.name or " or ".join(self.label)


class ClassificationSettings(Settings):
    """Settings of a classification; all change results."""

    name: Literal["classification"] = "classification"
    labels: tuple[TargetLabelSettings, ...] = Field(min_length=1)
    pool: Literal[PoolName, "max_score"] = "attentive"
    """How the patch tokens of a film become one vector, the input of the head; attentive pooling is trained with it. Or
    ``max_score``: the head scores every patch, and the score of a film is the highest, label by label (Oquab et al.
    2015). It can find a finding of one patch in a thousand if the encoder distinguishes such patches, for example after
    a detection. From some initial weights it does not learn (AUROC on val stays at 0.5): use another seed, or a hidden
    layer."""
    pool_heads: int | None = Field(default=None, ge=1)
    """Attention heads of attentive pooling; by default those of the encoder."""
    hidden: int = Field(default=0, ge=0)
    """Channels of a hidden layer; 0 makes the head linear."""
    window: int | None = Field(default=None, ge=4)
    """Side of the windows in patches, at most, in which the encoder processes a film, in training and prediction; null
    processes whole films. For large T, and for an encoder that a detection has trained in windows."""
    select: Literal["auroc", "average_precision", "loss"] = "auroc"
    """Metric on val, as a mean over labels, that selects the best weights: the highest, or the lowest loss."""
    balance: Literal["none", "positive_weight", "sampling"] = "none"
    """How rare labels are balanced: not at all; with a larger weight of present films in the loss, up to 20 times, so
    that both classes have the same total weight; or by sampling present and absent films equally often. Probabilities
    are calibrated afterwards in each case."""

    @model_validator(mode="after")
    def _check_pool_heads(self) -> Self:
        if self.pool_heads and self.pool != "attentive":
            raise ValueError(f"pool_heads apply to attentive pooling. Leave them out with pool: {self.pool}")
        return self

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        titles = [label.title for label in self.labels]
        duplicates = sorted({title for title in titles if titles.count(title) > 1})
        if duplicates:
            raise ValueError(f"two labels are called {', '.join(duplicates)}. Give one of them another name")
        return self

    @property
    def titles(self) -> tuple[str, ...]:
        """Names of the L labels."""
        return tuple(label.title for label in self.labels)


class LabelTargets(NamedTuple):
    """Targets of the films of a batch.

    Attributes:
        values: [B, L] float32, 0 absent to 1 present; 0 where unknown.
        weights: [B, L] float32 weights in the loss; 0 where unknown.
    """

    values: Tensor
    weights: Tensor

    def to(self, device: torch.device) -> "LabelTargets":
        """Copy to ``device``."""
        return LabelTargets(*(part.to(device, non_blocking=True) for part in self))

    def pin_memory(self) -> "LabelTargets":
        """Copy to page-locked memory."""
        return LabelTargets(*(part.pin_memory() for part in self))


class ClassificationHead(Head):
    """Pooling, then a linear layer or a perceptron, with one logit per label.

    With ``pool: max_score``, the layers score every patch, and the maximum over patches is taken.

    Attributes:
        pooling: before the layers; None with ``max_score``.
        window: side of the windows of the encoder in patches; None for whole films.
    """

    pooling: Pooling | None

    slope: Tensor
    offset: Tensor

    def __init__(self, settings: ClassificationSettings, encoder: Encoder | ResNet) -> None:
        super().__init__()
        self.labels = settings.titles
        self.window = settings.window
        self.pooling = None
        if settings.pool != "max_score":
            self.pooling = Pooling(settings.pool, encoder.dim, settings.pool_heads or encoder.heads)
        self.input_kind = "tokens" if settings.pool in ("attentive", "max_score") else "summary"
        width = self.pooling.width if self.pooling else encoder.dim
        layers: list[nn.Module] = [nn.LayerNorm(width)]
        if settings.hidden:
            layers += [nn.Linear(width, settings.hidden), nn.GELU()]
        self.layers = nn.Sequential(*layers, nn.Linear(settings.hidden or width, len(self.labels)))
        self.layers.apply(initialise)
        self.calibrate([Calibration()] * len(self.labels))

    def calibrate(self, lines: Sequence[Calibration]) -> None:
        """Set the calibration of each label."""
        for name in Calibration._fields:
            values = torch.tensor([getattr(line, name) for line in lines], dtype=torch.float32)
            self.register_buffer(name, values, persistent=False)

    def encode(self, encoder: nn.Module, patches: Patches) -> Features:
        """Encode films of one grid, in windows if set."""
        return self.encode_groups(encoder, [patches])[0]

    def encode_groups(self, encoder: nn.Module, groups: Sequence[Patches]) -> list[Features]:
        """Encode groups of films; a ViT processes all groups together."""
        if isinstance(encoder, ViT):
            return window_features(encoder, groups, self.window)
        return [encoder(group) for group in groups]

    def forward(self, features: Features, patches: Patches | None = None) -> Tensor:
        """Return logits [B, L]."""
        del patches
        if self.pooling is None:
            return self.patch_logits(features).amax(dim=1)
        logits: Tensor = self.layers(self.pooling(features))
        return logits

    def patch_logits(self, features: Features) -> Tensor:
        """Return logits [B, N, L] of every patch, for a ResNet of every cell of its last map; only without pooling."""
        assert self.pooling is None  # with pooling, the layers take its vectors
        logits: Tensor = self.layers(features.tokens)
        return logits

    def loss(self, outputs: Sequence[Tensor], targets: LabelTargets) -> ObjectiveOutput:
        """Compute the weighted binary cross-entropy: sum over labels, mean over films."""
        logits = torch.cat(list(outputs)).float()
        return ObjectiveOutput(masked_cross_entropy(logits, targets), {})

    def answer(self, outputs: Tensor) -> Prediction:
        """Return calibrated probabilities."""
        return Prediction(probabilities=torch.sigmoid(self.slope * outputs.float() + self.offset))


def masked_cross_entropy(logits: Tensor, targets: LabelTargets) -> Tensor:
    """Weighted binary cross-entropy, ``1/B · Σ_bl w_bl · (−y_bl log p_bl − (1 − y_bl) log(1 − p_bl))``, p = sigmoid.

    It is not divided by the weights of the batch, so that the mean over ranks and micro batches is that of the batch.

    Args:
        logits: [B, L].
        targets: values y and weights w.

    Returns:
        [] loss.
    """
    costs = binary_cross_entropy_with_logits(logits, targets.values, reduction="none")
    return (costs * targets.weights).sum() / len(logits)
