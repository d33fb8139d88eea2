"""How well labels are told: metrics with intervals over patients, at operating points, in all films and in parts.

Legend: N films, L labels, R weightings.
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
from mae_rad.evaluation.statistics.intervals import bootstrap, interval
from mae_rad.evaluation.statistics.metrics import Estimate, Floats, auroc, average_precision
from mae_rad.evaluation.statistics.thresholds import just_below
from mae_rad.heads.interface import Line

Flags = NDArray[np.bool_]
ALL = "all"
_BIASED = "calibration_error"
"""Larger on resamples, which hold films twice, than on the films."""


class LabelScores(NamedTuple):
    """Films of which one label is known for certain.

    Attributes:
        rows: [N] places in the index.
        logits: [N].
        present: [N].
        patients: [N] number of the patient.
    """

    rows: NDArray[np.int64]
    logits: Floats
    present: Flags
    patients: NDArray[np.int64]

    def among(self, chosen: Flags) -> "LabelScores":
        """Those of the films that are ``chosen`` [N]."""
        return LabelScores(self.rows[chosen], self.logits[chosen], self.present[chosen], self.patients[chosen])

    @property
    def both(self) -> bool:
        """Whether there are present and absent ones."""
        return bool(self.present.any() and not self.present.all())


class Subgroup(NamedTuple):
    """What a figure is about, and how its interval is found."""

    label: str
    split: str
    subset: str = ALL
    repetitions: int = 1000
    seed: int = 0


class Result(NamedTuple):
    """One figure; the bounds are NaN where patients are too few."""

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
    n_present: int

    @property
    def figure(self) -> str:
        """Value and interval in words."""
        if np.isnan(self.value):
            return "undefined"
        return f"{self.value:.3f}" + (f" [{self.low:.3f}, {self.high:.3f}]" if np.isfinite(self.low) else "")


def threshold_for(sensitivity: float, probability: Floats, present: Flags) -> float:
    """The highest threshold from which on at least ``sensitivity`` of the present films are found.

    A hair below the last of them, which so is found wherever it is scored again.
    """
    found = np.sort(probability[present])[::-1]
    return just_below(float(found[max(1, int(np.ceil(sensitivity * len(found) - 1e-9))) - 1]), probability)


def score_results(asked: LabelScores, line: Line, about: Subgroup) -> list[Result]:
    """AUROC and average precision; of all films also log-loss, Brier score and calibration error, and these before
    calibration.
    """
    if not asked.both:
        return []
    present = asked.present
    estimates: dict[str, Estimate] = {
        "auroc": partial(auroc, present, asked.logits),
        "average_precision": partial(average_precision, present, asked.logits),
    }
    for name, one in (("", line), ("_uncalibrated", Line())) if about.subset == ALL else ():
        told = probabilities(asked.logits, one)
        estimates |= {
            f"log_loss{name}": partial(log_loss, one.slope * asked.logits + one.offset, present),
            f"brier{name}": partial(_mean, (told - present) ** 2),
            f"calibration_error{name}": partial(calibration_error, told, present),
        }
    return _results(asked, estimates, about)


def decision_results(asked: LabelScores, line: Line, points: Mapping[str, float], about: Subgroup) -> list[Result]:
    """Sensitivity, specificity and predictive values at thresholds that were chosen elsewhere."""
    results: list[Result] = []
    told = probabilities(asked.logits, line)
    for name, threshold in points.items() if len(asked.rows) else ():
        called = told >= threshold
        right = called == asked.present
        estimates: dict[str, Estimate] = {
            "sensitivity": partial(_share, right, asked.present),
            "specificity": partial(_share, right, ~asked.present),
            "positive_predictive_value": partial(_share, right, called),
            "negative_predictive_value": partial(_share, right, ~called),
        }
        results += _results(asked, estimates, about, name)
    return results


def write_results(results: Sequence[Result], path: Path) -> None:
    """Write a Parquet table, one row per figure."""
    columns = {name: [getattr(one, name) for one in results] for name in Result._fields}
    write_parquet(pa.table(columns), path)


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write ``table`` into ``path``, in one step."""
    with atomic_file(path) as file:
        pq.write_table(table, file)


def _results(asked: LabelScores, estimates: Mapping[str, Estimate], about: Subgroup, point: str = "") -> list[Result]:
    single = {name: [estimate] for name, estimate in estimates.items()}
    drawn = bootstrap(asked.patients, single, repetitions=about.repetitions, seed=about.seed)
    counts = len(asked.present), len(np.unique(asked.patients)), int(asked.present.sum())
    results = []
    for name in estimates:
        value, low, high = interval(drawn[name], biased=name.startswith(_BIASED))
        results.append(Result(*about[:3], name, point, value, max(low, 0.0), high, *counts))
    return results


def _mean(values: Floats, weights: Floats) -> Floats:
    return np.asarray((weights @ values) / weights.sum(axis=1))


def _share(right: Flags, among: Flags, weights: Floats) -> Floats:
    of = weights @ among.astype(np.float64)
    share = np.full(len(of), np.nan)
    np.divide(weights @ (right & among).astype(np.float64), of, out=share, where=of > 0)
    return share
