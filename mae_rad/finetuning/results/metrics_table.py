"""Metrics with bootstrap intervals over patients, of classifications at operating points and in subgroups too.

Legend: N films, R bootstrap weightings.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data_prep.runtime.atomic_write import atomic_file
from mae_rad.evaluation.statistics.calibration import calibration_error, log_loss, probabilities
from mae_rad.evaluation.statistics.intervals import bootstrap, fewest_patients, honest_interval, interval
from mae_rad.evaluation.statistics.metrics import Estimate, Floats, auroc, average_precision
from mae_rad.evaluation.statistics.thresholds import just_below
from mae_rad.heads.interface import Calibration

BoolArray = NDArray[np.bool_]
ALL = "all"
_UNBOUNDED_METRIC = "log_loss"
"""Prefix of metrics that have no highest value."""
_BIASED_METRIC = "calibration_error"
"""Prefix of metrics that are larger on resamples, which repeat films, than on the films."""


class LabelScores(NamedTuple):
    """Scores of the films for which one label is known to be present or absent.

    Attributes:
        rows: [N] int64 rows of the index.
        logits: [N] float64.
        present: [N] bool, the truth.
        patients: [N] int64 number of the patient.
    """

    rows: NDArray[np.int64]
    logits: Floats
    present: BoolArray
    patients: NDArray[np.int64]

    def select(self, chosen: BoolArray) -> "LabelScores":
        """Scores of the films that are ``chosen`` ([N] bool)."""
        return LabelScores(self.rows[chosen], self.logits[chosen], self.present[chosen], self.patients[chosen])

    @property
    def has_both_classes(self) -> bool:
        """Whether there are present and absent films."""
        return bool(self.present.any() and not self.present.all())


class Subgroup(NamedTuple):
    """The films of a metric, and the bootstrap of its interval.

    Attributes:
        label: name.
        split: name.
        subset: ``column=value``, or ``all``.
        repetitions: number of bootstrap resamples.
        seed: of the resamples.
    """

    label: str
    split: str
    subset: str = ALL
    repetitions: int = 1000
    seed: int = 0


class Result(NamedTuple):
    """A metric with its 95 % interval; the bounds are NaN where patients are too few.

    ``n_present`` is None for a metric that is not of one label or class.
    """

    label: str
    split: str
    subset: str
    metric: str
    operating_point: str
    value: float
    low: float
    high: float
    n_films: int
    n_patients: int
    n_present: int | None

    @property
    def figure(self) -> str:
        """Value and interval as text."""
        if np.isnan(self.value):
            return "undefined"
        return f"{self.value:.3f}" + (f" [{self.low:.3f}, {self.high:.3f}]" if np.isfinite(self.low) else "")


_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("label", "split", "subset", "metric", "operating_point")]
    + [(name, pa.float64()) for name in ("value", "low", "high")]
    + [(name, pa.int64()) for name in ("n_films", "n_patients", "n_present")]
)
"""Columns of ``results.parquet``."""


def threshold_for(sensitivity: float, probability: Floats, present: BoolArray) -> float:
    """Choose the highest threshold with at least the given sensitivity.

    Args:
        sensitivity: share of the present films with a score from the threshold on, in (0, 1].
        probability: [N] scores.
        present: [N] bool.

    Returns:
        A threshold slightly below the score of a film, so that rounding does not change the decision for this film.
    """
    descending = np.sort(probability[present])[::-1]
    return just_below(float(descending[max(1, int(np.ceil(sensitivity * len(descending) - 1e-9))) - 1]), probability)


def score_results(scores: LabelScores, line: Calibration, subgroup: Subgroup) -> list[Result]:
    """Compute metrics that need no threshold.

    Args:
        scores: of one label.
        line: its calibration.
        subgroup: the films that these are.

    Returns:
        AUROC and average precision; of all films also log-loss, Brier score and calibration error, with and without
        calibration. Empty for films of one class.
    """
    if not scores.has_both_classes:
        return []
    present = scores.present
    estimates: dict[str, Estimate] = {
        "auroc": partial(auroc, present, scores.logits),
        "average_precision": partial(average_precision, present, scores.logits),
    }
    for name, calibration in (("", line), ("_uncalibrated", Calibration())) if subgroup.subset == ALL else ():
        probability = probabilities(scores.logits, calibration)
        estimates |= {
            f"log_loss{name}": partial(log_loss, calibration.slope * scores.logits + calibration.offset, present),
            f"brier{name}": partial(_mean, (probability - present) ** 2),
            f"calibration_error{name}": partial(calibration_error, probability, present),
        }
    fewest = dict.fromkeys(("auroc", "average_precision"), fewest_patients(scores.patients, present))
    return _results(scores, estimates, subgroup, fewest)


def decision_results(
    scores: LabelScores, line: Calibration, points: Mapping[str, float], subgroup: Subgroup
) -> list[Result]:
    """Compute sensitivity, specificity and predictive values.

    Args:
        scores: of one label.
        line: its calibration.
        points: operating point → threshold on the calibrated probability.
        subgroup: the films that these are.

    Returns:
        Four metrics per operating point; empty without films.
    """
    results: list[Result] = []
    probability = probabilities(scores.logits, line)
    for name, threshold in points.items() if len(scores.rows) else ():
        positive = probability >= threshold
        correct = positive == scores.present
        films = {
            "sensitivity": scores.present,
            "specificity": ~scores.present,
            "positive_predictive_value": positive,
            "negative_predictive_value": ~positive,
        }
        estimates: dict[str, Estimate] = {metric: partial(_share, correct, of) for metric, of in films.items()}
        fewest = {metric: len(np.unique(scores.patients[of])) for metric, of in films.items()}
        results += _results(scores, estimates, subgroup, fewest, name)
    return results


def bootstrap_results(
    patients: NDArray[np.int64],
    estimates: Mapping[str, Estimate],
    subgroup: Subgroup,
    *,
    present: int | None = None,
    fewest: Mapping[str, int] | None = None,
    lowest: float = 0.0,
    highest: float = 1.0,
    operating_point: str = "",
) -> list[Result]:
    """Compute metrics and their intervals on the same resamples of the patients.

    Args:
        patients: [N] number of the patient of each film.
        estimates: metric → function of the weights of the films.
        subgroup: the films that these are.
        present: number of films with the label or of the class, where the metrics are of one.
        fewest: metric → number of patients of the class with the fewest (default: all patients). An interval of length
            zero is widened by it, see :func:`with_rule_of_three`.
        lowest: bound of the metrics; a lower end of an interval below it is raised to it.
        highest: bound of the metrics but the log-loss, likewise.
        operating_point: name of the threshold of the metrics, if they have one.

    Returns:
        A result per metric.
    """
    estimate_lists = {name: [estimate] for name, estimate in estimates.items()}
    resampled = bootstrap(patients, estimate_lists, repetitions=subgroup.repetitions, seed=subgroup.seed)
    counts = len(patients), len(np.unique(patients)), present
    results = []
    for name in estimates:
        estimate = honest_interval(
            interval(resampled[name], biased=name.startswith(_BIASED_METRIC)),
            (fewest or {}).get(name, counts[1]),
            lowest=lowest,
            highest=np.inf if name.startswith(_UNBOUNDED_METRIC) else highest,
        )
        results.append(Result(*subgroup[:3], name, operating_point, *estimate, *counts))
    return results


def write_results(results: Sequence[Result], path: Path) -> None:
    """Write a Parquet table with one row per metric.

    Args:
        results: metrics.
        path: of the file.
    """
    columns = {name: [getattr(result, name) for result in results] for name in Result._fields}
    write_parquet(pa.table(columns, _SCHEMA), path)


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write a Parquet file atomically.

    Args:
        table: to write.
        path: of the file.
    """
    with atomic_file(path) as file:
        pq.write_table(table, file)


def _results(
    scores: LabelScores,
    estimates: Mapping[str, Estimate],
    subgroup: Subgroup,
    fewest: Mapping[str, int],
    operating_point: str = "",
) -> list[Result]:
    present = int(scores.present.sum())
    return bootstrap_results(
        scores.patients, estimates, subgroup, present=present, fewest=fewest, operating_point=operating_point
    )


def _mean(values: Floats, weights: Floats) -> Floats:
    return np.asarray((weights @ values) / weights.sum(axis=1))


def _share(correct: BoolArray, select: BoolArray, weights: Floats) -> Floats:
    of = weights @ select.astype(np.float64)
    share = np.full(len(of), np.nan)
    np.divide(weights @ (correct & select).astype(np.float64), of, out=share, where=of > 0)
    return share
