"""What a number is worth: bootstrap over patients, and the spread of repeated pretrainings and label draws.

Films of one patient resemble each other, so patients are drawn with replacement and bring all their films (Efron &
Tibshirani 1993, ch. 13; clusters: Field & Welsh 2007); intervals over films would be too narrow. Every estimate of one
call sees the same resamples: differences between them are paired.

Where a method was pretrained several times, or labels were drawn several times, these vary too. Two or three of them
cannot be resampled without making intervals too narrow; their variances are added to that over patients, with as many
degrees of freedom as they have (Satterthwaite 1946), and the interval is Student's.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from mae_rad.evaluation.metrics import Estimate, Floats

LEVEL = 0.95
POWER = 0.8
"""With which a minimum detectable difference would be found."""
_BLOCK = 4_000_000
"""Weights held at once (32 MB)."""
_LEAST_DEFINED = 0.8
"""Fraction of the resamples in which a metric must be defined (every class drawn) for its interval to be given."""


class Interval(NamedTuple):
    """An estimate with its confidence interval; the bounds are NaN where too few resamples hold every class."""

    value: float
    low: float
    high: float


class Contrast(NamedTuple):
    """A difference: its interval, the p of no difference (two-sided), and the least that would be found; or NaN."""

    interval: Interval
    p_value: float
    detectable: float


class Sampled(NamedTuple):
    """A metric of several runs of one method.

    Attributes:
        values: [runs, draws] on the films themselves.
        samples: [runs, draws, repetitions] on the resamples of the patients, NaN where undefined.
        patients: number of patients.
    """

    values: Floats
    samples: Floats
    patients: int


def bootstrap(
    patients: NDArray[np.int64], estimates: Mapping[str, Sequence[Estimate]], *, repetitions: int, seed: int
) -> dict[str, Sampled]:
    """Evaluate ``estimates`` on the films and on ``repetitions`` resamples of their patients.

    Args:
        patients: [N] number of the patient of each film.
        estimates: name → functions of weights [R, N], one per draw of labels.
    """
    ones = np.ones((1, len(patients)))
    blocks: dict[str, list[Floats]] = {name: [] for name in estimates}
    for weights in resamples(patients, repetitions=repetitions, seed=seed):
        for name, draws in estimates.items():
            blocks[name].append(np.stack([estimate(weights) for estimate in draws]))
    count = len(np.unique(patients))
    return {
        name: Sampled(
            np.array([[float(estimate(ones)[0]) for estimate in draws]]),
            np.concatenate(blocks[name], axis=1)[None],
            count,
        )
        for name, draws in estimates.items()
    }


def together(runs: Sequence[Sampled]) -> Sampled:
    """Runs of one method as one."""
    return Sampled(
        np.concatenate([run.values for run in runs]), np.concatenate([run.samples for run in runs]), runs[0].patients
    )


def interval(sampled: Sampled, *, biased: bool = False) -> Interval:
    """Of the mean over runs and draws.

    Args:
        sampled: one method.
        biased: the metric is larger on resamples than on the films (they hold films twice): then only their spread
            counts.
    """
    value, samples = float(sampled.values.mean()), sampled.samples.mean(axis=(0, 1))
    if sampled.values.size == 1 and not biased:
        return percentile_interval(value, samples)
    error, freedom = _error(samples, sampled.patients, _own_parts(sampled))
    return _clipped(_student(value, error, freedom))


def contrast(one: Sampled, other: Sampled, *, biased: bool = False) -> Contrast:
    """``one`` minus ``other``, paired by patient and by draw of labels."""
    per_draw = one.values.mean(axis=0) - other.values.mean(axis=0)
    value = float(per_draw.mean())
    samples = one.samples.mean(axis=(0, 1)) - other.samples.mean(axis=(0, 1))
    parts = [*_run_parts(one), *_run_parts(other), *_part(per_draw)]
    error, freedom = _error(samples, one.patients, parts)
    found = _student(value, error, freedom) if parts or biased else percentile_interval(value, samples)
    if not math.isfinite(found.low) or error == 0:
        same = math.isfinite(found.low) and value == 0
        return Contrast(found, 1.0 if same else math.nan, math.nan)
    p_value = 2 * float(student.sf(abs(value) / error, freedom))
    reach = float(student.ppf((1 + LEVEL) / 2, freedom) + student.ppf(POWER, freedom))
    return Contrast(found, p_value, reach * error)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm 1979): valid however the tests depend on each other."""
    order = np.argsort(p_values)
    stepped = np.array(p_values)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return [float(value) for value in adjusted]


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


_Part = tuple[float, float]
"""A variance and its degrees of freedom."""


def _own_parts(sampled: Sampled) -> list[_Part]:
    return [*_run_parts(sampled), *_part(sampled.values.mean(axis=0))]


def _run_parts(sampled: Sampled) -> list[_Part]:
    return _part(sampled.values.mean(axis=1))


def _part(values: Floats) -> list[_Part]:
    """Variance of the mean of ``values``; none where there is but one."""
    return [(float(values.var(ddof=1)) / len(values), len(values) - 1)] if len(values) > 1 else []


def _error(samples: Floats, patients: int, parts: Sequence[_Part]) -> _Part:
    """Standard error over patients and all ``parts``, and its degrees of freedom; NaN where it is not known."""
    defined = samples[np.isfinite(samples)]
    if len(defined) < _LEAST_DEFINED * len(samples) or patients < 2:
        return math.nan, 1
    every = [(float(defined.var(ddof=1)), patients - 1), *parts]
    total = sum(variance for variance, _ in every)
    squares = sum(variance**2 / freedom for variance, freedom in every)
    return math.sqrt(total), max(1.0, total**2 / squares) if squares else patients - 1


def _student(value: float, error: float, freedom: float) -> Interval:
    reach = float(student.ppf((1 + LEVEL) / 2, freedom)) * error
    return Interval(value, value - reach, value + reach)


def _clipped(found: Interval) -> Interval:
    """Every metric here is at most 1."""
    return found._replace(high=min(found.high, 1.0))
