"""Multi-label classification of whole films: each label is present or absent, apart from the others.

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
from mae_rad.encoders.blocks import initialise
from mae_rad.encoders.resnet import ResNet
from mae_rad.encoders.vit import Features, ViT
from mae_rad.heads.interface import Head, Line, Prediction
from mae_rad.heads.pooling import Pooling, PoolName
from mae_rad.heads.window_attention import window_features
from mae_rad.objectives.interface import ObjectiveOutput

Names = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
"""One label or a list of them."""


class TargetLabelSettings(Settings):
    """One question."""

    label: Names = Field(min_length=1)
    """Of labels.parquet. Of several, any: present where one is, absent where all are."""
    where: dict[str, Condition] = Field(default_factory=dict)
    """Index column → value, or list of values, of the films that are asked; on others the answer is unknown."""
    name: str = ""
    """In tables and answers; by default the label."""
    weight: float = Field(default=1.0, gt=0)
    """Of this question against the others in the loss."""

    @property
    def title(self) -> str:
        """The name, or what it is by default."""
        return self.name or " or ".join(self.label)


class ClassificationSettings(Settings):
    """Settings of a classification; all change results."""

    name: Literal["classification"] = "classification"
    labels: tuple[TargetLabelSettings, ...] = Field(min_length=1)
    pool: Literal[PoolName, "max_score"] = "attentive"
    """How the patches of a film become one vector, ahead of the head; attentive pooling is learned with it. Or
    max_score: the head scores every patch, and the highest is that of the film, label by label (Oquab et al. 2015). It
    can find what covers one patch in a thousand, where the encoder can tell such patches: after a detection, say. From
    some initial weights it never does (AUROC on val stays at a half): then take another seed, or a hidden layer."""
    pool_heads: int | None = Field(default=None, ge=1)
    """Attention heads of attentive pooling; by default those of the encoder."""
    hidden: int = Field(default=0, ge=0)
    """Channels of a hidden layer; 0 is a linear head."""
    window: int | None = Field(default=None, ge=4)
    """The encoder looks at windows of at most so many patches a side, in training and after, as a detection's does;
    null at whole films. For large T, and for an encoder that a detection has taught so."""
    select: Literal["auroc", "average_precision", "loss"] = "auroc"
    """What the best weights are chosen by, on val: the mean over labels; of the loss the lowest."""
    balance: Literal["none", "positive_weight", "sampling"] = "none"
    """What is done where a label is rare: nothing; its present films weigh more in the loss, up to 20 times, until both
    classes weigh the same; or films are drawn until present and absent come up equally often. Probabilities are
    calibrated afterwards in any case."""

    @model_validator(mode="after")
    def _heads_are_of_attention(self) -> Self:
        if self.pool_heads and self.pool != "attentive":
            raise ValueError(f"pool_heads are of attentive pooling; leave them out with pool: {self.pool}")
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        titles = [label.title for label in self.labels]
        double = sorted({title for title in titles if titles.count(title) > 1})
        if double:
            raise ValueError(f"two labels are called {', '.join(double)}; give one of them another name")
        return self

    @property
    def titles(self) -> tuple[str, ...]:
        """L names."""
        return tuple(label.title for label in self.labels)


class LabelTargets(NamedTuple):
    """What is known of the films of a batch.

    Attributes:
        values: [B, L] float32, 0 absent to 1 present; 0 where unknown.
        weights: [B, L] float32, what it counts in the loss; 0 where unknown.
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
    """Pooling, then a linear layer or a perceptron: one logit per label. Or these first, then the highest patch.

    Attributes:
        pooling: ahead of the layers; None where these score every patch.
    """

    pooling: Pooling | None

    slope: Tensor
    offset: Tensor

    def __init__(self, settings: ClassificationSettings, encoder: ViT | ResNet) -> None:
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
        self.calibrate([Line()] * len(self.labels))

    def calibrate(self, lines: Sequence[Line]) -> None:
        """Set how logits become probabilities, label by label."""
        for name in Line._fields:
            values = torch.tensor([getattr(line, name) for line in lines], dtype=torch.float32)
            self.register_buffer(name, values, persistent=False)

    def encode(self, encoder: nn.Module, patches: Patches) -> Features:
        """The features of films of one grid."""
        return self.encode_groups(encoder, [patches])[0]

    def encode_groups(self, encoder: nn.Module, groups: Sequence[Patches]) -> list[Features]:
        """The features of every group; a ViT makes them together."""
        if isinstance(encoder, ViT):
            return window_features(encoder, groups, self.window)
        return [encoder(group) for group in groups]

    def forward(self, features: Features, patches: Patches | None = None) -> Tensor:
        """[B, L] logits."""
        del patches
        if self.pooling is None:
            return self.patch_logits(features).amax(dim=1)
        logits: Tensor = self.layers(self.pooling(features))
        return logits

    def patch_logits(self, features: Features) -> Tensor:
        """[B, N, L] of every patch (of a ResNet, every cell of its last map), in a head without pooling."""
        assert self.pooling is None  # or the layers stand on its vectors
        logits: Tensor = self.layers(features.tokens)
        return logits

    def loss(self, outputs: Sequence[Tensor], targets: LabelTargets) -> ObjectiveOutput:
        """Binary cross-entropy, weighted and summed over labels, mean over films."""
        logits = torch.cat(list(outputs)).float()
        return ObjectiveOutput(masked_cross_entropy(logits, targets), {})

    def answer(self, outputs: Tensor) -> Prediction:
        """Calibrated probabilities."""
        return Prediction(probabilities=torch.sigmoid(self.slope * outputs.float() + self.offset))


def masked_cross_entropy(logits: Tensor, targets: LabelTargets) -> Tensor:
    """[] ``1/B · Σ_bl w_bl · (−y_bl log p_bl − (1 − y_bl) log(1 − p_bl))`` with ``p`` the sigmoid of the logits [B, L].

    Not divided by the weights of the batch: a mean over ranks or parts of a batch is then that of the whole batch.
    """
    costs = binary_cross_entropy_with_logits(logits, targets.values, reduction="none")
    return (costs * targets.weights).sum() / len(logits)
