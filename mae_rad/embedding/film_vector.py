"""The one function from films to vectors."""

import torch

from mae_rad.data.batch import Patches
from mae_rad.encoders.vit import Features, ViT


@torch.no_grad()
def forward(encoder: ViT, patches: Patches, device: torch.device, precision: str) -> Features:
    """Features of a batch, on ``device``."""
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        features: Features = encoder(patches.to(device))
    return features
