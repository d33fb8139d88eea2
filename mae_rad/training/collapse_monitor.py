"""Warn early of a training that goes wrong, from the metrics of its logged steps, with what to do.

Six quantities are watched: loss, gradient norm, attention logits, spread of the features, spread of the projections
(of methods that log it: they may collapse while the features do not), and effective rank. The thresholds come from
masked autoencoders at batch 128 (ViT-Ti, T = 64, films of hands) with a peak learning rate of 5e-4, which learned, and
of 4e-3, which did not. In the warm-up of the healthy run the spread fell from 0.29 to 0.04 and the effective rank from
8 to 2, and both rose again afterwards: there, small values are no fault. In the other run the spread fell to 0.01
within ten steps and stayed there.
"""

import logging
import math
from collections import deque
from collections.abc import Iterable, Mapping
from statistics import median

MIN_FEATURE_STD = 0.1
"""Smallest ``feature_std`` without a warning after the warm-up: 1 is a uniform spread over the sphere, 0 one vector for
all films (Chen and He 2021)."""
EARLY_FEATURE_STD = 0.02
"""Smallest ``feature_std`` without a warning at any time, unless it was as small at first: 0.037 or more in the warm-up
of the healthy run, 0.009 in the other one."""
EARLY_SPREAD_LOSS = 12.0
"""Ratio of the largest to the present ``feature_std`` that goes with it: 8 in the healthy run, 30 in the other one."""
HIGH_LOGIT = 100.0
"""Attention logit from which its growth is reported: 14 in the healthy run, 500 in the other one. Published trainings
diverged only at 1e4 and more (Dehghani et al. 2023, figure 1; Wortsman et al. 2023, figure 1), but a softmax over such
logits already is one token."""
MIN_LOGIT_GROWTH = 3.0
"""Ratio to the first logit that is growth: an encoder that starts from published weights may have large logits."""
MAX_LOGIT = 1000.0
"""Attention logit that is always reported: bf16 has a spacing of 4 to 8 there, so rounding decides a softmax over such
logits."""
MAX_GRADIENT_RATIO = 10.0
"""Gradient norm, relative to the median of the last logged ones, that is a jump."""
MIN_LOSS_GAIN = 0.2
"""Decrease of the loss, relative to its start, half of which may not be lost again."""
MAX_STANDSTILL_RATIO = 0.98
"""Loss after three times the warm-up, relative to that of the warm-up, from which it stands still."""
MAX_RANK_LOSS = 2.0
"""Ratio of the highest to the present effective rank without a warning."""
RANK_AFTER_WARMUPS = 4
"""Multiple of the warm-up after which the effective rank is checked: in the healthy run it exceeded that of the initial
weights after the first and before the second length of the warm-up."""

_HISTORY = 20
"""Logged gradient norms that are kept, and readings after the warm-up in which an encoder has to spread."""
_IN_A_ROW = 3
"""Readings in a row that make a fault of the spread; 2 of the effective rank, which is read less often."""
_LOSSES = 5
"""Readings whose median is the loss."""
_LOWER_RATE = "Lower optimizer.base_learning_rate"

_log = logging.getLogger(__name__)


class CollapseMonitor:
    """Check each logged line; warn when a fault begins, and report when it ends.

    Args:
        warmup_steps: optimiser steps with a rising learning rate, in which a small spread is no fault.
    """

    def __init__(self, warmup_steps: int = 0) -> None:
        self._watches = (
            _Spread("feature_std", "vector: the encoder", warmup_steps),
            _Spread("projection_std", "projection: the projection head", warmup_steps),
            _Logits(),
            _Gradient(),
            _Loss(warmup_steps),
            _Rank(warmup_steps),
        )

    def check(self, step: int, values: Mapping[str, float]) -> None:
        """Log what the metrics of a step say.

        Args:
            step: optimiser steps taken.
            values: metric → value; those that are missing or not finite are not checked.
        """
        for level, message in self._read(step, values):
            _log.log(level, "step %d: %s", step, message)

    def replay(self, lines: Iterable[tuple[int, Mapping[str, float]]]) -> None:
        """Take in the lines of a run that is resumed, without logging what was logged before.

        Args:
            lines: step and metrics of each line, in order.
        """
        for step, values in lines:
            self._read(step, values)

    def _read(self, step: int, values: Mapping[str, float]) -> list[tuple[int, str]]:
        return [
            message
            for watch in self._watches
            if math.isfinite(value := values.get(watch.metric, math.nan))
            for message in watch.read(step, value)
        ]


class _Spread:
    """A fault is a spread that stays small after the warm-up, or nearly vanishes at any time."""

    def __init__(self, metric: str, collapsed: str, warmup_steps: int) -> None:
        self.metric, self._collapsed = metric, collapsed
        self._warmup_steps = warmup_steps
        self._largest = 0.0
        self._low = self._lost = 0
        self._has_spread = self._is_collapsed = False

    def read(self, step: int, spread: float) -> list[tuple[int, str]]:
        self._largest = max(self._largest, spread)
        is_low = spread < MIN_FEATURE_STD
        has_vanished = spread < min(EARLY_FEATURE_STD, self._largest / EARLY_SPREAD_LOSS)
        self._lost = self._lost + 1 if has_vanished else 0
        if step > self._warmup_steps:
            self._low = self._low + 1 if is_low else 0
            self._has_spread = self._has_spread or not is_low
        # an untrained encoder has a small spread, too
        patience = _IN_A_ROW if self._has_spread else _HISTORY
        is_past_start = step >= 2 * self._warmup_steps
        is_fault = self._lost >= _IN_A_ROW or (self._low >= patience and is_past_start)
        messages = []
        if is_fault and not self._is_collapsed:
            self._is_collapsed = True
            text = (
                f"{self.metric} is {spread:.3f}, all films have nearly the same {self._collapsed} has collapsed."
                f" {_LOWER_RATE}, or give the objective a larger batch or stronger views."
            )
            messages.append((logging.WARNING, text))
        elif self._is_collapsed and not is_low:
            self._is_collapsed = False
            messages.append((logging.INFO, f"{self.metric} is {spread:.3f} again"))
        return messages


