"""The regression head: loss by hand, independent of the division of a batch; numbers in their unit."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from mae_rad.encoders.vit import EncoderSettings, Features, build_encoder
from mae_rad.heads.interface import Calibration
from mae_rad.heads.regression import NumberTargets, RegressionHead, RegressionSettings, masked_error

ENCODER = build_encoder(EncoderSettings(dim=16, depth=1, heads=2))


def _head(**settings: object) -> RegressionHead:
    torch.manual_seed(0)
    numbers = [{"label": "bone_age", "unit": "months"}, {"column": "age_years"}]
    return RegressionHead(RegressionSettings.model_validate({"numbers": numbers} | settings), ENCODER)


def _features(films: int) -> Features:
    tokens = torch.randn(films, 5, 16, generator=torch.Generator().manual_seed(0))
    return Features(tokens, tokens.mean(dim=1), tokens[:, 0])


@pytest.mark.parametrize("beta", [None, 0.5, 1.0])
def test_the_loss_is_that_of_a_hand_computation(beta: float | None) -> None:
    random = np.random.default_rng(0)
    predicted, values, weights = 2 * random.normal(size=(3, 7, 2))
    weights = np.abs(weights)
    error = np.abs(predicted - values)
    if beta is None:
        costs = error**2 / 2
    else:
        costs = np.where(error < beta, error**2 / (2 * beta), error - beta / 2)
        assert (error < beta).any() and (error > beta).any()
    targets = NumberTargets(torch.from_numpy(values), torch.from_numpy(weights))
    loss = masked_error(torch.from_numpy(predicted), targets, beta=beta)
    assert float(loss) == pytest.approx((weights * costs).sum() / 7, rel=1e-12)


def test_unknown_numbers_have_no_gradient() -> None:
    predicted = torch.randn(3, 2, requires_grad=True)
    weights = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    masked_error(predicted, NumberTargets(torch.full((3, 2), 9.0), weights), beta=1.0).backward()
    assert predicted.grad is not None
    assert torch.equal(predicted.grad != 0, weights != 0)


@torch.no_grad()
@pytest.mark.parametrize("pool", ["cls", "mean", "cls_mean", "attentive"])
@pytest.mark.parametrize("loss", ["smooth_l1", "squared"])
def test_the_loss_is_the_mean_of_any_parts_of_a_batch(pool: str, loss: str) -> None:
    head, features = _head(pool=pool, loss=loss), _features(6)
    targets = NumberTargets(torch.randn(6, 2), torch.rand(6, 2))
    whole = head.loss([head(features)], targets).loss
    parts = [
        head.loss([head(Features(*(part[rows] for part in features)))], NumberTargets(*(t[rows] for t in targets))).loss
        for rows in (slice(0, 3), slice(3, 6))
    ]
    assert float(whole) == pytest.approx(float(sum(parts)) / 2, rel=1e-5)


def test_predictions_are_in_the_unit_of_the_number() -> None:
    head = _head()
    head.calibrate([Calibration(40.0, 127.0), Calibration(20.0, 50.0)])
    numbers = head.answer(torch.tensor([[0.0, 1.0], [-2.0, 0.5]])).numbers
    assert numbers is not None
    assert numbers.tolist() == [[127, 70], [47, 60]]


def test_wrong_settings_are_explained() -> None:
    for settings, expected in (
        ({"numbers": [{"label": "a"}], "pool": "max_score"}, "a number is not one"),
        ({"numbers": [{"label": "a", "column": "b"}]}, "either label"),
        ({"numbers": [{"unit": "months"}]}, "either label"),
        ({"numbers": [{"label": "a"}, {"label": "a"}]}, "two numbers are called a"),
    ):
        with pytest.raises(ValidationError, match=expected):
            RegressionSettings.model_validate(settings)
