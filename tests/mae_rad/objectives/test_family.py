"""What every method of several views keeps: it learns, stays in float32, and shows a collapse."""

import math

import pytest
import torch
from pydantic import ValidationError

from mae_rad.objectives import Objective, objective_settings
from mae_rad.pretraining.settings import PretrainSettings
from tests.builders.pairs.small_methods import METHODS, small_batch, small_method


def trained(objective: Objective, steps: int = 40, films: int = 16) -> list[dict[str, float]]:
    """Metrics of a training on one batch of films, whose views differ in every step."""
    optimizer = torch.optim.AdamW([p for p in objective.parameters() if p.requires_grad], lr=2e-3)
    lines = []
    with torch.no_grad():
        objective.stepped(0.0)
    for step in range(steps):
        output = objective(small_batch(objective, films, seed=step + 1))
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        with torch.no_grad():
            objective.stepped((step + 1) / steps)
        lines.append({"loss": output.loss.item()} | {name: value.item() for name, value in output.metrics.items()})
    return lines


@pytest.mark.parametrize("name", METHODS)
def test_every_trained_parameter_learns_and_no_other(name: str) -> None:
    objective = small_method(name)
    objective(small_batch(objective)).loss.backward()
    for parameter_name, parameter in objective.named_parameters():
        gets = parameter.grad is not None and bool(parameter.grad.any())
        assert gets == parameter.requires_grad, parameter_name


@pytest.mark.parametrize("name", [name for name in METHODS if name != "rank_n_contrast"])
def test_it_learns_that_views_of_a_film_are_alike(name: str) -> None:
    objective = small_method(name)
    unseen = small_batch(objective, 32, first=100, seed=99)
    before = objective(unseen).metrics["positive_similarity"].item()
    lines = trained(objective)
    after = objective(unseen).metrics
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert after["positive_similarity"].item() > before + 0.1
    assert (
        after.get("projection_std", torch.ones(())).item() > 0.5 and after["feature_std"].item() > 0.3
    )  # and films stay apart


@pytest.mark.parametrize("name", METHODS)
def test_loss_stays_in_float32_under_autocast(name: str) -> None:
    objective = small_method(name)
    batch = small_batch(objective)
    exact = objective(batch).loss.item()
    with torch.autocast("cpu", torch.bfloat16):
        output = objective(batch)
    assert output.loss.dtype == torch.float32
    assert output.loss.item() == pytest.approx(exact, rel=0.1)
    assert not any(value.requires_grad for value in output.metrics.values())


@pytest.mark.parametrize("name", METHODS)
def test_a_collapsed_encoder_shows_in_the_metrics(name: str) -> None:
    objective = small_method(name)
    with torch.no_grad():
        objective.encoder.norm.weight.zero_()
        objective.encoder.norm.bias.fill_(1)
    output = objective(small_batch(objective))
    assert math.isfinite(output.loss.item())
    assert output.metrics["feature_std"].item() == pytest.approx(0, abs=1e-5)


def run_settings(objective: dict[str, object], **optimizer: object) -> PretrainSettings:
    zero = optimizer.pop("zero_stage", 1)
    return PretrainSettings.model_validate(
        {
            "data": {"shards": ["x"]},
            "encoder": {"model": "vit_tiny"},
            "objective": objective,
            "optimizer": {"steps": 2, "batch": 8, "base_learning_rate": 1e-3, **optimizer},
            "runtime": {"run_dir": "r", "zero_stage": zero},
        }
    )


@pytest.mark.parametrize("name", METHODS)
def test_what_it_cannot_do_is_refused(name: str) -> None:
    settings = objective_settings({"name": name})
    if settings.needs_whole_batch:
        with pytest.raises(ValidationError, match=r"needs the whole batch.*optimizer\.accumulation out"):
            run_settings({"name": name}, accumulation=2)
    if settings.keeps_whole_copy:
        with pytest.raises(ValidationError, match=rf"{name} needs whole weights.*zero_stage=3.*Choose stage 2"):
            run_settings({"name": name}, zero_stage=3)
        assert run_settings({"name": name}, zero_stage=2).runtime.zero_stage == 2
    if name == "mae_contrast":
        assert objective_settings({"name": name, "pairs": "e5_part_and_view"}).needs == ("body_part", "view")
        return
    with pytest.raises(ValidationError, match=r"compares no pairs of films\. Leave relation"):
        objective_settings({"name": name, "pairs": "e5_part_and_view"})
