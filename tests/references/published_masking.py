"""Masking of the published masked autoencoder, and patches put back together (He et al. 2022).

Legend: B images, C channels, p patch side, N patches in row-major order.
"""

from typing import NamedTuple

from torch import Tensor


class Masking(NamedTuple):
    """Which patches are visible.

    Attributes:
        visible: [B, keep] int64 indices of the visible patches.
        removed: [B, N - keep] int64 indices of the others.
        mask: [B, N] float32, 0 visible, 1 removed.
        restore: [B, N] int64; gathering (visible, removed) by it gives the order of the image.
    """

    visible: Tensor
    removed: Tensor
    mask: Tensor
    restore: Tensor


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
    """The ``keep`` patches of smallest noise are visible, in the order of noise (He et al. 2022, appendix A).

    Args:
        noise: [B, N] one number per patch.
        keep: number of visible patches.
    """
    order = noise.argsort(dim=1)
    restore = order.argsort(dim=1)
    return Masking(order[:, :keep], order[:, keep:], (restore >= keep).float(), restore)
