"""Patches of one drawn view of one film, and how those of several films are stacked."""

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mae_rad.data.augmentation import Variation, draw_variation
from mae_rad.data.batch import Patches, ViewSpec
from mae_rad.data.display_augmentation import add_noise, varied_table
from mae_rad.data.film import Film
from mae_rad.data.patch_layout import Layout, crop_layout, film_layout, square_layout
from mae_rad.data.patch_masking import draw_budget, masked_share

UNVARIED = Variation()
"""The film as it is."""

_AS_IT_IS = np.arange(2**16, dtype=np.uint16)
"""A table that shows display values."""


class FilmPatches(NamedTuple):
    """Patches of one film: values [N, p*p] uint16, coords [N, 2] float32, size [2] float32, as in ``Patches``."""

    values: NDArray[np.uint16]
    coords: NDArray[np.float32]
    size: NDArray[np.float32]


class DrawnView(NamedTuple):
    """One view of one film, as in ``View``."""

    visible: FilmPatches
    predicted: FilmPatches | None
    predicted_content: NDArray[np.bool_] | None
    masked_content: float | None


def draw_view(film: Film, spec: ViewSpec, patch: int, generator: np.random.Generator) -> DrawnView | None:
    """Draw ``spec`` from ``film``; None where the film has too few patches for the budgets."""
    variation = draw_variation(spec.augmentation, film.sidecar, generator)
    layout = view_layout(film, spec, patch, variation)
    visible, predicted = spec.budgets
    content = film.content(layout)
    if visible is not None and not spec.padded and content.size < visible + predicted:
        return None
    values, table = film.values(layout, patch), varied_table(film.sidecar.display, variation)
    if variation.mirrored:
        values, content = values[:, ::-1], content[:, ::-1]
    if spec.padded:
        values, content, layout = pad_to_square(table[values], content, layout, spec.tokens)
        table = _AS_IT_IS
    cut = _Cut(values, table, layout, patch)
    if visible is None:
        return DrawnView(_noisy(cut.patches(np.arange(content.size)), variation), None, None, None)
    chosen = draw_budget(np.ones_like(content) if spec.padded else content, visible + predicted, generator)
    seen = _noisy(cut.patches(chosen[:visible]), variation)
    if predicted == 0:
        return DrawnView(seen, None, None, None)
    return DrawnView(
        seen,
        cut.patches(chosen[visible:]),
        content.reshape(-1)[chosen[visible:]],
        masked_share(content, chosen[:visible]),
    )


def whole_film(film: Film, tokens: int, patch: int, variation: Variation = UNVARIED) -> FilmPatches:
    """Every patch of the film at ``tokens`` content patches: the one path of embedding, heads and prediction.

    A variation may mirror the film and vary its display; it must not crop.
    """
    layout = film_layout(film.sidecar.rows, film.sidecar.columns, film.box, tokens, patch)
    image = varied_table(film.sidecar.display, variation)[film.values(layout, patch)]
    return _noisy(as_patches(image[:, ::-1] if variation.mirrored else image, layout, patch), variation)


def pad_to_square(
    image: NDArray[np.uint16], content: NDArray[np.bool_], layout: Layout, tokens: int
) -> tuple[NDArray[np.uint16], NDArray[np.bool_], Layout]:
    """Image, content and layout of a square of ``tokens`` patches: below and right of the film black, no content."""
    across, (down, wide) = math.isqrt(tokens), layout.grid
    patch = image.shape[0] // down
    missing = ((0, across - down), (0, across - wide))
    dark = np.pad(image, [(0, count * patch) for _, count in missing])
    return dark, np.pad(content, missing), layout._replace(grid=(across, across))


def as_patches(image: NDArray[np.uint16], layout: Layout, patch: int) -> FilmPatches:
    """Cut an image [rows * patch, columns * patch] into its patches, row by row."""
    down, across = layout.grid
    values = image.reshape(down, patch, across, patch).transpose(0, 2, 1, 3).reshape(down * across, patch * patch)
    return FilmPatches(np.ascontiguousarray(values), layout.coordinates(), layout.size())


def view_layout(film: Film, spec: ViewSpec, patch: int, variation: Variation) -> Layout:
    """Where the patches of a view lie on the film."""
    rows, columns = film.sidecar.rows, film.sidecar.columns
    if spec.padded:
        return square_layout(rows, columns, spec.tokens, patch)
    if variation.area is None:
        return film_layout(rows, columns, film.box, spec.tokens, patch)
    return crop_layout(rows, columns, film.box, variation.area, variation.place, spec.tokens)


def _noisy(patches: FilmPatches, variation: Variation) -> FilmPatches:
    return patches._replace(values=add_noise(patches.values, variation))


class _Cut:
    """Cuts patches out of an image of shard values and displays them: only those that are asked for."""

    def __init__(self, values: NDArray[np.uint16], table: NDArray[np.uint16], layout: Layout, patch: int) -> None:
        down, across = layout.grid
        self._blocks = values.reshape(down, patch, across, patch).transpose(0, 2, 1, 3)
        self._table, self._layout = table, layout
        self._coordinates = layout.coordinates()

    def patches(self, chosen: NDArray[np.int64]) -> FilmPatches:
        """The patches ``chosen``, counted row by row."""
        blocks = self._blocks[np.divmod(chosen, self._layout.grid[1])]
        values = self._table[blocks.reshape(len(chosen), -1)]
        return FilmPatches(values, self._coordinates[chosen], self._layout.size())


T = TypeVar("T")

T_co = TypeVar("T_co", covariant=True)


def stack(films: Sequence[FilmPatches]) -> Patches:
    """Patches of several films with equally many patches as one tensor."""
    return Patches(*(stack_arrays([film[part] for film in films]) for part in range(3)))


def stack_arrays(arrays: Sequence[np.ndarray]) -> Tensor:
    """Arrays of one shape → one tensor with a further first dimension."""
    return torch.from_numpy(np.stack(arrays))
