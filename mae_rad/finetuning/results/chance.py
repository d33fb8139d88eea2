"""Is a model better than chance on its test films? Where its interval does not say so, a warning does."""

from collections.abc import Mapping, Sequence

import numpy as np

from mae_rad.finetuning.results.metrics_table import ALL, Result

METRICS = {
    "auroc": ("AUROC", 0.5),
    "macro_auroc": ("macro AUROC", 0.5),
    "film_auroc": ("AUROC of films", 0.5),
    "r2": ("R²", 0.0),
}
"""Metric → its name in a warning, and the value of a guess: of a score that knows nothing, or of the mean (R²)."""


def chance_warnings(results: Sequence[Result], titles: Sequence[str]) -> dict[str, str]:
    """Say of which answers the test films do not show that they are better than chance.

    Args:
        results: all metrics of the final evaluation.
        titles: what the model answers.

    Returns:
        Title → why, with the metric and its interval; a title whose interval lies above chance is not in it.
    """
    warnings = {title: _warning(_of_test(results, title)) for title in titles}
    return {title: text for title, text in warnings.items() if text}


def _of_test(results: Sequence[Result], title: str) -> Mapping[str, Result]:
    return {
        result.metric: result
        for result in results
        if (result.label, result.split, result.subset) == (title, "test", ALL)
    }


def _warning(of_test: Mapping[str, Result]) -> str:
    if not of_test:
        return "not measured on test films"
    measured = [of_test[name] for name in METRICS if name in of_test and np.isfinite(of_test[name].value)]
    if not measured:
        return "the test films give no AUROC or R², as where all of them have the finding"
    result = measured[0]
    name, chance = METRICS[result.metric]
    films = f"{name} {result.figure} on {result.n_films} test films"
    if not np.isfinite(result.low):
        return f"{films}: too few patients for an interval"
    if result.high < chance:
        return f"{films}: worse than chance ({chance:g})"
    return f"{films}: the interval includes chance ({chance:g})" if result.low <= chance else ""
