"""Emphasis of fine detail: patches in a cosine basis, each pattern weighted by its frequency.

Small and faint findings lie in frequencies of low amplitude: in a patch of 16 x 16 pixels the mean is 1,000 to 7,500
times as large as the finest pattern (three sets of synthetic and real films), so that a linear embedding learns it
last. Natural images have such spectra (Field 1987), and whitening is the usual remedy for inputs of unequal scale
(LeCun et al. 1998, section 4.3). The map is fixed and linear; for timm and Hugging Face it is folded into the patch
embedding.
"""

import math

import torch
from torch import Tensor

_UNIT_FREQUENCY = 2.5
"""Frequency, as 1 + u + v, of weight 1; only the mean and its neighbours are below it."""


def emphasis_map(patch: int, exponent: float, like: Tensor) -> Tensor:
    """Build the linear map from the pixels of a patch to weighted cosine coefficients.

    Coefficient (u, v) is that of the orthonormal cosine transform (DCT-II; Ahmed et al. 1974) with u half waves down
    and v across, times ((1 + u + v) / 2.5) ** exponent.

    Args:
        patch: patch side p in pixels.
        exponent: exponent of the weight; with 0 all weights are 1.
        like: tensor with the type and device of the result.

    Returns:
        [p * p, p * p]: a row per coefficient, a column per pixel, both row by row.
    """
    step = torch.arange(patch, dtype=torch.float64, device=like.device)
    waves = math.sqrt(2 / patch) * torch.cos(math.pi / patch * step[:, None] * (step[None] + 0.5))
    waves = torch.where(step[:, None] == 0, waves / math.sqrt(2), waves)
    weights = ((1 + step[:, None] + step[None]) / _UNIT_FREQUENCY) ** exponent
    return (weights.reshape(-1, 1) * torch.kron(waves, waves)).to(like.dtype)
