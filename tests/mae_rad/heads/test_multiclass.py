"""The softmax head: loss by hand, probabilities that sum to one, and the settings of its classes."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.special import softmax

from mae_rad.encoders.vit import EncoderSettings, build_encoder
from mae_rad.heads.interface import Calibration
from mae_rad.heads.multiclass import ClassTargets, MulticlassHead, MulticlassSettings

ENCODER = build_encoder(EncoderSettings(dim=16, depth=1, heads=2))


def _head() -> MulticlassHead:
    target = {"column": "view", "classes": ["AP", "PA", "LATERAL"]}
    return MulticlassHead(MulticlassSettings.model_validate({"target": target}), ENCODER)


def test_the_loss_is_that_of_a_hand_computation() -> None:
    random = np.random.default_rng(0)
    logits, y, weights = random.normal(size=(6, 3)), random.integers(0, 3, 6), random.random(6)
    expected = -(weights * np.log(softmax(logits, axis=1)[np.arange(6), y])).sum() / 6
    targets = ClassTargets(torch.from_numpy(y), torch.from_numpy(weights).float())
    outputs = torch.from_numpy(logits)
    assert _head().loss([outputs[:4], outputs[4:]], targets).loss.item() == pytest.approx(expected, rel=1e-6)


def test_probabilities_are_the_softmax_at_the_temperature() -> None:
    head, logits = _head(), np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    head.calibrate([Calibration(0.5, 0.0)] * 3)
    probabilities = head.answer(torch.from_numpy(logits)).class_probabilities
    assert probabilities is not None
    np.testing.assert_allclose(probabilities, softmax(0.5 * logits, axis=1), rtol=1e-5)


def test_wrong_settings_are_explained() -> None:
    for target, expected in (
        ({}, "either from column"),
        ({"column": "view", "labels": ["a", "b"]}, "either from column"),
        ({"labels": ["a"]}, "two or more different labels"),
        ({"labels": ["a", "b"], "classes": ["b", "a"]}, "Leave classes out"),
        ({"column": "view", "classes": ["AP", "AP"]}, "names a class twice"),
    ):
        with pytest.raises(ValidationError, match=expected):
            MulticlassSettings.model_validate({"target": target})
    assert MulticlassSettings.model_validate({"target": {"labels": ["a", "b"]}}).titles == ("a", "b")
