"""Patches and the pixel loss of masked autoencoding (He et al. 2022).

The values of a patch are ordered by row, column and channel, the channel fastest, as in the reference implementation.

Legend: B images, C channels, H x W pixels, p patch side, N = H/p * W/p patches in row-major order.
"""

from typing import Literal

import torch
from torch import Tensor

EPSILON = 1e-6
"""Added to a patch's variance before the square root, as in the reference implementation."""


def patchify(images: Tensor, patch: int) -> Tensor:
    """Cut images into patches.

    Args:
        images: [B, C, H, W]; H and W are multiples of ``patch``.
        patch: side in pixels.

    Returns:
        [B, N, p*p*C].
    """
    batch, channels, height, width = images.shape
    if height % patch or width % patch:
        raise ValueError(f"images of {height} x {width} pixels cannot be cut into patches of {patch} x {patch}")
    grid = images.reshape(batch, channels, height // patch, patch, width // patch, patch)
    return grid.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, patch * patch * channels)


def patch_statistics(patches: Tensor, variance_floor: float) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each patch.

    Args:
        patches: [..., p*p*C].
        variance_floor: lower bound of the variance, in squared units of ``patches``. Without it, the noise of a uniform
            patch is scaled to unit variance, a target that cannot be predicted; 0 as in the reference.

    Returns:
        mean [..., 1] and deviation [..., 1], the square root of the unbiased variance plus ``EPSILON``.
    """
    mean = patches.mean(dim=-1, keepdim=True)
    variance = patches.var(dim=-1, keepdim=True).clamp(min=variance_floor)
    return mean, (variance + EPSILON).sqrt()


def masked_mse(
    prediction: Tensor,
    target: Tensor,
    mask: Tensor | None = None,
    *,
    normalise: bool,
    variance_floor: float = 0.0,
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """Mean squared error of the pixels of masked patches, as the mean over patches (He et al. 2022, section 3).

    Args:
        prediction: [B, N, p*p*C].
        target: [B, N, p*p*C] pixels.
        mask: [B, N], 1 for the patches in the loss; None takes all.
        normalise: subtract the mean of each target patch and divide by its standard deviation.
        variance_floor: see ``patch_statistics``; 0 as in the reference.
        reduction: ``mean`` is the loss; ``none`` is the error of every patch, 0 outside the mask.

    Returns:
        [] or [B, N], in float32 (float64 for float64 targets).
    """
    target = target.to(torch.promote_types(target.dtype, torch.float32))
    if normalise:
        mean, deviation = patch_statistics(target, variance_floor)
        target = (target - mean) / deviation
    errors = (prediction.to(target.dtype) - target).square().mean(dim=-1)
    if mask is None:
        return errors if reduction == "none" else errors.mean()
    mask = mask.to(errors.dtype)
    errors = errors * mask
    return errors if reduction == "none" else errors.sum() / mask.sum()
