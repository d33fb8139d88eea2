"""SwAV: unit prototypes that are frozen at first, a queue that is assigned with the batch, and small crops."""

import pytest
import torch
from torch import Tensor

from mae_rad.losses.clustering import sinkhorn, swav
from mae_rad.objectives import objective_settings
from mae_rad.objectives.multi_crop import encode_crops
from tests.builders.pairs.small_methods import small_batch, small_method


def scores(seed: int, films: int = 6) -> Tensor:
    return torch.rand(films, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


def test_the_queue_is_assigned_together_with_the_batch() -> None:
    first, second, old = scores(1), scores(2), (scores(3, 9), scores(4, 9))
    assigned = [sinkhorn(torch.cat(both))[:6] for both in zip((first, second), old, strict=True)]
    expected = -(assigned[0] * (second / 0.1).log_softmax(1) + assigned[1] * (first / 0.1).log_softmax(1)).sum(1) / 2
    torch.testing.assert_close(swav(first, second, earlier=old), expected.mean(), rtol=1e-12, atol=1e-12)
    assert not torch.isclose(swav(first, second, earlier=old), swav(first, second), rtol=1e-3)
    torch.testing.assert_close(swav(first, second, earlier=()), swav(first, second))


def test_prototypes_are_frozen_at_first_and_stay_of_unit_length() -> None:
    objective = small_method("swav")  # frozen for two of a hundred steps
    objective(small_batch(objective, progress=0.01)).loss.backward()
    frozen = objective.prototypes.grad
    assert frozen is None
    objective(small_batch(objective, progress=0.02)).loss.backward()
    assert objective.prototypes.grad.any()
    with torch.no_grad():
        objective.prototypes.mul_(3)
        objective.stepped(0.5)
    torch.testing.assert_close(objective.prototypes.norm(dim=1), torch.ones(10))


@torch.no_grad()
def test_the_queue_serves_when_it_is_full_and_its_time_has_come() -> None:
    objective = small_method("swav").double()
    objective.stepped(0.0)
    early, late = small_batch(objective, progress=0.49), small_batch(objective, progress=0.5)
    without = objective(late).loss.item()
    objective.stepped(0.5)  # 8 of 13
    assert not objective.queues[0].is_full
    assert objective(late).loss.item() == pytest.approx(without, rel=1e-12)
    objective.stepped(0.5)
    assert objective.queues[0].is_full
    assert objective(early).loss.item() == pytest.approx(without, rel=1e-12)
    assert objective(late).loss.item() != pytest.approx(without, rel=1e-6)


def test_small_crops_are_views_of_their_own() -> None:
    settings = objective_settings(
        {"name": "swav", "tokens": 64, "small_crops": 3, "small_tokens": 16, "pairs": "e1_study"}
    )
    views = settings.views()
    assert list(views) == ["a", "b", "small1", "small2", "small3"]
    assert [spec.tokens for spec in views.values()] == [64, 64, 16, 16, 16]
    assert [spec.partner for spec in views.values()] == [False, True, False, False, False]
    assert views["small1"].augmentation.crop == (0.05, 0.4) and views["a"].augmentation.crop == (0.4, 1.0)
    assert settings.cost_column() == "2 x 1 + 3 of 16"
    objective = small_method("swav")
    batch = small_batch(objective)
    crops = encode_crops(objective.encoder, batch)
    assert len(crops) == 4
    alone = objective.encoder(batch.views["small2"].visible).pooled
    torch.testing.assert_close(crops[3], alone)
