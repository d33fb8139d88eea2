"""The peak learning rate of a run beside the peaks at which its objective was tried, reported before the first step."""

from typing import NamedTuple

from mae_rad.objectives.learning_rates import RateRange, rate_factor, tried_range
from mae_rad.pretraining.settings import PretrainSettings

_TOLERANCE = 1.01
"""Factor by which a peak may be outside of the range without a warning: settings are rounded."""


class RateReport(NamedTuple):
    """The peak learning rate of a run.

    Attributes:
        peak: highest learning rate of the schedule.
        range: peaks that count as tried at the batch of the run; None if the objective states none.
    """

    peak: float
    range: RateRange | None
    text: str
    """One paragraph for the log."""

    @property
    def is_outside(self) -> bool:
        """Whether the peak is outside of the tried range."""
        return self.range is not None and not (
            self.range.lowest / _TOLERANCE <= self.peak <= self.range.highest * _TOLERANCE
        )


def rate_report(settings: PretrainSettings) -> RateReport:
    """Compare the peak learning rate of a run with the trials of its objective.

    Args:
        settings: settings of the run.

    Returns:
        Peak and range; the text of a peak outside of the range states what to do. A run that starts from trained
        weights may have any lower peak.
    """
    optimizer = settings.optimizer
    peak, tried = optimizer.peak_rate, tried_range(settings.objective.tried_rates, optimizer.batch)
    text = (
        f"peak learning rate {peak:.2g} (optimizer.base_learning_rate={optimizer.base_learning_rate:g},"
        f" batch {optimizer.batch:,}, rule {optimizer.rate_rule})"
    )
    report = RateReport(peak, tried, text)
    if tried is None:
        return report._replace(text=f"{text}; {settings.objective.label.short} states no range in which it was tried")
    span = _span(tried.lowest, tried.highest)
    known = (
        f"at this batch: {span} ({tried.trial.where})"
        if tried.trial.batch == optimizer.batch
        else f"at batch {tried.trial.batch:,}: {_span(tried.trial.lowest, tried.trial.highest)}"
        f" ({tried.trial.where}), which is {span} at this batch by the linear or the square root rule"
    )
    if settings.start_from is not None and peak < tried.lowest:
        report = report._replace(range=tried._replace(lowest=peak))
        known += "; these began with random weights, and trained ones take lower rates"
    if not report.is_outside:
        return report._replace(text=f"{text}; tried {known}")
    return report._replace(text=f"{text} is {_advice(settings, tried, peak)} Tried {known}.")


def _advice(settings: PretrainSettings, tried: RateRange, peak: float) -> str:
    is_above = peak > tried.highest
    target = tried.highest if is_above else tried.lowest
    base = target / rate_factor(settings.optimizer.batch, settings.optimizer.rate_rule)
    trial = tried.trial
    if is_above:
        failed = f"; from {trial.failed:.2g} on at batch {trial.batch:,}, {trial.failure}" if trial.failed else ""
        effect = f"above the range in which {settings.objective.label.short} was tried{failed}"
    else:
        effect = f"below the range in which {settings.objective.label.short} was tried: it may learn slowly"
    return (
        f"{effect}. A base rate is not the same at another batch: for a peak of {target:.2g} set"
        f" optimizer.base_learning_rate={base:.2g}, or watch probe/rankme (runtime.probe_every), since the loss alone"
        " does not show it."
    )


def _span(lowest: float, highest: float) -> str:
    return f"{lowest:.2g}" if lowest == highest else f"{lowest:.2g} to {highest:.2g}"
