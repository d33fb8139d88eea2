"""Patches and the pixel loss of masked autoencoding (He et al. 2022).

A patch vector runs over patch row, patch column, channel, the channel fastest, as in the reference implementation.

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
    """Mean and deviation that normalise each patch.

    Args:
        patches: [..., p*p*C].
        variance_floor: smallest variance that counts, in squared units of ``patches``. Without it a patch that shows
            nothing has its noise blown up to unit variance, a target that nobody can predict; 0 is the reference.

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
    """Mean over the removed patches of their mean squared error (He et al. 2022, section 3).

    Args:
        prediction: [B, N, p*p*C].
        target: [B, N, p*p*C] pixels.
        mask: [B, N], 1 for the patches that count; None counts all.
        normalise: predict each patch after subtracting its mean and dividing by its deviation.
        variance_floor: as in ``patch_statistics``; 0 is the reference.
        reduction: ``mean`` is the loss; ``none`` is the error of every patch, 0 where it does not count.

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
