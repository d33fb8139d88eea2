"""ResNet (He et al. 2016) with a feature pyramid network (Lin et al. 2017), from torchvision: the baseline.

Deviations: one channel. Without weights the norms are GroupNorm, since the batches of detection are a few films, too
few for batch statistics; with weights they are the batch norms of the file, frozen.
"""

from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import resnet18, resnet34, resnet50
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.misc import FrozenBatchNorm2d

from mae_rad.data.batch import Patches
from mae_rad.encoders.vit import DISPLAY_RANGE
from mae_rad.errors import WeightsError
from mae_rad.heads.windows import grid_of

ResNetName = Literal["resnet18", "resnet34", "resnet50"]
_BUILDERS = {"resnet18": resnet18, "resnet34": resnet34, "resnet50": resnet50}
_STAGES = ("layer1", "layer2", "layer3", "layer4")
_GROUPS = 32

MEAN, STD = 0.5, 0.25
"""Taken off display values in [0, 1], and divides them after: as for the encoders."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the colours that published weights were trained on."""


class ResNetMaps(nn.Module):
    """Patches of films → maps of C channels at strides 4, 8, 16 and 32.

    Attributes:
        strides: pixels per cell of each map, finest first.
        channels: C.
    """

    def __init__(self, name: ResNetName, channels: int, patch: int, weights: Path | None = None) -> None:
        super().__init__()
        self.patch, self.channels, self.strides = patch, channels, (4, 8, 16, 32)
        norm = FrozenBatchNorm2d if weights else _group_norm
        whole = _BUILDERS[name](weights=None, norm_layer=norm)
        widths = [_width(getattr(whole, stage)) for stage in _STAGES]
        whole.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(whole.conv1.weight, mode="fan_out", nonlinearity="relu")
        del whole.fc, whole.avgpool
        if weights:
            _load(whole, weights)
        self.stem = nn.Sequential(whole.conv1, whole.bn1, whole.relu, whole.maxpool)
        self.stages = nn.ModuleList(getattr(whole, stage) for stage in _STAGES)
        self.pyramid = FeaturePyramidNetwork(widths, channels)

    def forward(self, patches: Patches) -> list[Tensor]:
        """The maps, finest first."""
        cells = self.stem((as_image(patches, self.patch) / DISPLAY_RANGE - MEAN) / STD)
        maps: dict[str, Tensor] = {}
        for number, stage in enumerate(self.stages):
            cells = stage(cells)
            maps[str(number)] = cells
        return list(self.pyramid(maps).values())


def as_image(patches: Patches, patch: int) -> Tensor:
    """[B, 1, rows * p, columns * p] float32 display values of whole rectangles of patches."""
    rows, columns = grid_of(patches)
    blocks = patches.values.to(torch.float32).reshape(-1, rows, columns, patch, patch)
    return blocks.transpose(2, 3).reshape(-1, 1, rows * patch, columns * patch)


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(_GROUPS, channels)


def _width(stage: nn.Sequential) -> int:
    last = [part for part in stage[-1].modules() if isinstance(part, nn.Conv2d)][-1]
    return last.out_channels


def _load(network: nn.Module, path: Path) -> None:
    """Weights under torchvision's names (timm's are the same); those of the classifier are left out.

    Raises:
        WeightsError: the file is missing, damaged or of another network.
    """
    try:
        state = load_file(path)
    except (OSError, SafetensorError):
        raise WeightsError(f"{path} is missing or no safetensors file; give the weights of a ResNet") from None
    state = {name: value.float() for name, value in state.items() if not name.startswith("fc.")}
    state = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    if state.get("conv1.weight", torch.empty(0)).shape[1:2] == (3,):
        state |= _one_channel(state)
    expected = network.state_dict()
    wrong = sorted(set(expected) ^ set(state)) or [
        name for name in expected if expected[name].shape != state[name].shape
    ]
    if wrong:
        raise WeightsError(
            f"{path} does not fit this ResNet, at {', '.join(wrong[:3])}; give weights of the same depth"
        )
    network.load_state_dict(state)


def _one_channel(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Kernels and the mean of the first norm such that a grey film gives what it gave as three equal colours.

    The colours' normalisation goes into the weights: (v - mean_c) / std_c is a factor and an offset on our input.
    The offset becomes part of the mean that the norm takes off, exact but for the padded rim.
    """
    kernels, mean, std = state["conv1.weight"], torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    factor, offset = STD / std, (MEAN - mean) / std
    shift = (kernels * offset[None, :, None, None]).sum(dim=(1, 2, 3))
    return {
        "conv1.weight": (kernels * factor[None, :, None, None]).sum(dim=1, keepdim=True),
        "bn1.running_mean": state["bn1.running_mean"] - shift,
    }
