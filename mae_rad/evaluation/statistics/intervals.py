"""What a number is worth: bootstrap over patients, and the spread of repeated pretrainings and label draws.

Patients are drawn with replacement and bring all their films (``data_prep.statistics.patient_bootstrap``); intervals
over films would be too narrow. Every estimate of one call uses the same resamples: differences between them are paired.

Where a method was pretrained several times, or labels were drawn several times, these vary too. Two or three of them
cannot be resampled without making intervals too narrow. So variances are added: that between runs, as it is seen on
these patients; and that over patients, less what patients vary from run to run, which is in the first already. Each
has its degrees of freedom (Satterthwaite 1946), and the interval is Student's.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from data_prep.statistics.patient_bootstrap import LEVEL, defined_samples, percentile_interval, resamples
from mae_rad.evaluation.statistics.metrics import Estimate, Floats

POWER = 0.8
"""With which a minimum detectable difference would be found."""


class Interval(NamedTuple):
    """An estimate with its confidence interval; the bounds are NaN where too few resamples hold every class."""

    value: float
    low: float
    high: float


def widened(found: Interval, patients: int) -> Interval:
    """``found``, at least as wide as patients who have all gone one way allow.

    Where every patient is answered alike no resample differs, and the bootstrap would be sure after five patients. Of
    ``patients`` without an exception up to 3 in ``patients`` may still be one (Hanley & Lippman-Hand 1983).

    Args:
        found: of a metric of which one patient moves at most 1 / ``patients``.
        patients: of the class that has the fewest.
    """
    if found.low != found.high or patients < 1:
        return found
    reach = min(1.0, 3 / patients)
    return Interval(found.value, found.low - reach, found.high + reach)


class Contrast(NamedTuple):
    """A difference: its interval, the p of no difference (two-sided), and the least that would be found; or NaN.

    ``freedom`` are the degrees of freedom of its standard error.
    """

    interval: Interval
    p_value: float
    detectable: float
    freedom: float = math.inf


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
        return Interval(value, *percentile_interval(samples))
    parts = [*_runs(sampled), *_part(sampled.values.mean(axis=0), sampled.samples.mean(axis=0))]
    return _student(value, *_error(samples, sampled.patients, parts))


def contrast(one: Sampled, other: Sampled, *, biased: bool = False) -> Contrast:
    """``one`` minus ``other``, paired by patient and by draw of labels."""
    per_draw = one.values.mean(axis=0) - other.values.mean(axis=0)
    value = float(per_draw.mean())
    samples = one.samples.mean(axis=(0, 1)) - other.samples.mean(axis=(0, 1))
    parts = [*_runs(one), *_runs(other), *_part(per_draw, one.samples.mean(axis=0) - other.samples.mean(axis=0))]
    error, freedom = _error(samples, one.patients, parts)
    found = _student(value, error, freedom) if parts or biased else Interval(value, *percentile_interval(samples))
    if not math.isfinite(found.low) or error == 0:
        same = math.isfinite(found.low) and value == 0
        return Contrast(found, 1.0 if same else math.nan, math.nan)
    p_value = 2 * float(student.sf(abs(value) / error, freedom))
    return Contrast(found, p_value, detectable_reach(freedom) * error, freedom)


def detectable_reach(freedom: float, tests: int = 1) -> float:
    """Standard errors of the least difference that is found with POWER among ``tests``, corrected for their number.

    The correction is Bonferroni's, with which Holm's begins: Holm's finds that or less.
    """
    return float(student.ppf(1 - (1 - LEVEL) / (2 * tests), freedom) + student.ppf(POWER, freedom))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm 1979): valid however the tests depend on each other."""
    order = np.argsort(p_values)
    stepped = np.array(p_values)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return [float(value) for value in adjusted]


class _Part(NamedTuple):
    """What units that vary (runs, draws) add to the variance of a mean over them.

    Attributes:
        variance: of the mean over the units, as they differ on these patients.
        freedom: its degrees of freedom.
        again: part of it that comes from the patients, whose resamples vary by it as well.
    """

    variance: float
    freedom: float
    again: float


def _runs(sampled: Sampled) -> list[_Part]:
    return _part(sampled.values.mean(axis=1), sampled.samples.mean(axis=1))


def _part(values: Floats, samples: Floats) -> list[_Part]:
    """Of units with ``values`` [n] and ``samples`` [n, repetitions]; none where there is but one."""
    count = len(values)
    defined = samples[:, np.isfinite(samples).all(axis=0)]
    if count == 1 or defined.shape[1] < 2:
        return []
    alone, mean = defined.var(axis=1, ddof=1).mean(), defined.mean(axis=0).var(ddof=1)
    return [_Part(float(values.var(ddof=1)) / count, count - 1, max(0.0, float(alone - mean) / (count - 1)))]


def _error(samples: Floats, patients: int, parts: Sequence[_Part]) -> tuple[float, float]:
    """Standard error over patients and all ``parts``, and its degrees of freedom; NaN where it is not known."""
    defined = defined_samples(samples)
    if not len(defined) or patients < 2:
        return math.nan, 1.0
    over_patients = max(0.0, float(defined.var(ddof=1)) - sum(part.again for part in parts))
    every = [(over_patients, patients - 1.0), *((part.variance, part.freedom) for part in parts)]
    total = sum(variance for variance, _ in every)
    squares = sum(variance**2 / freedom for variance, freedom in every)
    return math.sqrt(total), max(1.0, total**2 / squares) if squares else patients - 1.0


def _student(value: float, error: float, freedom: float) -> Interval:
    reach = float(student.ppf((1 + LEVEL) / 2, freedom)) * error
    return Interval(value, value - reach, value + reach)
