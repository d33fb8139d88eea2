"""Positions equal the published table and a loop."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from mae_rad.losses import sincos_positions

FIXTURES = Path(__file__).resolve().parents[3].parent / "shared" / "fixtures"


def grid(side: int) -> torch.Tensor:
    return torch.cartesian_prod(torch.arange(side), torch.arange(side)).double()


@pytest.mark.shared
@pytest.mark.skipif(not FIXTURES.is_dir(), reason="the reference values lie beside the checkout")
@pytest.mark.parametrize("name", ["pe_64_4_cls", "pe_192_14_cls", "pe_512_14_cls", "pe_768_14_cls", "pe_1024_14_nocls"])
def test_equals_the_published_table(name: str) -> None:
    stored = np.load(FIXTURES / "mae_sincos.npz")
    _, dim, side, cls = name.split("_")
    table = sincos_positions(grid(int(side)), int(dim)).numpy()
    if cls == "cls":
        table = np.vstack([np.zeros(int(dim)), table])
    head, total = stored[name], stored[f"{name}_sum"]
    np.testing.assert_allclose(table[: len(head)], head, rtol=0, atol=1e-10)
    np.testing.assert_allclose([table.sum(), (table**2).sum(), *table.shape], total, rtol=1e-10)


def test_equals_the_formula_with_the_column_first() -> None:
    row, column, dim = 2.25, -7.5, 16
    expected = []
    for coordinate in (column, row):
        for wave in (math.sin, math.cos):
            expected += [wave(coordinate / 10000 ** (i / (dim / 4))) for i in range(dim // 4)]
    actual = sincos_positions(torch.tensor([row, column], dtype=torch.float64), dim)
    np.testing.assert_allclose(actual.numpy(), expected, rtol=0, atol=1e-14)


def test_float32_is_accurate_on_a_large_film() -> None:
    exact = sincos_positions(grid(64) / 2.1, 768)
    assert (sincos_positions((grid(64) / 2.1).float(), 768) - exact).abs().max() < 1e-5


def test_other_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        sincos_positions(torch.zeros(1, 2), 10)
