"""Fixed sine-cosine positions in two dimensions (He et al. 2022, reference implementation)."""

import torch
from torch import Tensor


def sincos_positions(coords: Tensor, dim: int) -> Tensor:
    """Compute the position vectors of points with any coordinates.

    The first half of the channels encodes the column, the second half the row, each as [sin | cos] of the coordinate
    times omega_i = 10000^(-i / (dim / 4)).

    Args:
        coords: [..., 2] float (row, column); the integers of a 14 x 14 grid reproduce the published table.
        dim: channels, a multiple of 4.

    Returns:
        [..., dim] in the type of ``coords``.

    Raises:
        ValueError: ``dim`` is not a multiple of 4.
    """
    if dim % 4:
        raise ValueError(f"sine-cosine positions need a multiple of 4 channels, not {dim}")
    omega = 10000.0 ** (-torch.arange(dim // 4, dtype=torch.float64, device=coords.device) / (dim / 4))
    angles = coords.flip(-1)[..., None] * omega.to(coords.dtype)
    return torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(-2)
