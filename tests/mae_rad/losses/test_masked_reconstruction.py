"""Patches, masking and pixel loss against the published implementation and closed forms."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mae_rad.losses import masked_mse, patchify
from tests.references.published_masking import random_masking, unpatchify

FIXTURES = Path(__file__).resolve().parents[3].parent / "shared" / "fixtures"


@pytest.fixture
def published() -> dict[str, torch.Tensor]:
    if not FIXTURES.is_dir():
        pytest.skip("the reference values lie beside the checkout")
    stored = np.load(FIXTURES / "mae_core.npz")
    return {name: torch.from_numpy(stored[name]) for name in stored.files if name != "_meta"}


@pytest.mark.shared
def test_patches_equal_the_published_ones(published: dict[str, torch.Tensor]) -> None:
    assert torch.equal(patchify(published["imgs"], 4), published["patches"])


@pytest.mark.shared
def test_masking_equals_the_published_one(published: dict[str, torch.Tensor]) -> None:
    masking = random_masking(published["noise"], 4)
    kept = published["tokens"].gather(1, masking.visible[..., None].expand(-1, -1, 8))
    assert torch.equal(kept, published["tokens_kept"])
    assert torch.equal(masking.mask, published["mask"])
    assert torch.equal(masking.restore, published["ids_restore"])


@pytest.mark.shared
@pytest.mark.parametrize(("normalise", "name"), [(False, "loss"), (True, "loss_normpix")])
def test_loss_equals_the_published_one(normalise: bool, name: str, published: dict[str, torch.Tensor]) -> None:
    loss = masked_mse(published["pred"], published["patches"], published["mask"], normalise=normalise)
    assert float(loss) == pytest.approx(float(published[name]), rel=1e-6)


def test_a_patch_vector_runs_over_rows_then_columns_then_channels() -> None:
    images = torch.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6)
    patches = patchify(images, 2)
    assert patches.shape == (2, 6, 12)
    for image, patch, row, column, channel in [(0, 0, 0, 1, 2), (1, 4, 1, 0, 1), (1, 5, 1, 1, 0)]:
        down, across = divmod(patch, 3)
        expected = images[image, channel, 2 * down + row, 2 * across + column]
        assert patches[image, patch, (row * 2 + column) * 3 + channel] == expected


def test_unpatchify_inverts_patchify() -> None:
    images = torch.rand(2, 3, 8, 12)
    assert torch.equal(unpatchify(patchify(images, 4), 4, 2, 3), images)


def test_images_that_do_not_divide_into_patches_are_refused() -> None:
    with pytest.raises(ValueError, match="30 x 32"):
        patchify(torch.zeros(1, 1, 30, 32), 16)


def test_masking_partitions_the_patches() -> None:
    masking = random_masking(torch.rand(3, 20, generator=torch.Generator().manual_seed(0)), 5)
    both = torch.cat([masking.visible, masking.removed], dim=1)
    assert torch.equal(both.sort(dim=1).values, torch.arange(20).expand(3, -1))
    assert torch.equal(both.gather(1, masking.restore), torch.arange(20).expand(3, -1))
    assert torch.equal(masking.mask.gather(1, masking.visible), torch.zeros(3, 5))
    assert torch.equal(masking.mask.gather(1, masking.removed), torch.ones(3, 15))


def test_loss_equals_its_formula_in_numpy() -> None:
    draw = np.random.default_rng(0)
    prediction, target = draw.normal(size=(2, 2, 5, 16))
    mask = np.array([[1, 0, 1, 1, 0], [0, 0, 1, 0, 0]])
    normalised = (target - target.mean(-1, keepdims=True)) / np.sqrt(target.var(-1, ddof=1, keepdims=True) + 1e-6)
    for normalise, wanted in ((False, target), (True, normalised)):
        expected = np.mean([((prediction - wanted)[b, n] ** 2).mean() for b, n in np.argwhere(mask)])
        loss = masked_mse(*map(torch.from_numpy, (prediction, target, mask)), normalise=normalise)
        assert float(loss) == pytest.approx(expected, abs=1e-14)


def test_without_a_mask_the_loss_is_over_all_patches() -> None:
    prediction, target = torch.rand(2, 2, 5, 16)
    every = masked_mse(prediction, target, torch.ones(2, 5), normalise=True)
    assert float(masked_mse(prediction, target, normalise=True)) == pytest.approx(float(every))


def test_the_variance_floor_keeps_noise_from_becoming_a_target() -> None:
    draw = torch.Generator().manual_seed(0)
    black = 0.001 * torch.randn(1, 1, 256, generator=draw)
    bone = 0.5 + 0.1 * torch.randn(1, 1, 256, generator=draw)
    nothing = torch.zeros(1, 1, 256)

    def error(target: torch.Tensor, floor: float) -> float:
        return float(masked_mse(nothing, target, normalise=True, variance_floor=floor))

    # Predicting zero leaves a normalised patch's own variance: about 1 without a floor, variance / floor below it.
    assert error(black, 0.0) > 0.4
    assert error(black, 1e-5) < 0.12
    assert error(bone, 1e-5) == error(bone, 0.0) == pytest.approx(1, abs=0.01)


def test_half_precision_predictions_are_compared_in_float32() -> None:
    prediction, target = torch.rand(2, 1, 4, 16, generator=torch.Generator().manual_seed(0))
    loss = masked_mse(prediction.bfloat16(), target, normalise=True)
    assert loss.dtype == torch.float32
    assert float(loss) == float(masked_mse(prediction.bfloat16().float(), target, normalise=True))


def test_the_loss_is_the_mean_of_the_errors_of_patches() -> None:
    draw = torch.Generator().manual_seed(0)
    prediction, target = torch.rand(2, 2, 5, 16, generator=draw)
    mask = torch.tensor([[1, 0, 1, 1, 0], [0, 0, 1, 0, 0]])
    every = masked_mse(prediction, target, normalise=True, reduction="none")
    assert every.shape == (2, 5)
    assert torch.equal(every.mean(), masked_mse(prediction, target, normalise=True))
    counted = masked_mse(prediction, target, mask, normalise=True, reduction="none")
    assert torch.equal(counted, every * mask)
    assert torch.equal(counted.sum() / mask.sum(), masked_mse(prediction, target, mask, normalise=True))
