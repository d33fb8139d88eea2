"""ResNet (He et al. 2016), from torchvision: what a plain Vision Transformer is compared with.

Deviations: one channel. Without weights the norms are GroupNorm, since the batches of detection are a few films, too
few for batch statistics; with weights they are the batch norms of the file, frozen.

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
"""Of the colours that published weights were trained on."""


class ResNetSettings(Settings):
    """Settings of a ResNet; all change results, but where its weights lie does not."""

    model: Literal["resnet18", "resnet34", "resnet50"]
    """Depth by its published name."""
    weights: Path | None = None
    """safetensors file with torchvision's names (timm's are the same), of one channel or three; random if not given."""
    patch: int = Field(default=16, ge=2)
    """Films are laid out in whole patches of this side in pixels, as for the other encoders."""
    mean: float = 0.5
    """Taken off display values in [0, 1]."""
    std: float = Field(default=0.25, gt=0)
    """Divides them after."""


class ResNet(nn.Module):
    """ResNet encoder.

    Attributes:
        dim: channels D of its last map.
        widths: channels of its four maps.
        strides: pixels per cell of each map, finest first.
        heads: of an attention on its features.
        depth: number of its stages.
        patch: side of the patches in pixels.
    """

    strides = (4, 8, 16, 32)
    heads = 8
    depth = len(_STAGES)

    def __init__(self, settings: ResNetSettings) -> None:
        super().__init__()
        self.patch, self.mean, self.std = settings.patch, settings.mean, settings.std
        norm = FrozenBatchNorm2d if settings.weights else _group_norm
        whole = _BUILDERS[settings.model](weights=None, norm_layer=norm)
        self.widths = tuple(_width(getattr(whole, stage)) for stage in _STAGES)
        self.dim = self.widths[-1]
        whole.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(whole.conv1.weight, mode="fan_out", nonlinearity="relu")
        del whole.fc, whole.avgpool
        if settings.weights:
            _load(whole, settings.weights, settings.mean, settings.std)
        self.stem = nn.Sequential(whole.conv1, whole.bn1, whole.relu, whole.maxpool)
        self.stages = nn.ModuleList(getattr(whole, stage) for stage in _STAGES)

    def forward(self, patches: Patches) -> Features:
        """The cells of the last map as tokens, and their mean."""
        cells = self.maps(patches)[-1].flatten(2).transpose(1, 2)
        mean = cells.mean(dim=1)
        return Features(cells, mean, mean)

    def maps(self, patches: Patches) -> list[Tensor]:
        """[B, width, rows, columns] of every stage, finest first."""
        cells = self.stem((as_image(patches, self.patch) / DISPLAY_RANGE - self.mean) / self.std)
        maps = []
        for stage in self.stages:
            cells = stage(cells)
            maps.append(cells)
        return maps


def as_image(patches: Patches, patch: int) -> Tensor:
    """[B, 1, rows * p, columns * p] float32 display values of whole rectangles of patches."""
    rows, columns = patches.grid
    blocks = patches.values.to(torch.float32).reshape(-1, rows, columns, patch, patch)
    return blocks.transpose(2, 3).reshape(-1, 1, rows * patch, columns * patch)


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(_GROUPS, channels)


def _width(stage: nn.Sequential) -> int:
    last = [part for part in stage[-1].modules() if isinstance(part, nn.Conv2d)][-1]
    return last.out_channels


def _load(network: nn.Module, path: Path, mean: float, std: float) -> None:
    """Weights under torchvision's names; those of the classifier are left out.

    Raises:
        WeightsError: the file is missing, damaged or of another network.
    """
    try:
        state = load_file(path)
    except (OSError, SafetensorError):
        raise WeightsError(f"{path} is missing or no safetensors file; give the weights of a ResNet") from None
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
            f"{path} does not fit this ResNet, at {', '.join(wrong[:3])}; give weights of the same depth"
        )
    network.load_state_dict(state)


def _one_channel(state: dict[str, Tensor], mean: float, std: float) -> dict[str, Tensor]:
    """Kernels and the mean of the first norm such that a grey film gives what it gave as three equal colours.

    The colours' normalisation goes into the weights: (v - mean_c) / std_c is a factor and an offset on our input.
    The offset becomes part of the mean that the norm takes off, exact but for the padded rim.
    """
    kernels, colour_std = state["conv1.weight"], torch.tensor(IMAGENET_STD)
    factor, offset = std / colour_std, (mean - torch.tensor(IMAGENET_MEAN)) / colour_std
    shift = (kernels * offset[None, :, None, None]).sum(dim=(1, 2, 3))
    return {
        "conv1.weight": (kernels * factor[None, :, None, None]).sum(dim=1, keepdim=True),
        "bn1.running_mean": state["bn1.running_mean"] - shift,
    }
