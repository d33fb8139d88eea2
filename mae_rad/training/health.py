"""What a person would notice who looks at the curves: a run that collapses, gradients that jump. Said in the log."""

import logging
import math
from collections import deque
from collections.abc import Mapping

COLLAPSED = 0.1
"""``feature_std`` below this: 1 is a spread over the whole sphere, 0 one vector for all films (Chen and He 2021)."""
JUMP = 10.0
"""A gradient norm so many times the median of the last readings."""

_REMEMBERED = 20

_log = logging.getLogger(__name__)


class Health:
    """Looks at each logged line; says what is wrong when it begins, and when it is over."""

    def __init__(self) -> None:
        self._gradients: deque[float] = deque(maxlen=_REMEMBERED)
        self._collapsed = False

    def look(self, step: int, values: Mapping[str, float]) -> None:
        """Warn of a collapse of the features, and of a jump of the gradient norm."""
        spread = values.get("feature_std", math.nan)
        if spread < COLLAPSED and not self._collapsed:
            _log.warning(
                "step %d: feature_std is %.3f, the encoder gives nearly one vector for all films: it has collapsed;"
                " lower optimizer.base_learning_rate, or give the objective a larger batch or stronger views",
                step,
                spread,
            )
        elif spread >= COLLAPSED and self._collapsed:
            _log.warning("step %d: feature_std is %.3f again", step, spread)
        self._collapsed = spread < COLLAPSED
        norm = values.get("gradient_norm", math.nan)
        if len(self._gradients) == _REMEMBERED and norm > JUMP * sorted(self._gradients)[_REMEMBERED // 2]:
            _log.warning("step %d: the gradient norm %.3g is more than %d times what it was", step, norm, JUMP)
        if math.isfinite(norm):
            self._gradients.append(norm)
