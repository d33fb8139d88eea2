"""What a reader of the page must know before believing its numbers."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mae_rad.export.predictor_card import PredictorCard
from mae_rad.finetuning.results.learning_curves import Logged
from mae_rad.finetuning.results.metrics_table import ALL, Result

FEW_PATIENTS = 30
"""Test patients of an answer below which intervals are said to be wide."""
_LATE_SHARE = 0.9
"""Share of the steps after which the best weights suggest a longer training."""


def run_warnings(
    card: PredictorCard,
    results: Sequence[Result],
    at_chance: Mapping[str, str],
    logged: Logged,
    settings: Mapping[str, Any],
) -> list[str]:
    """List the warnings of a run, the most important first.

    Args:
        card: of its predictor.
        results: all metrics of the final evaluation.
        at_chance: answer → why it is not shown to be better than chance.
        logged: step and metrics of each logged line.
        settings: of the run.

    Returns:
        One or two sentences each.
    """
    return [
        *(f"{answer} is not shown to be better than chance: {why}." for answer, why in at_chance.items()),
        *_too_few(card, results),
        *_missed_points(results),
        *_early_end(card, logged, settings),
    ]


def _too_few(card: PredictorCard, results: Sequence[Result]) -> Iterator[str]:
    if not card.provenance.get("test_films"):
        yield (
            "There are no test films. All figures are of val, on which weights, calibration and thresholds were chosen,"
            " and are too good."
        )
        return
    smallest = min((r.n_patients for r in results if (r.split, r.subset) == ("test", ALL)), default=0)
    if smallest < FEW_PATIENTS:
        yield f"Only {smallest} test patients: the intervals are wide, and other patients may give other figures."


def _missed_points(results: Sequence[Result]) -> Iterator[str]:
    """Operating points whose sensitivity on test is below the one that was chosen on val."""
    for result in results:
        wanted = result.operating_point.removeprefix("sensitivity_")
        is_sensitivity = (result.split, result.subset, result.metric) == ("test", ALL, "sensitivity")
        if is_sensitivity and np.isfinite(result.high) and 100 * result.high < float(wanted):
            yield (
                f"{result.label}: the threshold for {wanted} % sensitivity on val has {result.figure} on test films."
                " Choose thresholds on films like those of use."
            )


def _early_end(card: PredictorCard, logged: Logged, settings: Mapping[str, Any]) -> Iterator[str]:
    steps, best = settings["optimizer"]["steps"], int(card.provenance.get("best_step") or 0)
    validations = sum(any(name.startswith("val/") for name in values) for _, values in logged)
    if best >= _LATE_SHARE * steps and validations > 1 and "stopped_early" not in card.provenance:
        yield (
            f"The best weights are those of step {best:,} of {steps:,}: a longer training (optimizer.steps) may be"
            " better."
        )
