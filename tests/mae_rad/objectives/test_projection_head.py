"""Batch norm of the projection head is torch's, and is refused where a batch is divided.

Two ranks: ``tests/distributed/test_distributed_losses.py``.
"""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from mae_rad.objectives import SimCLRSettings
from mae_rad.objectives.projection_head import AllRankBatchNorm, projection_head
from mae_rad.pretraining.settings import PretrainSettings

ROWS = torch.randn(12, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3 + 1
WEIGHT = torch.linspace(-1, 2, 5, dtype=torch.float64)
TARGET = torch.randn(12, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_values_and_gradients_are_those_of_torch() -> None:
    ours, theirs = AllRankBatchNorm(5).double(), nn.BatchNorm1d(5).double()
    values, gradients = [], []
    for norm in (ours, theirs):
        with torch.no_grad():
            norm.weight.copy_(WEIGHT)
        rows = ROWS.clone().requires_grad_()
        out = norm(rows)
        (out * TARGET).sum().backward()
        values.append(out)
        gradients.append([rows.grad, norm.weight.grad, norm.bias.grad])
    torch.testing.assert_close(values[0], values[1], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-9, atol=1e-11)


def test_the_head_has_the_norm_that_is_asked_for() -> None:
    torch.manual_seed(0)
    head = projection_head(4, 8, 3, "batch")
    assert [type(part).__name__ for part in head].count("AllRankBatchNorm") == 2
    assert not list(head.buffers())  # nothing that a checkpoint could lose
    with torch.autocast("cpu", torch.bfloat16):
        assert head(torch.randn(6, 4)).isfinite().all()


def test_a_divided_batch_is_refused() -> None:
    with pytest.raises(ValidationError, match="films_at_once out"):
        SimCLRSettings(head_norm="batch", films_at_once=2)
    with pytest.raises(ValidationError, match=r"objective needs the whole batch.*optimizer\.accumulation out"):
        PretrainSettings.model_validate(
            {
                "data": {"shards": ["x"]},
                "encoder": {"model": "vit_tiny"},
                "objective": {"name": "simclr", "head_norm": "batch"},
                "optimizer": {"steps": 2, "batch": 8, "accumulation": 2, "base_learning_rate": 1e-3},
                "runtime": {"run_dir": "r"},
            }
        )
    assert SimCLRSettings(head_norm="batch").smaller_passes(2) == {}


def test_earlier_hashes_stay_valid() -> None:
    assert SimCLRSettings().off == {"transforms", "head_norm", "pairs"}
    assert "head_norm" not in SimCLRSettings(head_norm="batch").off
