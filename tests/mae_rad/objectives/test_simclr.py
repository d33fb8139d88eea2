"""SimCLR: positives, negatives, and independence of the films of a batch."""

import math

import pytest
import torch
from pydantic import ValidationError

from mae_rad.data.batch import Batch, Patches, View
from mae_rad.encoders.vit import EncoderSettings, build_encoder
from mae_rad.objectives import FILM, OBJECTIVES, SimCLRSettings, objective_settings
from mae_rad.objectives.simclr import SimCLR
from tests.builders.pairs.film_batch import film_batch

ENCODER = EncoderSettings(dim=32, depth=2, heads=4, patch=4)
SETTINGS = SimCLRSettings(tokens=16, head_hidden=64, head_dim=16)
FILMS = 6


@pytest.fixture
def objective() -> SimCLR:
    torch.manual_seed(0)
    built = SETTINGS.build({FILM: build_encoder(ENCODER)})
    assert isinstance(built, SimCLR)
    return built


def patches(seed: int) -> Patches:
    draw = torch.Generator().manual_seed(seed)
    values = torch.randint(0, 65536, (FILMS, 16, 16), generator=draw, dtype=torch.int32).to(torch.uint16)
    coords = torch.cartesian_prod(torch.arange(4), torch.arange(4)).float().expand(FILMS, -1, -1)
    return Patches(values, coords, torch.full((FILMS, 2), 4.0))


def batch(a: int = 1, b: int = 2, study: torch.Tensor | None = None) -> Batch:
    film = torch.arange(FILMS)
    views = {"a": View(patches(a)), "b": View(patches(b))}
    return film_batch(views, film, study)


def test_each_film_is_encoded_by_itself(objective: SimCLR) -> None:
    """With ``head_norm=batch`` it is not: see ``tests/mae_rad/objectives/test_projection_head.py``."""
    pooled = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(objective.head(pooled)[2:3], objective.head(pooled[2:3]))


def test_every_parameter_learns(objective: SimCLR) -> None:
    objective(batch()).loss.backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in objective.parameters())


def test_equal_views_agree(objective: SimCLR) -> None:
    metrics = objective(batch(1, 1)).metrics
    assert metrics["positive_similarity"].item() == pytest.approx(1, abs=1e-5)
    assert metrics["negative_similarity"] < 1
    assert metrics["contrastive_accuracy"] == 1


def test_a_collapsed_encoder_shows_in_loss_and_metrics(objective: SimCLR) -> None:
    with torch.no_grad():
        objective.encoder.norm.weight.zero_()
        objective.encoder.norm.bias.fill_(1)
    output = objective(batch())
    assert output.loss.item() == pytest.approx(math.log(2 * FILMS - 1), abs=1e-4)
    assert output.metrics["feature_std"].item() == pytest.approx(0, abs=1e-5)


def test_films_of_one_study_are_not_negatives(objective: SimCLR) -> None:
    one_study = objective(batch(study=torch.zeros(FILMS, dtype=torch.int64)))
    assert one_study.loss.item() == pytest.approx(0, abs=1e-6)
    assert objective(batch()).loss.item() > 0.1


def test_loss_stays_in_float32_under_autocast(objective: SimCLR) -> None:
    exact = objective(batch()).loss
    with torch.autocast("cpu", torch.bfloat16):
        output = objective(batch())
    assert output.loss.dtype == torch.float32
    assert output.loss.item() == pytest.approx(exact.item(), rel=0.05)
    assert not any(value.requires_grad for value in output.metrics.values())


def test_it_learns_to_distinguish_films(objective: SimCLR) -> None:
    optimizer = torch.optim.AdamW(objective.parameters(), lr=1e-3)
    a, noise = patches(1), torch.randn(FILMS, 16, 16, generator=torch.Generator().manual_seed(3))
    b = a._replace(values=(a.values.float() + 8000 * noise).clamp(0, 65535).to(torch.uint16))
    given = film_batch({"a": View(a), "b": View(b)}, torch.arange(FILMS))
    for _ in range(40):
        output = objective(given)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
    assert output.loss.item() < 0.1
    assert output.metrics["contrastive_accuracy"] == 1


def test_both_views_are_drawn_alike() -> None:
    settings = SimCLRSettings(tokens=1024, crop=(0.5, 0.9), visible=0.5)
    objective = settings.build({FILM: build_encoder(ENCODER)})
    assert set(objective.views) == {"a", "b"}
    assert objective.views["a"] == objective.views["b"] == settings.view
    assert settings.view.budgets == (512, 0)


def test_the_name_selects_the_settings_of_an_objective() -> None:
    for name in OBJECTIVES:
        assert objective_settings({"name": name}).name == name
    assert isinstance(objective_settings({"name": "simclr"}), SimCLRSettings)
    with pytest.raises(ValueError, match=f"name must be one of {', '.join(OBJECTIVES)}, not other"):
        objective_settings({"name": "other"})
    with pytest.raises(ValidationError, match="square"):
        objective_settings({"name": "simclr", "tokens": 200})


@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_encoding_in_parts_is_the_whole_batch_in_loss_and_gradient(objective: SimCLR, at_once: int) -> None:
    objective.double()
    whole = objective(batch())
    whole.loss.backward()
    expected = [parameter.grad for parameter in objective.parameters()]
    objective.zero_grad()
    objective.films_at_once = at_once
    parts = objective(batch())
    parts.loss.backward()
    torch.testing.assert_close(parts.loss, whole.loss, rtol=1e-12, atol=1e-12)
    for parameter, gradient in zip(objective.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-10, atol=1e-12)
    for name, value in whole.metrics.items():
        torch.testing.assert_close(parts.metrics[name], value)


def test_memory_for_backward_is_that_of_one_part(objective: SimCLR) -> None:
    def kept(at_once: int | None) -> int:
        objective.films_at_once = at_once
        values: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: values.append(t.numel()) or t, lambda t: t):
            objective(batch())
        return sum(values)

    assert kept(1) < kept(None) / 5  # the rest is the loss and its vectors
