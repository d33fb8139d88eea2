"""Draw views of films as patches, and stack those of several films."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_prep.shard_format.apply_display import display_table
from mae_rad.data.augmentation import Variation, draw_variation
from mae_rad.data.batch import Patches, ViewSpec
from mae_rad.data.display_augmentation import add_noise, varied_table
from mae_rad.data.film import Film
from mae_rad.data.patch_layout import Layout, crop_layout, square_layout
from mae_rad.data.patch_masking import draw_budget, masked_share

if TYPE_CHECKING:
    from mae_rad.data.film_transforms import MovedFilm

NO_VARIATION = Variation()
"""No augmentation."""

NO_POINTS: NDArray[np.float64] = np.zeros((0, 2))
"""No points."""

_IDENTITY_TABLE = np.arange(2**16, dtype=np.uint16)
"""Display table that does not change display values."""


class FilmPatches(NamedTuple):
    """Patches of one film: values [N, p*p] uint16, coords [N, 2], size [2], content [4] float32, as in ``Patches``."""

    values: NDArray[np.uint16]
    coords: NDArray[np.float32]
    size: NDArray[np.float32]
    content: NDArray[np.float32] | None = None


class DrawnView(NamedTuple):
    """One view of one film, as in ``View``."""

    visible: FilmPatches
    predicted: FilmPatches | None
    predicted_content: NDArray[np.bool_] | None
    masked_content: float | None


def draw_view(film: Film, spec: ViewSpec, patch: int, generator: np.random.Generator) -> DrawnView | None:
    """Draw a view of a film.

    Args:
        film: film of a shard.
        spec: view to draw.
        patch: patch side in pixels.
        generator: random generator of the view.

    Returns:
        The view; None if the film has fewer patches than are to be visible and predicted.
    """
    variation = draw_variation(spec.augmentation, film.sidecar, generator)
    layout = view_layout(film, spec, patch, variation)
    visible, predicted = spec.budgets
    content = film.content(layout)
    if visible is not None and not spec.padded and content.size < visible + predicted:
        return None
    values, table = film.values(layout, patch), varied_table(film.sidecar.display, variation)
    if variation.mirrored:
        values, content = values[:, ::-1], content[:, ::-1]
    if spec.augmentation.transforms is not None:
        values = _transform(table[values], spec.augmentation.transforms, variation).image
        table = _IDENTITY_TABLE
    if spec.padded:
        values, content, layout = pad_to_square(table[values], content, layout, spec.tokens)
        table = _IDENTITY_TABLE
    cutter = _PatchCutter(values, table, layout, patch)
    if visible is None:
        return DrawnView(_add_noise(cutter.patches(np.arange(content.size)), variation), None, None, None)
    chosen = draw_budget(np.ones_like(content) if spec.padded else content, visible + predicted, generator)
    input_patches = _add_noise(cutter.patches(chosen[:visible]), variation)
    if predicted == 0:
        return DrawnView(input_patches, None, None, None)
    return DrawnView(
        input_patches,
        cutter.patches(chosen[visible:]),
        content.reshape(-1)[chosen[visible:]],
        masked_share(content, chosen[:visible]),
    )


def whole_film(film: Film, tokens: int, patch: int, variation: Variation = NO_VARIATION) -> FilmPatches:
    """Cut the whole film into patches, as for embedding, heads and prediction.

    Args:
        film: film of a shard.
        tokens: T, number of content patches.
        patch: patch side in pixels.
        variation: may mirror the film and vary its display; a crop is ignored.
    """
    return film_and_points(film, tokens, patch, variation)[0]


def film_and_points(
    film: Film,
    tokens: int,
    patch: int,
    variation: Variation,
    transforms: Mapping[str, Any] | None = None,
    points: NDArray[np.float64] = NO_POINTS,
) -> tuple[FilmPatches, NDArray[np.float64]]:
    """Cut the whole film into patches, transformed, and move points with it.

    Args:
        film: film of a shard.
        tokens: T, number of content patches.
        patch: patch side in pixels.
        variation: may mirror the film and vary its display; a crop is ignored.
        transforms: serialised transforms of albumentations.
        points: [K, 2] (x, y) in pixels of the mirrored film.

    Returns:
        The patches, and the moved points [K, 2].
    """
    layout = film.layout(tokens, patch)
    image = varied_table(film.sidecar.display, variation)[film.values(layout, patch)]
    image = image[:, ::-1] if variation.mirrored else image
    if transforms is not None:
        image, points = _transform(image, transforms, variation, points)
    patches = cut_into_patches(image, layout, patch)
    box = film.box
    if variation.mirrored:
        box = box._replace(left=layout.region.columns - box.left - box.columns)
    return _add_noise(patches._replace(content=layout.box(box)), variation), points


def _transform(
    image: NDArray[np.uint16],
    transforms: Mapping[str, Any],
    variation: Variation,
    points: NDArray[np.float64] = NO_POINTS,
) -> "MovedFilm":
    from mae_rad.data.film_transforms import transform_film  # noqa: PLC0415 - albumentations takes seconds to load

    return transform_film(image, transforms, variation.noise_seed, points)


def square_film(film: Film, side: int, cell: int) -> NDArray[np.uint16]:
    """Display the whole film, padded with black below and on the right to a square.

    The film is enlarged at most twofold, and both sides are rounded to multiples of ``cell``.

    Args:
        film: film of a shard.
        side: side of the square in pixels; a multiple of ``cell``.
        cell: pixels.

    Returns:
        [side, side] uint16 display values.
    """
    tokens = (side // cell) ** 2
    layout = square_layout(film.sidecar.rows, film.sidecar.columns, tokens, cell)
    image = display_table(film.sidecar.display)[film.values(layout, cell)]
    return pad_to_square(image, np.ones(layout.grid, dtype=np.bool_), layout, tokens)[0]


def pad_to_square(
    image: NDArray[np.uint16], content: NDArray[np.bool_], layout: Layout, tokens: int
) -> tuple[NDArray[np.uint16], NDArray[np.bool_], Layout]:
    """Pad a film with black, below and on the right, to a square of patches.

    Args:
        image: [rows * p, columns * p] uint16 display values.
        content: [rows, columns] bool, True for patches with content.
        layout: layout of the film.
        tokens: T, number of patches of the square.

    Returns:
        Image, content and layout of the square.
    """
    across, (down, wide) = math.isqrt(tokens), layout.grid
    patch = image.shape[0] // down
    missing = ((0, across - down), (0, across - wide))
    padded = np.pad(image, [(0, count * patch) for _, count in missing])
    return padded, np.pad(content, missing), layout._replace(grid=(across, across))


def cut_into_patches(image: NDArray[np.uint16], layout: Layout, patch: int) -> FilmPatches:
    """Cut an image into patches, row by row.

    Args:
        image: [rows * patch, columns * patch] uint16 display values.
        layout: layout of the image.
        patch: patch side in pixels.
    """
    down, across = layout.grid
    values = image.reshape(down, patch, across, patch).transpose(0, 2, 1, 3).reshape(down * across, patch * patch)
    return FilmPatches(np.ascontiguousarray(values), layout.coordinates(), layout.size())


def view_layout(film: Film, spec: ViewSpec, patch: int, variation: Variation) -> Layout:
    """Lay out the patches of a view.

    Args:
        film: film of a shard.
        spec: view.
        patch: patch side in pixels.
        variation: drawn augmentation, which may contain a crop.
    """
    rows, columns = film.sidecar.rows, film.sidecar.columns
    if spec.padded:
        return square_layout(rows, columns, spec.tokens, patch)
    if variation.area is None:
        return film.layout(spec.tokens, patch)
    return crop_layout(rows, columns, film.box, variation.area, variation.place, spec.tokens)


def _add_noise(patches: FilmPatches, variation: Variation) -> FilmPatches:
    return patches._replace(values=add_noise(patches.values, variation))


class _PatchCutter:
    """Cuts selected patches out of an image of shard values, and applies the display table to them only."""

    def __init__(self, values: NDArray[np.uint16], table: NDArray[np.uint16], layout: Layout, patch: int) -> None:
        down, across = layout.grid
        self._blocks = values.reshape(down, patch, across, patch).transpose(0, 2, 1, 3)
        self._table, self._layout = table, layout
        self._coordinates = layout.coordinates()

    def patches(self, chosen: NDArray[np.int64]) -> FilmPatches:
        """Cut the patches with the indices ``chosen`` [n], row by row."""
        blocks = self._blocks[np.divmod(chosen, self._layout.grid[1])]
        values = self._table[blocks.reshape(len(chosen), -1)]
        return FilmPatches(values, self._coordinates[chosen], self._layout.size())


T = TypeVar("T")

T_co = TypeVar("T_co", covariant=True)


def stack(films: Sequence[FilmPatches]) -> Patches:
    """Stack the patches of films with the same number of patches; content boxes only if all films have one."""
    boxes = [film.content for film in films if film.content is not None]
    content = stack_arrays(boxes) if len(boxes) == len(films) else None
    values, coords, size = (
        stack_arrays(arrays) for arrays in zip(*((film.values, film.coords, film.size) for film in films), strict=True)
    )
    return Patches(values, coords, size, content)


def stack_arrays(arrays: Sequence[np.ndarray]) -> Tensor:
    """Stack arrays of one shape into a tensor with a new first dimension."""
    return torch.from_numpy(np.stack(arrays))
