"""A training that goes wrong is reported early and once; one that learns is not reported."""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping

import pytest

from mae_rad.training.collapse_monitor import CollapseMonitor

Line = tuple[int, Mapping[str, float]]


def _curve(points: Mapping[int, float], step: int) -> float:
    """Piecewise linear in the logarithm, between ``points`` (step → value)."""
    steps = sorted(points)
    after = next((one for one in steps if one >= step), steps[-1])
    before = next((one for one in reversed(steps) if one <= step), steps[0])
    share = (step - before) / max(1, after - before)
    return math.exp((1 - share) * math.log(points[before]) + share * math.log(points[after]))


def _healthy(every: int) -> Iterator[Line]:
    """A masked autoencoder that learns, with 200 of 4,000 steps of warm-up and a plateau of the loss in it."""
    loss = {1: 1.9, 20: 1.2, 60: 0.97, 100: 0.94, 200: 0.84, 400: 0.73, 4000: 0.5}
    spread = {1: 0.29, 40: 0.09, 80: 0.04, 100: 0.12, 200: 0.24, 400: 0.5, 4000: 0.8}
    norm = {1: 4.0, 20: 1.3, 80: 0.085, 140: 0.4, 400: 0.7, 4000: 0.5}
    logit = {1: 2.1, 100: 3.0, 200: 8.5, 400: 13.0, 4000: 14.0}
    rank = {1: 8.0, 80: 2.0, 200: 7.6, 400: 22.0, 4000: 57.0}
    yield 0, {"probe/rankme": 8.3}
    for step in range(every, 4001, every):
        noise = 1 + 0.1 * math.sin(step)
        yield (
            step,
            {
                "loss": _curve(loss, step) * (1 + 0.02 * math.sin(step)),
                "feature_std": _curve(spread, step) * noise,
                "gradient_norm": _curve(norm, step) * (1 + 0.4 * math.sin(3 * step)),
                "attention_logit_max": _curve(logit, step) * noise,
            },
        )
        if step % 50 == 0:
            yield step, {"probe/rankme": _curve(rank, step)}


def _messages(lines: Iterable[Line], caplog: pytest.LogCaptureFixture, warmup_steps: int = 0) -> list[str]:
    caplog.clear()
    caplog.set_level(logging.INFO)
    monitor = CollapseMonitor(warmup_steps)
    for step, values in lines:
        monitor.check(step, values)
    return [record.getMessage() for record in caplog.records]


def _series(name: str, values: Iterable[float]) -> Iterator[Line]:
    return ((step, {name: value}) for step, value in enumerate(values, start=1))


@pytest.mark.parametrize("every", [2, 5, 10, 20, 50])
def test_a_run_that_learns_is_silent_also_in_its_warm_up(every: int, caplog: pytest.LogCaptureFixture) -> None:
    assert _messages(_healthy(every), caplog, warmup_steps=200) == []


def test_a_spread_that_vanishes_is_reported_in_the_warm_up(caplog: pytest.LogCaptureFixture) -> None:
    """As in a masked autoencoder with eight times the rate: 0.23, then 0.01 from the tenth step on."""
    spread = {1: 0.23, 6: 0.02, 10: 0.009, 60: 0.009}
    lines = ((step, {"feature_std": _curve(spread, step)}) for step in (1, *range(2, 61, 2)))
    messages = _messages(lines, caplog, warmup_steps=50)
    assert len(messages) == 1
    assert int(messages[0].split(":")[0].removeprefix("step ")) <= 12
    assert "Lower optimizer.base_learning_rate" in messages[0]


def test_a_collapse_is_reported_at_its_begin_and_end(caplog: pytest.LogCaptureFixture) -> None:
    messages = _messages(_series("feature_std", [0.9, 0.05, 0.06, 0.05, 0.04, 0.4, 0.5]), caplog)
    assert len(messages) == 2
    assert messages[0].startswith("step 4: feature_std is 0.050")
    assert "collapsed" in messages[0]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert messages[1] == "step 6: feature_std is 0.400 again"


def test_one_batch_of_similar_films_is_no_collapse(caplog: pytest.LogCaptureFixture) -> None:
    assert _messages(_series("feature_std", [0.9, 0.8, 0.05, 0.06, 0.8, 0.05, 0.9]), caplog) == []


def test_an_untrained_encoder_is_no_collapse_but_one_that_never_spreads_is(caplog: pytest.LogCaptureFixture) -> None:
    assert _messages(_series("feature_std", [0.02] * 19), caplog) == []
    messages = _messages(_series("feature_std", [0.02] * 40), caplog)
    assert [message.split(":")[0] for message in messages] == ["step 20"]


