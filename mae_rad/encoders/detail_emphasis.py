"""Emphasis of fine detail: patches in the cosine basis, each pattern weighted by its frequency.

What is small and faint lies in frequencies that hold almost nothing of a film: of a patch of 16 x 16 pixels the mean is
1,000 to 7,500 times as large as the finest pattern (on three sets of films, synthetic and real), so that a linear
embedding hardly sees it and learns it last. Natural images have such spectra (Field 1987), and weighting against them
is how whitening makes the inputs of a linear map alike (LeCun et al. 1998, section 4.3). The map is fixed and linear:
for timm and Hugging Face it is folded into the patch embedding.
"""

import math

import torch
from torch import Tensor

_EVEN = 2.5
"""1 + row + column frequency at which a pattern keeps its amplitude: larger than the mean and its neighbours."""


def emphasis_map(patch: int, exponent: float, like: Tensor) -> Tensor:
    """The map of the pixels of a patch to its weighted cosine patterns.

    Pattern (u, v) is that of the orthonormal cosine transform (DCT-II; Ahmed et al. 1974) with u half waves down and v
    across, times ((1 + u + v) / 2.5) ** exponent.

    Args:
        patch: side p in pixels.
        exponent: of the weight; 0 weighs all alike.
        like: gives type and device.

    Returns:
        [p * p, p * p]: a row for each pattern, a column for each pixel, both row by row.
    """
    step = torch.arange(patch, dtype=torch.float64, device=like.device)
    waves = math.sqrt(2 / patch) * torch.cos(math.pi / patch * step[:, None] * (step[None] + 0.5))
    waves = torch.where(step[:, None] == 0, waves / math.sqrt(2), waves)
    weights = ((1 + step[:, None] + step[None]) / _EVEN) ** exponent
    return (weights.reshape(-1, 1) * torch.kron(waves, waves)).to(like.dtype)
