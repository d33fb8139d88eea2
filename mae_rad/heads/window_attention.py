"""Encoding a film window by window: attention within each of them, the cost linear in the size of the film.

ViTDet keeps most of its blocks within windows for the same reason. Here every block stays there, so that a training
that only looks at crops of one window's size meets nothing else on whole films. What stands on the tokens (a pyramid, a
pooling) sees them put together again.

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
    """How films of one grid are cut: windows as equal as can be; where they do not fill, with dark patches beyond.

    Attributes:
        grid: (R, S).
        full: rows and columns that the windows fill.
        window: (h, w).
    """

    grid: tuple[int, int]
    full: tuple[int, int]
    window: tuple[int, int]

    @classmethod
    def of(cls, patches: Patches, side: int | None) -> Self:
        """Windows of at most ``side`` × ``side`` patches; None is one of all patches, whatever their places."""
        if side is None:
            row = (1, patches.coords.shape[1])
            return cls(row, row, row)
        counts = [math.ceil(length / side) for length in patches.grid]
        down, across = (math.ceil(length / count) for length, count in zip(patches.grid, counts, strict=True))
        return cls(patches.grid, (counts[0] * down, counts[1] * across), (down, across))

    @property
    def number(self) -> int:
        """W."""
        return (self.full[0] // self.window[0]) * (self.full[1] // self.window[1])

    def cut(self, patches: Patches) -> Patches:
        """Patches of B films → of B * W windows."""
        return Patches(
            self.part(_continued(patches.values, self.grid, self.full)),
            self.part(_further(patches.coords, self.grid, self.full)),
            patches.size.repeat_interleave(self.number, dim=0),
        )

    def part(self, cells: Tensor) -> Tensor:
        """Of the full grid [B, ...] → [B * W, h * w, ...]."""
        return in_windows(cells, self.full, self.window)

    def join(self, cells: Tensor) -> Tensor:
        """[B * W, h * w, ...] → of the full grid [B, ...]."""
        return from_windows(cells, self.full, self.window)

    def within(self, cells: Tensor) -> Tensor:
        """Of the full grid [B, ...] → [B, R * S, ...]: without what was added."""
        films = cells.reshape(len(cells), *self.full, *cells.shape[2:])
        return films[:, : self.grid[0], : self.grid[1]].flatten(1, 2)

    def features(self, encoder: ViT, found: Features) -> Features:
        """Features of B * W windows → of B films; their class token is the mean of those of the windows."""
        tokens = self.within(self.join(found.tokens))
        cls = found.cls.reshape(-1, self.number, encoder.dim).mean(dim=1)
        return Features(tokens, pool_film(encoder.pool, tokens, cls), cls)


def window_features(encoder: ViT, groups: Sequence[Patches], side: int | None) -> list[Features]:
    """Features of groups of films of one grid each, encoded in windows of at most ``side`` × ``side`` patches."""
    if side is None:
        whole: list[Features] = encoder(groups)
        return whole
    cuts = [Windows.of(group, side) for group in groups]
    found = encoder([cut.cut(group) for cut, group in zip(cuts, groups, strict=True)])
    return [cut.features(encoder, one) for cut, one in zip(cuts, found, strict=True)]


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
