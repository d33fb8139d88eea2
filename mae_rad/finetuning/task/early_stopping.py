"""Early stopping: a finetuning ends when a metric on val has not improved for a number of validations.

Prechelt, Early stopping - but when?, 1998: the third class of rules, with a smallest improvement.
"""

import math
from collections.abc import Iterable

from pydantic import Field

from data_prep.settings import Settings

_LOWER_IS_BETTER = ("loss", "log_loss", "calibration_error", "standardised_error", "mean_absolute_error")


class EarlyStoppingSettings(Settings):
    """When a finetuning ends before its last step."""

    metric: str
    """Metric on val, as in metrics.jsonl without ``val/``, such as auroc or auroc/LABEL. It selects the best weights,
    too, in place of that of the task."""
    patience: int = Field(ge=1)
    """Validations in a row (every ``evaluation.every`` steps) without an improvement, after which the training ends."""
    min_delta: float = Field(default=0.0, ge=0)
    """Smallest change that counts as an improvement."""

    @property
    def text(self) -> str:
        """The rule in words, for cards."""
        least = f" by more than {self.min_delta:g}" if self.min_delta else ""
        return f"{self.metric} on val not better{least} in {self.patience} validations"


def is_lower_better(metric: str) -> bool:
    """Whether a metric of a validation improves as it falls: a loss or an error.

    Args:
        metric: name, with or without ``val/`` and the label.
    """
    return metric.removeprefix("val/").partition("/")[0] in _LOWER_IS_BETTER


def as_score(metric: str, value: float) -> float:
    """Return a value that is higher for better weights.

    Args:
        metric: name of the metric.
        value: its value.
    """
    return -value if is_lower_better(metric) else value


def is_out_of_patience(scores: Iterable[float], settings: EarlyStoppingSettings) -> bool:
    """Whether the training ends after these validations.

    Args:
        scores: of all validations in order, higher is better; one that is not known (NaN) is no improvement.
        settings: the rule.
    """
    best, waited = -math.inf, 0
    for score in scores:
        if score > best + settings.min_delta:
            best, waited = score, 0
        else:
            waited += 1
    return waited >= settings.patience
