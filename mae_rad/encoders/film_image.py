"""Assemble the patches of complete films into images, the input of networks that take whole images."""

import torch
from torch import Tensor

from mae_rad.data.batch import Patches

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation per colour, in [0, 1], that most published weights were trained with."""


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
