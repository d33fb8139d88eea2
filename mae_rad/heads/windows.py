"""Encoding a film window by window: attention within each of them, the cost linear in the size of the film.

ViTDet keeps most of its blocks within windows for the same reason. Here every block stays there, so that a training
that only looks at crops of one window's size meets nothing else on whole films. The maps are put together again before
the pyramid, whose convolutions see across the seams.

Legend: B films, R rows and S columns of patches, h rows and w columns of one window.
"""

import math

import torch
from torch import Tensor

from mae_rad.data.batch import Patches
from mae_rad.encoders.vit import ViT


def window_tokens(encoder: ViT, patches: Patches, side: int | None) -> Tensor:
    """Tokens [B, R * S, D] of films, encoded in windows of at most ``side`` × ``side`` patches; None takes them whole.

    Windows of a film are as equal as can be; where they do not fill, the film is continued with dark patches.
    """
    if side is None:
        tokens: Tensor = encoder(patches).tokens
        return tokens
    grid = patches.grid
    counts = (math.ceil(grid[0] / side), math.ceil(grid[1] / side))
    window = (math.ceil(grid[0] / counts[0]), math.ceil(grid[1] / counts[1]))
    full = (counts[0] * window[0], counts[1] * window[1])
    windows = counts[0] * counts[1]
    parts = Patches(
        in_windows(_continued(patches.values, grid, full), full, window),
        in_windows(_further(patches.coords, grid, full), full, window),
        patches.size.repeat_interleave(windows, dim=0),
    )
    tokens = from_windows(encoder(parts).tokens, full, window)
    return tokens.reshape(-1, *full, encoder.dim)[:, : grid[0], : grid[1]].flatten(1, 2)


def in_windows(cells: Tensor, grid: tuple[int, int], window: tuple[int, int]) -> Tensor:
    """Cells [B, R * S, ...] → [B * windows, h * w, ...]; the grid must divide into windows."""
    down, across = grid[0] // window[0], grid[1] // window[1]
    parts = cells.reshape(len(cells), down, window[0], across, window[1], *cells.shape[2:])
    return parts.transpose(2, 3).reshape(len(cells) * down * across, window[0] * window[1], *cells.shape[2:])


def from_windows(cells: Tensor, grid: tuple[int, int], window: tuple[int, int]) -> Tensor:
    """What :func:`in_windows` has cut, [B, R * S, ...]."""
    down, across = grid[0] // window[0], grid[1] // window[1]
    parts = cells.reshape(-1, down, across, *window, *cells.shape[2:])
    return parts.transpose(2, 3).reshape(len(parts), grid[0] * grid[1], *cells.shape[2:])


def _continued(values: Tensor, grid: tuple[int, int], full: tuple[int, int]) -> Tensor:
    """Values [B, R * S, p²] with dark patches below and right."""
    if grid == full:
        return values
    dark = values.new_zeros(len(values), *full, values.shape[2])
    dark[:, : grid[0], : grid[1]] = values.reshape(len(values), *grid, -1)
    return dark.flatten(1, 2)


def _further(coords: Tensor, grid: tuple[int, int], full: tuple[int, int]) -> Tensor:
    """Coordinates [B, R * S, 2] that go on below and right in the same steps."""
    if grid == full:
        return coords
    films = coords.reshape(len(coords), *grid, 2)
    rows, columns = _longer(films[:, :, 0, 0], full[0]), _longer(films[:, 0, :, 1], full[1])
    spread = (rows[:, :, None].expand(-1, -1, full[1]), columns[:, None].expand(-1, full[0], -1))
    return torch.stack(spread, dim=3).flatten(1, 2)


def _longer(line: Tensor, length: int) -> Tensor:
    """[B, R] equally spaced places → [B, length]; a single one has no step and goes on in zeros."""
    missing = length - line.shape[1]
    if missing == 0:
        return line
    step = line[:, -1:] - line[:, -2:-1] if line.shape[1] > 1 else torch.zeros_like(line)
    further = line[:, -1:] + step * torch.arange(1, missing + 1, device=line.device)
    return torch.cat((line, further), dim=1)
