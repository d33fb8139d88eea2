"""The schedule reaches the peak of its rule, and the linear rule is that of earlier releases."""

import math

import pytest

from mae_rad.training.learning_rate import learning_rate
from mae_rad.training.settings import OptimizerSettings


@pytest.mark.parametrize(("rule", "peak"), [("linear", 4e-3), ("square_root", 8e-3 * math.sqrt(0.5)), ("none", 8e-3)])
def test_a_rule_gives_the_peak_at_another_batch(rule: str, peak: float) -> None:
    settings = OptimizerSettings(steps=100, batch=128, base_learning_rate=8e-3, rate_rule=rule, warmup_fraction=0.1)
    rates = [learning_rate(step, settings) for step in range(100)]
    assert settings.peak_rate == max(rates) == pytest.approx(peak)
    assert rates[:10] == pytest.approx([peak * (step + 1) / 10 for step in range(10)])
    assert rates[55] == pytest.approx(peak / 2)  # halfway of the cosine


def test_the_rule_of_earlier_releases_is_the_default_bit_for_bit() -> None:
    for base, batch in ((1.5e-4, 2048), (8e-3, 32), (1.1e-3, 96)):
        settings = OptimizerSettings(steps=10, batch=batch, base_learning_rate=base, warmup_fraction=0)
        assert learning_rate(0, settings) == base * batch / 256


def test_the_rate_falls_to_its_floor() -> None:
    settings = OptimizerSettings(
        steps=1000, batch=64, base_learning_rate=3e-5, rate_rule="none", warmup_fraction=0.1, min_learning_rate=1e-6
    )
    rates = [learning_rate(step, settings) for step in range(1000)]
    assert max(rates) == 3e-5
    assert min(rates[100:]) == rates[-1] == pytest.approx(1e-6, rel=1e-3)
    assert rates[550] == pytest.approx((3e-5 + 1e-6) / 2)  # halfway of the cosine
    assert "min_learning_rate" not in settings.off
    assert "min_learning_rate" in OptimizerSettings(steps=1, batch=1).off


def test_a_floor_above_the_peak_is_refused() -> None:
    with pytest.raises(ValueError, match=r"min_learning_rate 0\.01 is above the peak 0\.0005"):
        OptimizerSettings(steps=10, batch=128, base_learning_rate=1e-3, min_learning_rate=0.01)