class _Logits:
    """A fault is a logit that has grown above 100; a second warning follows above 1,000."""

    metric = "attention_logit_max"

    def __init__(self) -> None:
        self._first: float | None = None
        self._reported = 0

    def read(self, step: int, logit: float) -> list[tuple[int, str]]:
        del step
        self._first = logit if self._first is None else self._first
        has_grown = logit > HIGH_LOGIT and logit > MIN_LOGIT_GROWTH * self._first
        level = 2 if logit > MAX_LOGIT else 1 if has_grown else 0
        if level <= self._reported:
            return []
        self._reported = level
        effect = (
            "attention falls on single tokens, and training may diverge"
            if level == 2
            else f"{self._first:.3g} at first; attention is saturating, and the encoder may become useless while the"
            " loss falls further"
        )
        return [(logging.WARNING, f"the largest attention logit is {logit:.3g}: {effect}. {_LOWER_RATE}.")]


class _Gradient:
    """A fault is a jump relative to the last norms."""

    metric = "gradient_norm"

    def __init__(self) -> None:
        self._norms: deque[float] = deque(maxlen=_HISTORY)

    def read(self, step: int, norm: float) -> list[tuple[int, str]]:
        del step
        usual = median(self._norms) if len(self._norms) == _HISTORY else math.inf
        self._norms.append(norm)
        if norm <= MAX_GRADIENT_RATIO * usual:
            return []
        text = (
            f"the gradient norm {norm:.3g} is more than {MAX_GRADIENT_RATIO:.0f} times the median of the last ones."
            f" If this recurs: {_LOWER_RATE}, or set optimizer.clip_norm."
        )
        return [(logging.WARNING, text)]


class _Loss:
    """A fault is a loss that has lost half of its decrease, or has not fallen since the warm-up."""

    metric = "loss"

    def __init__(self, warmup_steps: int) -> None:
        self._warmup_steps = warmup_steps
        self._first: list[float] = []
        self._last: deque[float] = deque(maxlen=2 * _LOSSES)
        self._in_warmup: list[float] = []
        self._after_warmup = 0
        self._best = math.inf
        self._is_rising = False
        self._has_moved = False

    def read(self, step: int, loss: float) -> list[tuple[int, str]]:
        if len(self._first) < _LOSSES:
            self._first.append(loss)
        if self._warmup_steps / 2 < step <= self._warmup_steps:
            self._in_warmup.append(loss)
        self._after_warmup += step > self._warmup_steps
        self._last.append(loss)
        if len(self._last) < self._last.maxlen:  # type: ignore[operator]
            return []
        return [(logging.WARNING, text) for text in (self._rise(), self._standstill(step)) if text]

    def _rise(self) -> str | None:
        start, now = median(self._first), median(list(self._last)[-_LOSSES:])
        self._best = min(self._best, now)
        gain = start - self._best
        has_gained = gain > MIN_LOSS_GAIN * abs(start)
        limit = self._best + gain / 2 if has_gained else start + abs(start)
        was_rising, self._is_rising = self._is_rising, now > limit
        if was_rising or not self._is_rising:
            return None
        return (
            f"the loss has risen to {now:.3g}, from {start:.3g} at first and {self._best:.3g} at best. {_LOWER_RATE},"
            " and resume from an earlier checkpoint or start again."
        )

    def _standstill(self, step: int) -> str | None:
        if self._has_moved or step < 3 * self._warmup_steps or self._after_warmup < _HISTORY:
            return None
        self._has_moved = True  # checked once
        before, now = median(self._in_warmup if len(self._in_warmup) > 2 else self._first), median(self._last)
        if now <= MAX_STANDSTILL_RATIO * before or before <= 0:
            return None
        return (
            f"the loss is {now:.3g}, and was {before:.3g} in the warm-up: nothing is learned. {_LOWER_RATE}; if it is"
            " low already, raise it."
        )


class _Rank:
    """A fault is an effective rank that stays below that of the initial weights, or falls to half of the highest."""

    metric = "probe/rankme"

    def __init__(self, warmup_steps: int) -> None:
        self._warmup_steps = warmup_steps
        self._initial = self._highest = 0.0
        self._low = 0
        self._is_low = False

    def read(self, step: int, rank: float) -> list[tuple[int, str]]:
        if step == 0:
            self._initial = rank
            return []
        if step < RANK_AFTER_WARMUPS * self._warmup_steps:
            return []
        self._highest = max(self._highest, rank)
        self._low = self._low + 1 if rank < max(self._initial, self._highest / MAX_RANK_LOSS) else 0
        was_low, self._is_low = self._is_low, self._low >= _IN_A_ROW - 1
        if was_low and not self._is_low:
            return [(logging.INFO, f"the effective rank is {rank:.3g} again")]
        if was_low or not self._is_low:
            return []
        text = (
            f"the effective rank of val films is {rank:.3g}, of the initial weights {self._initial:.3g}, at best"
            f" {self._highest:.3g}: the vectors use few directions, whatever the loss says. {_LOWER_RATE}."
        )
        return [(logging.WARNING, text)]
