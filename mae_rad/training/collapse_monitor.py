"""Warn of collapsed features, large attention logits and jumps of the gradient norm in the metrics of a run."""

import logging
import math
from collections import deque
from collections.abc import Mapping

MIN_FEATURE_STD = 0.1
"""Smallest ``feature_std`` without a warning: 1 is a uniform spread over the sphere, 0 one vector for all films (Chen
and He 2021)."""
MAX_LOGIT = 1000.0
"""Largest attention logit without a warning: bf16 has a spacing of 4 to 8 there, so rounding decides a softmax over
such logits. Trainings diverged with far larger ones (Dehghani et al. 2023, figure 1)."""
MAX_GRADIENT_RATIO = 10.0
"""Gradient norm, relative to the median of the last logged ones, that is a jump."""

_HISTORY = 20
"""Logged lines that are kept."""

_log = logging.getLogger(__name__)


class CollapseMonitor:
    """Check each logged line; warn when a fault begins, and report when it ends."""

    def __init__(self) -> None:
        self._gradients: deque[float] = deque(maxlen=_HISTORY)
        self._is_collapsed = self._has_spread = self._is_steep = False
        self._readings = 0

    def check(self, step: int, values: Mapping[str, float]) -> None:
        """Warn of faults in the metrics of a step.

        Args:
            step: optimiser steps taken.
            values: metric → value; those that are missing are not checked.
        """
        spread = values.get("feature_std", math.nan)
        self._readings += 1
        self._has_spread = self._has_spread or spread >= MIN_FEATURE_STD
        if not self._has_spread and self._readings < _HISTORY:  # an untrained encoder has a small spread, too
            spread = math.nan
        if spread < MIN_FEATURE_STD and not self._is_collapsed:
            _log.warning(
                "step %d: feature_std is %.3f, all films have nearly the same vector: the encoder has collapsed."
                " Lower optimizer.base_learning_rate, or give the objective a larger batch or stronger views.",
                step,
                spread,
            )
        elif spread >= MIN_FEATURE_STD and self._is_collapsed:
            _log.info("step %d: feature_std is %.3f again", step, spread)
        self._is_collapsed = spread < MIN_FEATURE_STD
        logit = values.get("attention_logit_max", math.nan)
        if logit > MAX_LOGIT and not self._is_steep:
            _log.warning(
                "step %d: the largest attention logit is %.3g: attention falls on single tokens, and training may"
                " diverge. Lower optimizer.base_learning_rate.",
                step,
                logit,
            )
        self._is_steep = logit > MAX_LOGIT
        norm = values.get("gradient_norm", math.nan)
        if len(self._gradients) == _HISTORY and norm > MAX_GRADIENT_RATIO * sorted(self._gradients)[_HISTORY // 2]:
            _log.warning(
                "step %d: the gradient norm %.3g is more than %d times the median of the last ones",
                step,
                norm,
                MAX_GRADIENT_RATIO,
            )
        if math.isfinite(norm):
            self._gradients.append(norm)
