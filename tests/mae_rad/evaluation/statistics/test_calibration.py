"""Probabilities: what a fitted line promises, against scikit-learn and torchmetrics."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torchmetrics.functional.classification import binary_calibration_error

from mae_rad.evaluation.statistics.calibration import (
    BINS,
    MIN_SLOPE,
    calibration_error,
    fit_line,
    fit_temperature,
    log_loss,
    probabilities,
)
from mae_rad.heads.interface import Calibration

ONES = np.ones((1, 4000))


def _films(slope: float, offset: float, seed: int = 0, count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are told as ``z`` where the truth follows ``slope z + offset``."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, count)
    return logits, random.random(count) < 1 / (1 + np.exp(-(slope * logits + offset)))


@pytest.mark.parametrize(("slope", "offset"), [(0.4, -1.0), (2.5, 0.7), (1.0, 0.0)])
def test_the_fit_recovers_the_line_that_generated_the_labels(slope: float, offset: float) -> None:
    line = fit_line(*_films(slope, offset))
    assert line.slope == pytest.approx(slope, rel=0.1)
    assert line.offset == pytest.approx(offset, abs=0.12)


def test_the_fit_is_the_least_log_loss_of_platts_targets() -> None:
    logits, present = _films(0.5, 0.3, count=200)
    positive, negative = present.sum(), (~present).sum()
    target = np.where(present, (positive + 1) / (positive + 2), 1 / (negative + 2))
    inputs, classes = np.r_[logits, logits][:, None], np.r_[np.ones(200), np.zeros(200)]
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000)
    model.fit(inputs, classes, sample_weight=np.r_[target, 1 - target])
    line = fit_line(logits, present)
    assert line.slope == pytest.approx(model.coef_[0, 0], rel=1e-4)
    assert line.offset == pytest.approx(model.intercept_[0], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("with_offset", [True, False])
def test_calibration_lowers_log_loss_and_calibration_error_on_other_films(with_offset: bool) -> None:
    line = fit_line(*_films(0.3, 0.0, seed=1), with_offset=with_offset)
    logits, present = _films(0.3, 0.0, seed=2)
    before, after = log_loss(logits, present, ONES), log_loss(line.slope * logits + line.offset, present, ONES)
    assert after < before - 0.1
    errors = [calibration_error(probabilities(logits, one), present, ONES)[0] for one in (Calibration(), line)]
    assert errors[1] < 0.03 < errors[0]
    assert with_offset or line.offset == 0


def test_separable_classes_give_a_finite_slope() -> None:
    logits = np.r_[np.linspace(-3, -1, 20), np.linspace(1, 3, 20)]
    line = fit_line(logits, logits > 0)
    assert 0 < line.slope < 50


def test_scores_of_a_head_below_chance_are_not_inverted() -> None:
    logits, present = _films(-1.0, -0.5)
    line = fit_line(logits, present)
    assert line.slope == MIN_SLOPE
    assert probabilities(logits, line).mean() == pytest.approx(present.mean(), abs=0.01)
    assert fit_line(logits, present, with_offset=False) == Calibration(MIN_SLOPE, 0.0)


def test_the_calibration_error_is_that_of_torchmetrics() -> None:
    logits, present = _films(0.5, -1.0)
    told = probabilities(logits, Calibration())
    expected = binary_calibration_error(torch.from_numpy(told), torch.from_numpy(present.astype(int)), n_bins=BINS)
    assert calibration_error(told, present, ONES)[0] == pytest.approx(float(expected), abs=1e-6)
    weights = np.random.default_rng(0).integers(0, 3, (1, len(told))).astype(float)
    doubled = np.repeat(np.arange(len(told)), weights[0].astype(int))
    alone = calibration_error(told[doubled], present[doubled], np.ones((1, len(doubled))))
    assert calibration_error(told, present, weights) == pytest.approx(alone)


def test_the_temperature_is_that_of_the_labels_and_the_least_log_loss() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (6000, 4))
    y = (logits / 1.7 + random.gumbel(size=logits.shape)).argmax(axis=1)  # drawn from the softmax at temperature 1.7
    line = fit_temperature(logits, y)
    assert (1 / line.slope, line.offset) == (pytest.approx(1.7, rel=0.05), 0)
    tensor, classes = torch.from_numpy(logits), torch.from_numpy(y)
    losses = [float(torch.nn.functional.cross_entropy(line.slope * f * tensor, classes)) for f in (0.99, 1, 1.01)]
    assert min(losses) == losses[1]
