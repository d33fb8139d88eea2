"""The feature pyramid: cells stay at the position of their patch, for films of any shape."""

import numpy as np
import pytest
import torch

from mae_rad.data.batch import Patches
from mae_rad.data.patch_layout import Region, film_layout
from mae_rad.data.views import cut_into_patches, stack
from mae_rad.encoders.vit import EncoderSettings, build_encoder
from mae_rad.heads.feature_pyramid import FeaturePyramid, as_map
from mae_rad.heads.window_attention import from_windows, in_windows, window_features

PATCH = 16
GRIDS = [(7, 5), (3, 11), (8, 8), (1, 6)]


def patches_of(grid: tuple[int, int], films: int = 1, seed: int = 0) -> Patches:
    rows, columns = grid[0] * PATCH, grid[1] * PATCH
    layout = film_layout(rows, columns, Region(0, 0, rows, columns), grid[0] * grid[1], PATCH)
    assert layout.grid == grid
    images = np.random.default_rng(seed).integers(0, 2**16, size=(films, rows, columns)).astype(np.uint16)
    return stack([cut_into_patches(image, layout, PATCH) for image in images])


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return build_encoder(EncoderSettings(model="vit_tiny", dim=48, depth=2, heads=2)).eval()


@pytest.mark.parametrize("grid", GRIDS)
def test_the_grid_is_read_off_the_patches(grid):
    assert patches_of(grid, 2).grid == grid


@pytest.mark.parametrize("grid", GRIDS)
def test_maps_cover_the_film_at_four_scales(grid):
    pyramid = FeaturePyramid(48, 32, PATCH)
    maps = pyramid(torch.randn(2, 48, *grid))
    assert pyramid.strides == (4, 8, 16, 32)
    for cells, stride in zip(maps, pyramid.strides, strict=True):
        assert cells.shape[:2] == (2, 32)
        for side, patches in zip(cells.shape[2:], grid, strict=True):
            assert (side - 1) * stride < patches * PATCH <= side * stride


def test_a_cell_depends_on_its_patch_and_the_adjacent_ones():
    torch.manual_seed(0)
    pyramid = FeaturePyramid(48, 32, PATCH)
    tokens = torch.randn(1, 48, 8, 8, requires_grad=True)
    for cells, stride in zip(pyramid(tokens), pyramid.strides, strict=True):
        at = int(4 * PATCH // stride)  # the first cell of patch (4, 4)
        (gradient,) = torch.autograd.grad(cells[0, :, at, at].sum() + cells[0, 0, at, at], tokens, retain_graph=True)
        rows, columns = torch.nonzero(gradient[0].abs().sum(0), as_tuple=True)
        assert (4, 4) in zip(rows.tolist(), columns.tolist(), strict=True)
        assert max((rows - 4).abs().max(), (columns - 4).abs().max()) <= (3 if stride == 32 else 1)


def test_tokens_are_reshaped_row_by_row():
    tokens = torch.arange(2 * 15 * 3.0).reshape(2, 15, 3)
    cells = as_map(tokens, (3, 5))
    assert torch.equal(cells[1, :, 2, 4], tokens[1, 14])
    assert torch.equal(cells[0, :, 1, 2], tokens[0, 7])


def test_joining_windows_inverts_cutting():
    cells = torch.arange(2 * 6 * 9).reshape(2, 54, 1)
    windows = in_windows(cells, (6, 9), (2, 3))
    assert windows.shape == (18, 6, 1)
    assert windows[4].flatten().tolist() == [21, 22, 23, 30, 31, 32]
    assert torch.equal(from_windows(windows, (6, 9), (2, 3)), cells)


def test_a_film_within_one_window_is_encoded_as_a_whole(encoder):
    patches = patches_of((7, 5), 2)
    for side in (7, None):
        (found,) = window_features(encoder, [patches], side)
        for part, expected in zip(found, encoder(patches), strict=True):
            torch.testing.assert_close(part, expected)


def test_a_window_is_encoded_from_its_patches_at_their_coordinates(encoder):
    patches = patches_of((6, 9), 2)
    # 2 x 2 windows of 3 x 5 patches, one column of them added
    ((tokens, _, _),) = window_features(encoder, [patches], 5)
    rows, columns = np.divmod(np.arange(54), 9)
    upper_left = np.flatnonzero((rows < 3) & (columns < 5))
    alone = encoder(Patches(patches.values[:, upper_left], patches.coords[:, upper_left], patches.size)).tokens
    torch.testing.assert_close(tokens[:, upper_left], alone, rtol=1e-4, atol=1e-5)
    right = np.flatnonzero((rows < 3) & (columns >= 5))
    step = patches.coords[0, 1, 1] - patches.coords[0, 0, 1]
    dark = patches.coords[:, [8, 17, 26]] + torch.tensor([0.0, float(step)])
    order = [0, 1, 2, 3, 12, 4, 5, 6, 7, 13, 8, 9, 10, 11, 14]
    added = Patches(
        torch.cat((patches.values[:, right], torch.zeros(2, 3, PATCH**2, dtype=torch.uint16)), dim=1)[:, order],
        torch.cat((patches.coords[:, right], dark), dim=1)[:, order],
        patches.size,
    )
    kept = [place for place, number in enumerate(order) if number < 12]
    torch.testing.assert_close(tokens[:, right], encoder(added).tokens[:, kept], rtol=1e-4, atol=1e-5)
