"""ResNet (He et al. 2016) from torchvision, as a comparison to Vision Transformers.

Deviations: one channel. Without pretrained weights the norms are GroupNorm, since detection has batches of a few films,
too few for batch statistics; with weights they are the batch norms of the file, frozen.

Legend: B films, N patches, D channels.
"""

from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import resnet18, resnet34, resnet50
from torchvision.ops.misc import FrozenBatchNorm2d

from data_prep.settings import Settings
from mae_rad.data.batch import Patches
from mae_rad.encoders.vit import DISPLAY_RANGE, Features
from mae_rad.errors import WeightsError

_BUILDERS = {"resnet18": resnet18, "resnet34": resnet34, "resnet50": resnet50}
_STAGES = ("layer1", "layer2", "layer3", "layer4")
_GROUPS = 32

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation per colour that published weights were trained with."""


class ResNetSettings(Settings):
    """Settings of a ResNet; all change results, except the path of its weights."""

    model: Literal["resnet18", "resnet34", "resnet50"]
    """Architecture by its published name."""
    weights: Path | None = None
    """safetensors file with torchvision's names (timm's are equal), of 1 or 3 channels (default: random weights)."""
    patch: int = Field(default=16, ge=2)
    """Patch side in pixels; films are laid out in whole patches, as for other encoders."""
    mean: float = 0.5
    """Subtracted from display values in [0, 1]."""
    std: float = Field(default=0.25, gt=0)
    """Divides the difference."""


class ResNet(nn.Module):
    """ResNet encoder.

    Attributes:
        dim: channels D of the last feature map.
        widths: channels of the four feature maps.
        strides: pixels per cell of each feature map, finest first.
        heads: heads of an attention on its features.
        depth: number of stages.
        patch: patch side in pixels.
    """

    strides = (4, 8, 16, 32)
    heads = 8
    depth = len(_STAGES)

    def __init__(self, settings: ResNetSettings) -> None:
        super().__init__()
        self.patch, self.mean, self.std = settings.patch, settings.mean, settings.std
        norm = FrozenBatchNorm2d if settings.weights else _group_norm
        network = _BUILDERS[settings.model](weights=None, norm_layer=norm)
        self.widths = tuple(_width(getattr(network, stage)) for stage in _STAGES)
        self.dim = self.widths[-1]
        network.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        del network.fc, network.avgpool
        if settings.weights:
            _load(network, settings.weights, settings.mean, settings.std)
        self.stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
        self.stages = nn.ModuleList(getattr(network, stage) for stage in _STAGES)

    def forward(self, patches: Patches) -> Features:
        """Encode films; tokens are the cells of the last feature map, and the film vector is their mean."""
        cells = self.maps(patches)[-1].flatten(2).transpose(1, 2)
        mean = cells.mean(dim=1)
        return Features(cells, mean, mean)

    def maps(self, patches: Patches) -> list[Tensor]:
        """Compute the feature map [B, width, rows, columns] of every stage, finest first."""
        cells = self.stem((as_image(patches, self.patch) / DISPLAY_RANGE - self.mean) / self.std)
        maps = []
        for stage in self.stages:
            cells = stage(cells)
            maps.append(cells)
        return maps


def as_image(patches: Patches, patch: int) -> Tensor:
    """Assemble patches into images.

    Args:
        patches: complete films of one grid.
        patch: patch side p in pixels.

    Returns:
        [B, 1, rows * p, columns * p] float32 display values.
    """
    rows, columns = patches.grid
    blocks = patches.values.to(torch.float32).reshape(-1, rows, columns, patch, patch)
    return blocks.transpose(2, 3).reshape(-1, 1, rows * patch, columns * patch)


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(_GROUPS, channels)


def _width(stage: nn.Sequential) -> int:
    last = [part for part in stage[-1].modules() if isinstance(part, nn.Conv2d)][-1]
    return last.out_channels


def _load(network: nn.Module, path: Path, mean: float, std: float) -> None:
    """Load weights with torchvision's names, except those of the classifier.

    Raises:
        WeightsError: the file is missing, damaged or of another network.
    """
    try:
        state = load_file(path)
    except (OSError, SafetensorError):
        raise WeightsError(f"{path} is missing or no safetensors file. Give the weights of a ResNet.") from None
    left_out = ("fc.", "num_batches_tracked")
    state = {name: value.float() for name, value in state.items() if not any(part in name for part in left_out)}
    if state.get("conv1.weight", torch.empty(0)).shape[1:2] == (3,):
        state |= _one_channel(state, mean, std)
    expected = network.state_dict()
    wrong = sorted(set(expected) ^ set(state)) or [
        name for name in expected if expected[name].shape != state[name].shape
    ]
    if wrong:
        raise WeightsError(
            f"{path} does not fit this ResNet, at {', '.join(wrong[:3])}. Give weights of the same architecture."
        )
    network.load_state_dict(state)


def _one_channel(state: dict[str, Tensor], mean: float, std: float) -> dict[str, Tensor]:
    """Convert the first kernels and norm so that one channel gives the features of three equal colours.

    The normalisation (v - mean_c) / std_c is a factor and an offset on the input of this encoder. The offset becomes
    part of the mean that the norm subtracts, exact except at the zero-padded border.
    """
    kernels, colour_std = state["conv1.weight"], torch.tensor(IMAGENET_STD)
    factor, offset = std / colour_std, (mean - torch.tensor(IMAGENET_MEAN)) / colour_std
    shift = (kernels * offset[None, :, None, None]).sum(dim=(1, 2, 3))
    return {
        "conv1.weight": (kernels * factor[None, :, None, None]).sum(dim=1, keepdim=True),
        "bn1.running_mean": state["bn1.running_mean"] - shift,
    }