def test_a_jump_of_the_gradient_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    norms = [1.0 + 0.1 * (step % 3) for step in range(30)]
    assert _messages(_series("gradient_norm", norms), caplog) == []
    messages = _messages(_series("gradient_norm", [*norms, 50.0]), caplog)
    assert len(messages) == 1 and messages[0].startswith("step 31: the gradient norm 50")


def test_missing_and_infinite_values_are_not_checked(caplog: pytest.LogCaptureFixture) -> None:
    assert _messages([(1, {"gradient_norm": math.nan, "loss": math.inf}), (2, {}), (3, {"other": 1.0})], caplog) == []


def test_attention_that_saturates_is_reported_long_before_its_rounding_decides(
    caplog: pytest.LogCaptureFixture,
) -> None:
    growth = [2.0 * 1.1**step for step in range(80)]  # 2 to 3,700
    messages = _messages(_series("attention_logit_max", growth), caplog)
    crossings = [1 + math.ceil(math.log(limit / 2, 1.1)) for limit in (100, 1000)]
    assert [message.split(":")[0] for message in messages] == [f"step {step}" for step in crossings]
    assert "saturating" in messages[0] and "diverge" in messages[1]


def test_large_logits_of_published_weights_are_not_reported_unless_they_grow(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert _messages(_series("attention_logit_max", [150.0, 160.0, 155.0, 300.0]), caplog) == []
    assert len(_messages(_series("attention_logit_max", [150.0, 160.0, 500.0, 510.0]), caplog)) == 1


def test_a_loss_that_explodes_is_reported_once_and_a_single_bad_batch_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    falling = [1.0 * 0.97**step for step in range(40)]  # to 0.3
    assert _messages(_series("loss", [*falling, 5.0, *falling[-5:]]), caplog) == []
    messages = _messages(_series("loss", [*falling, *[0.9] * 10]), caplog)
    assert len(messages) == 1 and "the loss has risen to 0.9" in messages[0]
    never_fell = [*[0.7] * 12, *[3.0] * 10]
    assert any("the loss has risen to 3" in message for message in _messages(_series("loss", never_fell), caplog))


def test_a_loss_that_stands_still_is_reported_once_after_the_warm_up(caplog: pytest.LogCaptureFixture) -> None:
    still = [5.54 + 0.01 * math.sin(step) for step in range(200)]
    messages = _messages(_series("loss", still), caplog, warmup_steps=20)
    assert len(messages) == 1 and messages[0].startswith("step 60: the loss is 5.54, and was 5.54")
    slow = [5.54 * 0.999**step for step in range(200)]
    assert _messages(_series("loss", slow), caplog, warmup_steps=20) == []


def test_an_effective_rank_below_that_of_the_initial_weights_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    def ranks(*values: float) -> Iterator[Line]:
        return ((100 * number, {"probe/rankme": value}) for number, value in enumerate(values))

    assert _messages(ranks(14, 3, 3, 3, 30, 57, 57), caplog, warmup_steps=100) == []
    low = _messages(ranks(14, 3, 3, 3, 12, 12, 12, 12), caplog, warmup_steps=100)
    assert len(low) == 1 and low[0].startswith("step 500: the effective rank of val films is 12, of the initial")
    fallen = _messages(ranks(14, 20, 30, 40, 57, 27, 26, 50), caplog, warmup_steps=100)
    assert [message.split(":")[0] for message in fallen] == ["step 600", "step 700"]
    assert "again" in fallen[1]


@pytest.mark.parametrize("stop", [3, 25, 60])
def test_a_resumed_run_warns_as_an_uninterrupted_one(stop: int, caplog: pytest.LogCaptureFixture) -> None:
    lines: list[Line] = [(0, {"probe/rankme": 20.0})]
    lines += [
        (step, {"loss": 1.0, "attention_logit_max": 3.0 * step, "feature_std": 0.3 / step, "probe/rankme": 10.0})
        for step in range(1, 80)
    ]
    whole = _messages(lines, caplog, warmup_steps=10)
    assert len(whole) == 4
    caplog.clear()
    resumed = CollapseMonitor(10)
    resumed.replay(lines[:stop])
    assert caplog.records == []
    for step, values in lines[stop:]:
        resumed.check(step, values)
    later = [message for message in whole if int(message.split(":")[0].removeprefix("step ")) >= lines[stop][0]]
    assert [record.getMessage() for record in caplog.records] == later
