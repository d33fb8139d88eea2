"""A fault in the metrics of a run is reported once."""

import logging

import pytest

from mae_rad.training.collapse_monitor import CollapseMonitor


def test_a_collapse_is_reported_at_its_begin_and_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    monitor = CollapseMonitor()
    for step, spread in enumerate([0.9, 0.05, 0.02, 0.4, 0.5]):
        monitor.check(step, {"feature_std": spread, "gradient_norm": 1.0})
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert messages[0].startswith("step 1: feature_std is 0.050")
    assert "collapsed" in messages[0]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert messages[1] == "step 3: feature_std is 0.400 again"


def test_a_jump_of_the_gradient_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    monitor = CollapseMonitor()
    for step in range(30):
        monitor.check(step, {"gradient_norm": 1.0 + 0.1 * (step % 3)})
    assert not caplog.records
    monitor.check(30, {"gradient_norm": 50.0})
    assert "step 30: the gradient norm 50" in caplog.text


def test_an_objective_without_features_is_no_collapse(caplog: pytest.LogCaptureFixture) -> None:
    CollapseMonitor().check(1, {"loss": 1.0, "gradient_norm": float("nan")})
    assert not caplog.records


def test_an_untrained_encoder_is_no_collapse_but_one_that_never_spreads_is(caplog: pytest.LogCaptureFixture) -> None:
    monitor = CollapseMonitor()
    for step in range(10):
        monitor.check(step, {"feature_std": 0.02})
    assert not caplog.records
    for step in range(10, 30):
        monitor.check(step, {"feature_std": 0.02})
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["step 19"]


def test_a_large_attention_logit_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    monitor = CollapseMonitor()
    for step, logit in enumerate([12.0, 5000.0, 6000.0, 20.0]):
        monitor.check(step, {"attention_logit_max": logit})
    assert [record.getMessage().split(" is ")[0] for record in caplog.records] == [
        "step 1: the largest attention logit"
    ]
