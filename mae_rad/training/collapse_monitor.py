"""Warns of what the curves of a run show: features that collapse, attention logits that grow, gradients that jump."""

import logging
import math
from collections import deque
from collections.abc import Mapping

COLLAPSED = 0.1
"""``feature_std`` below this: 1 is a spread over the whole sphere, 0 one vector for all films (Chen and He 2021)."""
LOGIT = 1000.0
"""Largest attention logit that is no alarm: bf16 tells logits of this size apart by 4 to 8, so that a softmax over them
is one token or another by chance. Dehghani et al. (2023, figure 1) saw trainings diverge with far larger ones."""
JUMP = 10.0
"""A gradient norm so many times the median of the last readings."""

_REMEMBERED = 20

_log = logging.getLogger(__name__)


class CollapseMonitor:
    """Checks each logged line; warns when a fault begins, and reports when it is over."""

    def __init__(self) -> None:
        self._gradients: deque[float] = deque(maxlen=_REMEMBERED)
        self._collapsed = self._risen = self._steep = False
        self._readings = 0

    def check(self, step: int, values: Mapping[str, float]) -> None:
        """Warn of a collapse of the features, and of a jump of the gradient norm."""
        spread = values.get("feature_std", math.nan)
        self._readings += 1
        self._risen = self._risen or spread >= COLLAPSED
        if not self._risen and self._readings < _REMEMBERED:  # an untrained encoder gives nearly one vector, too
            spread = math.nan
        if spread < COLLAPSED and not self._collapsed:
            _log.warning(
                "step %d: feature_std is %.3f, the encoder gives nearly one vector for all films: it has collapsed;"
                " lower optimizer.base_learning_rate, or give the objective a larger batch or stronger views",
                step,
                spread,
            )
        elif spread >= COLLAPSED and self._collapsed:
            _log.info("step %d: feature_std is %.3f again", step, spread)
        self._collapsed = spread < COLLAPSED
        logit = values.get("attention_logit_max", math.nan)
        if logit > LOGIT and not self._steep:
            _log.warning(
                "step %d: the largest attention logit is %.3g: attention falls on single tokens, and the training may"
                " diverge; lower optimizer.base_learning_rate",
                step,
                logit,
            )
        self._steep = logit > LOGIT
        norm = values.get("gradient_norm", math.nan)
        if len(self._gradients) == _REMEMBERED and norm > JUMP * sorted(self._gradients)[_REMEMBERED // 2]:
            _log.warning("step %d: the gradient norm %.3g is more than %d times what it was", step, norm, JUMP)
        if math.isfinite(norm):
            self._gradients.append(norm)
