"""The schedule reaches the peak of its rule, and the linear rule is that of earlier releases."""

import math

import pytest

from mae_rad.training.learning_rate import learning_rate, peak_rate
from mae_rad.training.settings import OptimizerSettings


@pytest.mark.parametrize(("rule", "peak"), [("linear", 4e-3), ("square_root", 8e-3 * math.sqrt(0.5)), ("none", 8e-3)])
def test_a_rule_gives_the_peak_at_another_batch(rule: str, peak: float) -> None:
    settings = OptimizerSettings(steps=100, batch=128, base_learning_rate=8e-3, rate_rule=rule, warmup_fraction=0.1)
    rates = [learning_rate(step, settings) for step in range(100)]
    assert peak_rate(settings) == max(rates) == pytest.approx(peak)
    assert rates[:10] == pytest.approx([peak * (step + 1) / 10 for step in range(10)])
    assert rates[55] == pytest.approx(peak / 2)  # halfway of the cosine


def test_the_rule_of_earlier_releases_is_the_default_bit_for_bit() -> None:
    for base, batch in ((1.5e-4, 2048), (8e-3, 32), (1.1e-3, 96)):
        settings = OptimizerSettings(steps=10, batch=batch, base_learning_rate=base, warmup_fraction=0)
        assert learning_rate(0, settings) == base * batch / 256
