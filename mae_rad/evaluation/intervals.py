"""Percentile bootstrap over patients (Efron & Tibshirani 1993, ch. 13; clusters: Field & Welsh 2007).

Films of one patient resemble each other, so patients are drawn with replacement and bring all their films;
intervals over films would be too narrow. Every estimate of one call sees the same resamples: differences between them
are paired. What is resampled is the test set only: encoder and probe stay as they are.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mae_rad.evaluation.metrics import Estimate, Floats

LEVEL = 0.95
_BLOCK = 4_000_000
"""Weights held at once (32 MB)."""
_LEAST_DEFINED = 0.8
"""Fraction of the resamples in which a metric must be defined (every class drawn) for its interval to be given."""


class Interval(NamedTuple):
    """An estimate with its confidence interval; the bounds are NaN where too few resamples hold every class."""

    value: float
    low: float
    high: float


class Bootstrap(NamedTuple):
    """Estimates on the films themselves and on the resamples.

    Attributes:
        values: name → estimate.
        samples: name → [repetitions], NaN where undefined; the same resamples for every name.
    """

    values: dict[str, float]
    samples: dict[str, Floats]

    def interval(self, name: str) -> Interval:
        """Estimate and interval of ``name``."""
        return percentile_interval(self.values[name], self.samples[name])

    def difference(self, name: str, references: list[str]) -> Interval:
        """``name`` minus the mean of ``references``, paired by resample."""
        value = self.values[name] - float(np.mean([self.values[reference] for reference in references]))
        samples = self.samples[name] - np.mean([self.samples[reference] for reference in references], axis=0)
        return percentile_interval(value, samples)


def bootstrap(
    patients: NDArray[np.int64], estimates: Mapping[str, Estimate], *, repetitions: int, seed: int
) -> Bootstrap:
    """Evaluate ``estimates`` on the films and on ``repetitions`` resamples of their patients.

    Args:
        patients: [N] number of the patient of each film.
        estimates: name → function of weights [R, N].
    """
    ones = np.ones((1, len(patients)))
    values = {name: float(estimate(ones)[0]) for name, estimate in estimates.items()}
    parts: dict[str, list[Floats]] = {name: [] for name in estimates}
    for weights in resamples(patients, repetitions=repetitions, seed=seed):
        for name, estimate in estimates.items():
            parts[name].append(estimate(weights))
    return Bootstrap(values, {name: np.concatenate(part) for name, part in parts.items()})


def resamples(patients: NDArray[np.int64], *, repetitions: int, seed: int) -> Iterator[Floats]:
    """Weights [r, N] in blocks that add up to ``repetitions`` rows: how often the patient of each film was drawn."""
    random = np.random.default_rng(seed)
    names, of_film = np.unique(patients, return_inverse=True)
    block = max(1, _BLOCK // len(patients))
    for start in range(0, repetitions, block):
        drawn = random.integers(len(names), size=(min(block, repetitions - start), len(names)))
        counts = np.stack([np.bincount(row, minlength=len(names)) for row in drawn]).astype(np.float64)
        yield counts[:, of_film]


def percentile_interval(value: float, samples: Floats) -> Interval:
    """The middle 95 % of ``samples`` [repetitions] that are defined."""
    defined = samples[np.isfinite(samples)]
    if len(defined) < _LEAST_DEFINED * len(samples):
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))
