"""Convolutional networks of timm (EfficientNet-lite, Tan and Le 2019) as encoders of films.

The networks have published weights of natural photographs, of which the contrastive pretraining of few films can start.
They take square or oblong films of any size, but whole: no patch can be hidden from them. A film is repeated in three
equal channels, normalised as the photographs were, so that published weights give their published features. Batch norm
averages over the films of a forward pass: several ranks, accumulation and parts of a batch would train another model.

Legend: B films, N cells of the last feature map, D channels.
"""

import math
from functools import lru_cache
from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from data_prep.settings import Settings
from mae_rad.data.batch import Patches
from mae_rad.encoders.blocks import Shape
from mae_rad.encoders.resnet import IMAGENET_MEAN, IMAGENET_STD, as_image
from mae_rad.encoders.vit import DISPLAY_RANGE, Features

TimmModel = Literal[
    "tf_efficientnet_lite0",
    "tf_efficientnet_lite1",
    "tf_efficientnet_lite2",
    "tf_efficientnet_lite3",
    "tf_efficientnet_lite4",
]

_DIM, _STAGES, _HEADS = 1280, 7, 8
"""Channels of the last feature map and stages of every EfficientNet-lite; heads of an attention on its features."""


class TimmSettings(Settings):
    """Settings of a network of timm; all change results."""

    timm: TimmModel
    """Architecture by timm's name."""
    patch: int = Field(default=16, ge=2)
    """Patch side in pixels; films are laid out in whole patches, as for other encoders."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Subtracted from display values in [0, 1], per channel (default: ImageNet's)."""
    std: tuple[float, float, float] = IMAGENET_STD
    """Divides the difference, per channel (default: ImageNet's)."""

    pool: ClassVar[Literal["mean"]] = "mean"
    """The vector of a film: mean over the last feature map."""
    film_vector: ClassVar[Literal["mean"]] = "mean"
    """As in the settings of the ViT."""
    off: ClassVar[set[str]] = set()
    """As in the settings of the ViT."""
    checkpoint_activations: ClassVar[Literal[False]] = False
    """As in the settings of the ViT."""

    @property
    def model(self) -> str:
        """Displayed name."""
        return self.timm

    @property
    def shape(self) -> Shape:
        """Channels of the features, stages, and heads of an attention on the features."""
        return Shape(_DIM, _STAGES, _HEADS)


class TimmEncoder(nn.Module):
    """A network of timm that encodes films.

    Attributes:
        network: the network without its classifier, under timm's names.
        dim: channels D of the last feature map.
        depth: number of stages.
        heads: heads of an attention on its features.
        patch: patch side in pixels.
        pool: pooling of ``pooled``.
        vector: pooling of the film vector.
        mean: subtracted per channel.
        std: divides per channel.
        has_fixed_statistics: whether batch norm keeps its statistics in training, as for batches of few films.
    """

    pool: Literal["mean"] = "mean"
    vector: Literal["mean"] = "mean"

    def __init__(self, settings: TimmSettings, *, has_fixed_statistics: bool = False) -> None:
        import timm  # noqa: PLC0415 - takes a second, and other encoders do without it

        super().__init__()
        self.network: nn.Module = timm.create_model(settings.timm, pretrained=False, num_classes=0)
        self.dim, self.depth, self.heads = settings.shape
        self.patch, self.mean, self.std = settings.patch, settings.mean, settings.std
        self.has_fixed_statistics = has_fixed_statistics
        self.train()  # modules are built in training mode without a call

    def forward(self, patches: Patches) -> Features:
        """Encode films; tokens are the cells of the last feature map, and the film vector is their mean.

        Args:
            patches: complete films of one grid.
        """
        cells = self.last_map(as_image(patches, self.patch) / DISPLAY_RANGE).flatten(2).transpose(1, 2)
        mean = cells.mean(dim=1)
        return Features(cells, mean, mean)

    def last_map(self, images: Tensor) -> Tensor:
        """Compute the last feature map.

        Args:
            images: [B, 1, rows, columns] display values in [0, 1].

        Returns:
            [B, D, rows / 32, columns / 32], sizes rounded up.
        """
        mean, std = (images.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        # The memory format of a depthwise convolution on a CPU: a step takes six tenths of the time.
        colours = ((images - mean) / std).contiguous(memory_format=torch.channels_last)
        cells: Tensor = self.network.forward_features(colours)  # type: ignore[operator]
        return cells

    def train(self, mode: bool = True) -> "TimmEncoder":
        """Set the training mode; batch norm stays in evaluation mode if it has fixed statistics."""
        super().train(mode)
        if self.has_fixed_statistics:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self


class NetworkCost(NamedTuple):
    """Cost of one square film, counted on the network itself.

    Attributes:
        first: forward FLOPs of the first convolution, whose input needs no gradient.
        others: forward FLOPs of the other convolutions.
        kept: values that backward needs.
        largest: values of the largest of these tensors.
    """

    first: float
    others: float
    kept: float
    largest: float


@lru_cache
def network_cost(settings: TimmSettings, patches: int) -> NetworkCost:
    """Count FLOPs (a multiply-add counts as two) and stored values of one square film, without computing anything.

    Args:
        settings: settings of the encoder.
        patches: number of patches of the film, a square number.
    """
    films, side = 2, math.isqrt(patches) * settings.patch
    with torch.device("meta"):
        encoder = TimmEncoder(settings)
        images = torch.empty(films, 1, side, side)
    weights = {id(parameter) for parameter in encoder.parameters()}
    stored: dict[int, Tensor] = {}

    def keep(value: Tensor) -> Tensor:
        if id(value) not in weights:
            stored[value.untyped_storage()._cdata] = value
        return value

    with FlopCounterMode(display=False) as counter, saved_tensors_hooks(keep, lambda value: value):
        encoder.last_map(images)
    first = 2.0 * encoder.get_parameter("network.conv_stem.weight").numel() * math.ceil(side / 2) ** 2
    sizes = [value.numel() / films for value in stored.values()]
    return NetworkCost(first, counter.get_total_flops() / films - first, sum(sizes), max(sizes))
