"""Published architectures of timm in tiny shapes, and the pixels that they see of a film."""

from typing import Any

import torch
from torch import Tensor

from mae_rad.data.batch import Patches
from mae_rad.encoders.film_image import as_image
from mae_rad.encoders.timm_encoder import TimmSettings

VIT = {"embed_dim": 48, "depth": 3, "num_heads": 3}
TINY: dict[str, dict[str, Any]] = {
    "ResNet": {"timm": "test_resnet"},
    "ResNet, group norm": {"timm": "resnet18", "args": {"norm_layer": "groupnorm", "layers": [1, 1, 1, 1]}},
    "EfficientNet": {"timm": "test_efficientnet"},
    "ConvNeXt": {"timm": "convnext_tiny", "args": {"depths": [1, 1, 2, 1], "dims": [16, 24, 32, 48]}},
    "ConvNeXt V2": {"timm": "convnextv2_atto", "args": {"depths": [1, 1, 1, 1], "dims": [16, 24, 32, 48]}},
    "DINOv2": {"timm": "vit_small_patch14_dinov2", "args": VIT | {"img_size": 56}},
    "DINOv2, registers": {"timm": "vit_small_patch14_reg4_dinov2", "args": VIT | {"img_size": 56}},
    "DINOv3": {"timm": "vit_small_patch16_dinov3", "args": VIT},
    "CLIP": {"timm": "vit_base_patch16_clip_224", "args": VIT | {"img_size": 64}},
    "SigLIP": {"timm": "vit_base_patch16_siglip_224", "args": VIT | {"img_size": 64}},
    "Swin": {
        "timm": "swin_tiny_patch4_window7_224",
        "args": {"embed_dim": 16, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 2, 2]},
    },
    "ViT, one channel": {"timm": "vit_tiny_patch16_224", "args": VIT | {"img_size": 64}, "channels": 1},
}
"""Name → settings of an encoder."""


def tiny(name: str, **more: Any) -> TimmSettings:
    """Settings of one of the architectures."""
    return TimmSettings.model_validate(TINY[name] | more)


def pixels_of(patches: Patches, settings: TimmSettings) -> Tensor:
    """What the published network gets of films: its channels, normalised colour by colour."""
    grey = (as_image(patches, settings.patch) / 65535).expand(-1, settings.channels, -1, -1)
    mean, std = (torch.tensor(values)[:, None, None] for values in (settings.mean, settings.std))
    return (grey - mean) / std
