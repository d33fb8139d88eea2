"""The form of contrastive losses against loops, and limiting cases."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mae_rad.losses import clip, nt_xent, pair_nce, supcon


def cosines(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    return normalize(a, dim=1) @ normalize(b, dim=1).T / temperature


def in_loops(similarity: Tensor, weights: Tensor, mask: Tensor) -> float:
    """The formula, one number after another."""
    rows = []
    for s, w, m in zip(similarity.tolist(), weights.tolist(), mask.tolist(), strict=True):
        if any(m) and sum(w) > 0:
            log_sum = math.log(sum(math.exp(value) for value, inside in zip(s, m, strict=True) if inside))
            rows.append(-sum(weight / sum(w) * (value - log_sum) for value, weight in zip(s, w, strict=True)))
    return sum(rows) / len(rows)


@pytest.fixture
def problem() -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    similarity = torch.randn(9, 14, generator=draw, dtype=torch.float64)
    weights = torch.rand(9, 14, generator=draw, dtype=torch.float64) * (torch.rand(9, 14, generator=draw) < 0.4)
    mask = torch.rand(9, 14, generator=draw) < 0.6
    weights[2], mask[5] = 0, False
    return similarity, weights, mask


def test_equals_the_formula_with_rows_dropped(problem: tuple[Tensor, Tensor, Tensor]) -> None:
    assert float(pair_nce(*problem)) == pytest.approx(in_loops(*problem), abs=1e-13)


def test_gradient_equals_finite_differences(problem: tuple[Tensor, Tensor, Tensor]) -> None:
    similarity, weights, mask = problem
    assert torch.autograd.gradcheck(lambda s: pair_nce(s, weights, mask), similarity.requires_grad_())


def test_dropped_rows_and_ignored_columns_have_no_influence(problem: tuple[Tensor, Tensor, Tensor]) -> None:
    similarity, weights, mask = problem
    expected = pair_nce(similarity, weights, mask)
    unused = ~mask & (weights == 0)
    unused[2] = unused[5] = True
    spoiled = similarity.masked_fill(unused, torch.nan).requires_grad_()
    loss = pair_nce(spoiled, weights, mask)
    loss.backward()
    assert torch.equal(loss, expected)
    assert torch.equal(spoiled.grad[unused], torch.zeros(int(unused.sum()), dtype=torch.float64))


def test_without_any_valid_row_loss_and_gradient_are_zero() -> None:
    similarity = torch.randn(3, 4, requires_grad=True)
    loss = pair_nce(similarity, torch.zeros(3, 4), torch.ones(3, 4, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert not similarity.grad.any()


@pytest.mark.parametrize("count", [1, 5])
def test_the_loss_of_equal_vectors_is_the_logarithm_of_the_columns(count: int) -> None:
    z = torch.ones(count, 8)
    assert float(nt_xent(z, z, 0.1)) == pytest.approx(math.log(2 * count - 1), abs=1e-6)
    assert float(clip(z, z, 0.1)) == pytest.approx(math.log(count), abs=1e-6)


@pytest.mark.parametrize("temperature", [1e-2, 1e-4, 1e-6])
def test_tiny_temperatures_stay_finite(temperature: float) -> None:
    z = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = (
        nt_xent(z[0], z[1], temperature)
        + clip(z[0], z[1], temperature)
        + supcon(z[0], torch.arange(6) // 2, temperature)
    )
    loss.backward()
    assert loss.isfinite()
    assert z.grad.isfinite().all()


def test_half_precision_is_computed_in_float32() -> None:
    z = torch.randn(2, 16, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    expected = nt_xent(z[0].float(), z[1].float(), 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        loss = nt_xent(z[0], z[1], 0.1)
        many = nt_xent(z[0].float(), z[1].float(), 0.1, return_pairs=True)[1].similarity
    assert loss.dtype == many.dtype == torch.float32
    assert torch.equal(loss, expected)


def test_films_of_one_study_are_not_negatives_of_each_other() -> None:
    draw = torch.Generator().manual_seed(3)
    z0, z1 = torch.randn(2, 5, 8, generator=draw, dtype=torch.float64)
    film, study = torch.arange(5), torch.tensor([7, 7, 8, 9, 7])
    z = torch.cat([z0, z1])
    weights, mask = torch.zeros(10, 10), torch.zeros(10, 10, dtype=torch.bool)
    for row in range(10):
        for column in range(10):
            weights[row, column] = row % 5 == column % 5 and row != column
            mask[row, column] = study[row % 5] != study[column % 5] or weights[row, column]
    expected = in_loops(cosines(z, z, 0.2), weights, mask)
    assert float(nt_xent(z0, z1, 0.2, film=film, study=study)) == pytest.approx(expected, abs=1e-13)
    only_study = float(nt_xent(z0, z1, 0.2, film=film, study=torch.zeros(5, dtype=torch.int64)))
    assert only_study == pytest.approx(0, abs=1e-12)


def test_order_of_films_does_not_matter() -> None:
    z0, z1 = torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    study = torch.arange(8) // 2
    order = torch.randperm(8, generator=torch.Generator().manual_seed(6))
    loss = nt_xent(z0, z1, 0.1, study=study)
    assert float(nt_xent(z0[order], z1[order], 0.1, study=study[order])) == pytest.approx(float(loss), abs=1e-12)
    assert float(nt_xent(z1, z0, 0.1, study=study)) == pytest.approx(float(loss), abs=1e-12)


def test_the_returned_pairs_give_the_loss() -> None:
    z0, z1 = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(7))
    loss, pairs = nt_xent(z0, z1, 0.1, study=torch.arange(6) // 2, return_pairs=True)
    assert torch.equal(pair_nce(*pairs), loss)
    assert torch.equal(nt_xent(z0, z1, 0.1, study=torch.arange(6) // 2), loss)
