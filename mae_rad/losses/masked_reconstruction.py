"""Patches, masking and the pixel loss of masked autoencoding (He et al. 2022).

A patch vector runs over patch row, patch column, channel, the channel fastest, as in the reference implementation.

Legend: B images, C channels, H x W pixels, p patch side, N = H/p * W/p patches in row-major order.
"""

from typing import NamedTuple

import torch
from torch import Tensor

EPSILON = 1e-6
"""Added to a patch's variance before the square root, as in the reference implementation."""


class Masking(NamedTuple):
    """Which patches are seen.

    Attributes:
        visible: [B, keep] int64 indices of the patches that are seen.
        removed: [B, N - keep] int64 indices of the others.
        mask: [B, N] float32, 0 seen, 1 removed.
        restore: [B, N] int64; gathering (visible, removed) by it gives the order of the image.
    """

    visible: Tensor
    removed: Tensor
    mask: Tensor
    restore: Tensor


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


def unpatchify(patches: Tensor, patch: int, rows: int, columns: int) -> Tensor:
    """Put patches back together; the inverse of ``patchify``.

    Args:
        patches: [B, rows*columns, p*p*C].
        patch: side in pixels.
        rows: patches from top to bottom.
        columns: patches from left to right.

    Returns:
        [B, C, rows*p, columns*p].
    """
    grid = patches.reshape(len(patches), rows, columns, patch, patch, -1)
    return grid.permute(0, 5, 1, 3, 2, 4).reshape(len(patches), -1, rows * patch, columns * patch)


def random_masking(noise: Tensor, keep: int) -> Masking:
    """See the ``keep`` patches of smallest noise, in the order of noise (He et al. 2022, appendix A).

    Args:
        noise: [B, N] one number per patch.
        keep: patches that are seen.
    """
    order = noise.argsort(dim=1)
    restore = order.argsort(dim=1)
    return Masking(order[:, :keep], order[:, keep:], (restore >= keep).float(), restore)


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


def patch_errors(prediction: Tensor, target: Tensor, *, normalise: bool, variance_floor: float) -> Tensor:
    """Mean squared error of every patch, in float32 (float64 for float64 targets).

    Args:
        prediction: [..., p*p*C].
        target: [..., p*p*C] pixels.
        normalise: predict each patch after taking off its mean and dividing by its deviation.
        variance_floor: as in ``patch_statistics``.

    Returns:
        [...].
    """
    target = target.to(torch.promote_types(target.dtype, torch.float32))
    if normalise:
        mean, deviation = patch_statistics(target, variance_floor)
        target = (target - mean) / deviation
    return (prediction.to(target.dtype) - target).square().mean(dim=-1)


def masked_mse(
    prediction: Tensor, target: Tensor, mask: Tensor | None = None, *, normalise: bool, variance_floor: float = 0.0
) -> Tensor:
    """Mean over the removed patches of their mean squared error (He et al. 2022, section 3).

    Args:
        prediction: [B, N, p*p*C].
        target: [B, N, p*p*C] pixels.
        mask: [B, N], 1 for the patches that count; None counts all.
        normalise: as in ``patch_errors``.
        variance_floor: as in ``patch_statistics``; 0 is the reference.

    Returns:
        [] in float32 or float64.
    """
    errors = patch_errors(prediction, target, normalise=normalise, variance_floor=variance_floor)
    if mask is None:
        return errors.mean()
    mask = mask.to(errors.dtype)
    return (errors * mask).sum() / mask.sum()
