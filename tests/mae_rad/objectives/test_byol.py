"""BYOL: the target has no gradient, begins as the trained network and follows it by the published schedule."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mae_rad.encoders.blocks import Block
from mae_rad.losses.distillation import negative_cosine
from mae_rad.objectives.target_network import follow, momentum_at, target_of
from mae_rad.objectives.two_views import encode_views
from tests.builders.pairs.small_methods import small_batch, small_method

FIXTURES = Path(__file__).resolve().parents[3].parent / "shared" / "fixtures"


@pytest.mark.shared
@pytest.mark.skipif(not FIXTURES.is_dir(), reason="the reference values lie beside the checkout")
def test_the_momentum_is_the_published_one() -> None:
    stored = np.load(FIXTURES / "schedule_byol_tau.npz")
    last = stored["step"][-1]
    ours = [momentum_at(step / last, 0.9996) for step in stored["step"]]
    np.testing.assert_allclose(ours, stored["tau"], rtol=0, atol=1e-12)


def test_the_target_becomes_the_trained_network_before_the_first_step_and_then_follows() -> None:
    trained = torch.nn.Linear(3, 2)
    target = target_of(trained)
    assert not any(parameter.requires_grad for parameter in target.parameters())
    with torch.no_grad():
        trained.weight.fill_(4.0)
    follow(target, trained, 0.0, 0.75)
    assert torch.equal(target.weight, trained.weight) and target.weight is not trained.weight
    with torch.no_grad():
        trained.weight.fill_(8.0)
    follow(target, trained, 0.5, 0.75)  # 1 - 0.25 / 2 is kept
    assert target.weight.flatten().tolist() == pytest.approx([4.5] * 6)
    follow(target, trained, 1.0, 0.75)
    assert target.weight.flatten().tolist() == pytest.approx([4.5] * 6)


def test_the_target_has_no_stochastic_depth() -> None:
    block = Block(8, 2, drop_path=0.5)
    x = torch.randn(4, 3, 8)
    assert not torch.equal(block(x), block(x))
    assert torch.equal(target_of(block)(x), target_of(block)(x)) and block.drop_path == 0.5


def test_the_loss_is_that_of_the_paper_in_both_directions() -> None:
    objective = small_method("byol").double()
    batch = small_batch(objective)
    z0, z1 = (objective.projector(features) for features in encode_views(objective.encoder, batch))
    t0, t1 = (objective.target_projector(features) for features in encode_views(objective.target_encoder, batch))
    there = 2 + 2 * negative_cosine(objective.predictor(z0), t1)
    back = 2 + 2 * negative_cosine(objective.predictor(z1), t0)
    torch.testing.assert_close(objective(batch).loss, there + back, rtol=1e-12, atol=1e-12)
