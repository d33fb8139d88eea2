"""Encodes a film in windows: attention stays within a window, and the cost is linear in the size of the film.

In ViTDet, most blocks are restricted to windows for the same reason. In this module all blocks are, so that an encoder
trained on crops of one window is applied to windows of the same size on whole films. The tokens of all windows are
joined before the pyramid or the pooling.

Legend: B films, R rows and S columns of patches, W windows of h rows and w columns, D channels.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor

from mae_rad.data.batch import Patches
from mae_rad.encoders.film_pooling import pool_film
from mae_rad.encoders.vit import Features, ViT


class Windows(NamedTuple):
    """Division of the grid of films into windows of equal size, with dark patches as padding below and right.

    Attributes:
        grid: (R, S).
        full: rows and columns with padding.
        window: (h, w).
    """

    grid: tuple[int, int]
    full: tuple[int, int]
    window: tuple[int, int]

    @classmethod
    def of(cls, patches: Patches, side: int | None) -> Self:
        """Divide a grid.

        Args:
            patches: of films of one grid.
            side: of a window in patches, at most; None is one window of all patches, in any arrangement.
        """
        if side is None:
            row = (1, patches.coords.shape[1])
            return cls(row, row, row)
        counts = [math.ceil(length / side) for length in patches.grid]
        down, across = (math.ceil(length / per_film) for length, per_film in zip(patches.grid, counts, strict=True))
        return cls(patches.grid, (counts[0] * down, counts[1] * across), (down, across))

    @property
    def per_film(self) -> int:
        """W, number of windows of a film."""
        return (self.full[0] // self.window[0]) * (self.full[1] // self.window[1])

    def cut(self, patches: Patches) -> Patches:
        """Cut patches of B films into patches of B * W windows."""
        return Patches(
            self.to_windows(_pad_values(patches.values, self.grid, self.full)),
            self.to_windows(_extend_coords(patches.coords, self.grid, self.full)),
            patches.size.repeat_interleave(self.per_film, dim=0),
        )

    def to_windows(self, cells: Tensor) -> Tensor:
        """Cells of the padded grid [B, ...] → [B * W, h * w, ...]."""
        return in_windows(cells, self.full, self.window)

    def join(self, cells: Tensor) -> Tensor:
        """[B * W, h * w, ...] → cells of the padded grid [B, ...]."""
        return from_windows(cells, self.full, self.window)

    def crop_padding(self, cells: Tensor) -> Tensor:
        """Remove the padding: cells of the padded grid [B, ...] → [B, R * S, ...]."""
        films = cells.reshape(len(cells), *self.full, *cells.shape[2:])
        return films[:, : self.grid[0], : self.grid[1]].flatten(1, 2)

    def features(self, encoder: ViT, encoded: Features) -> Features:
        """Join features of B * W windows into those of B films.

        Args:
            encoder: decides the pooling.
            encoded: of the windows.

        Returns:
            Features of films; the class token is the mean over the windows.
        """
        tokens = self.crop_padding(self.join(encoded.tokens))
        cls = encoded.cls.reshape(-1, self.per_film, encoder.dim).mean(dim=1)
        return Features(tokens, pool_film(encoder.pool, tokens, cls), cls)


def window_features(encoder: ViT, groups: Sequence[Patches], side: int | None) -> list[Features]:
    """Encode groups of films in windows.

    Args:
        encoder: to apply.
        groups: patches of films, one grid per group.
        side: of a window in patches, at most; None encodes whole films.

    Returns:
        Features of films, one per group.
    """
    if side is None:
        encoded_films: list[Features] = encoder(groups)
        return encoded_films
    windows = [Windows.of(group, side) for group in groups]
    encoded = encoder([cut.cut(group) for cut, group in zip(windows, groups, strict=True)])
    return [cut.features(encoder, features) for cut, features in zip(windows, encoded, strict=True)]


def in_windows(cells: Tensor, grid: tuple[int, int], window: tuple[int, int]) -> Tensor:
    """Cut cells into windows.

    Args:
        cells: [B, R * S, ...] in row-major order.
        grid: (R, S), multiples of ``window``.
        window: (h, w).

    Returns:
        [B * W, h * w, ...].
    """
    down, across = grid[0] // window[0], grid[1] // window[1]
    parts = cells.reshape(len(cells), down, window[0], across, window[1], *cells.shape[2:])
    return parts.transpose(2, 3).reshape(len(cells) * down * across, window[0] * window[1], *cells.shape[2:])


def from_windows(cells: Tensor, grid: tuple[int, int], window: tuple[int, int]) -> Tensor:
    """Join windows, the inverse of :func:`in_windows`.

    Args:
        cells: [B * W, h * w, ...].
        grid: (R, S), multiples of ``window``.
        window: (h, w).

    Returns:
        [B, R * S, ...].
    """
    down, across = grid[0] // window[0], grid[1] // window[1]
    parts = cells.reshape(-1, down, across, *window, *cells.shape[2:])
    return parts.transpose(2, 3).reshape(len(parts), grid[0] * grid[1], *cells.shape[2:])


def _pad_values(values: Tensor, grid: tuple[int, int], full: tuple[int, int]) -> Tensor:
    """Pad values [B, R * S, p²] with dark patches below and right."""
    if grid == full:
        return values
    padded = values.new_zeros(len(values), *full, values.shape[2])
    padded[:, : grid[0], : grid[1]] = values.reshape(len(values), *grid, -1)
    return padded.flatten(1, 2)


def _extend_coords(coords: Tensor, grid: tuple[int, int], full: tuple[int, int]) -> Tensor:
    """Extend coordinates [B, R * S, 2] below and right with the same spacing."""
    if grid == full:
        return coords
    films = coords.reshape(len(coords), *grid, 2)
    rows, columns = _extend_line(films[:, :, 0, 0], full[0]), _extend_line(films[:, 0, :, 1], full[1])
    grids = (rows[:, :, None].expand(-1, -1, full[1]), columns[:, None].expand(-1, full[0], -1))
    return torch.stack(grids, dim=3).flatten(1, 2)


def _extend_line(line: Tensor, length: int) -> Tensor:
    """Extend equally spaced coordinates [B, R] to [B, length]; a single one has spacing 0."""
    missing = length - line.shape[1]
    if missing == 0:
        return line
    step = line[:, -1:] - line[:, -2:-1] if line.shape[1] > 1 else torch.zeros_like(line)
    extension = line[:, -1:] + step * torch.arange(1, missing + 1, device=line.device)
    return torch.cat((line, extension), dim=1)
