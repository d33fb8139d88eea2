"""Confidence intervals: bootstrap over patients, with the variance of repeated pretrainings and label draws.

Patients are drawn with replacement, with all their films (``data_prep.statistics.patient_bootstrap``); intervals over
films would be too narrow. All estimates of one call use the same resamples, so their differences are paired.

If a method was pretrained several times, or labels were drawn several times, these vary too. Two or three runs cannot
be resampled without too narrow intervals, so variances are added: the variance between runs, measured on these
patients, and the variance over patients, minus the variation of patients between runs, which the first term contains.
Each has its degrees of freedom (Satterthwaite 1946), and the interval is Student's.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from data_prep.statistics.patient_bootstrap import LEVEL, percentile_interval, resamples, select_defined_samples
from mae_rad.evaluation.statistics.metrics import Estimate, Floats

POWER = 0.8
"""Probability that a true difference as large as the minimum detectable difference is found."""


class Interval(NamedTuple):
    """An estimate with its confidence interval; the bounds are NaN for one patient, whose resamples are all the same,
    and if too few resamples contain every class.
    """

    value: float
    low: float
    high: float


def with_rule_of_three(estimate: Interval, patients: int) -> Interval:
    """Widen an interval of length zero by the rule of three.

    If all patients have the same result, no resample differs and the bootstrap interval has length zero, even with five
    patients. With no exception among n patients, the rate of exceptions may still be up to 3 / n (Hanley &
    Lippman-Hand 1983).

    Args:
        estimate: interval of a metric that one patient changes by at most 1 / ``patients``.
        patients: number of patients of the class with the fewest.
    """
    if estimate.low != estimate.high or patients < 1:
        return estimate
    half_width = min(1.0, 3 / patients)
    return Interval(estimate.value, estimate.low - half_width, estimate.high + half_width)


def honest_interval(estimate: Interval, patients: int, *, lowest: float = 0.0, highest: float = 1.0) -> Interval:
    """Widen an interval of length zero (:func:`with_rule_of_three`) and cut it to the range of the metric.

    A metric without bounds is not widened: one patient may change it by any amount.

    Args:
        estimate: interval of a metric.
        patients: number of patients of the class with the fewest.
        lowest: lowest value of the metric.
        highest: highest value.
    """
    if math.isfinite(lowest) and math.isfinite(highest):
        estimate = with_rule_of_three(estimate, patients)
    if not math.isfinite(estimate.low):
        return estimate
    return estimate._replace(low=max(estimate.low, lowest), high=min(estimate.high, highest))


def fewest_patients(patients: NDArray[np.int64], classes: NDArray[Any]) -> int:
    """Count the patients of the class that has the fewest.

    Args:
        patients: [N] number of the patient of each film.
        classes: [N] class of each film.
    """
    return min((len(np.unique(patients[classes == name])) for name in np.unique(classes)), default=0)


class Contrast(NamedTuple):
    """A difference of two estimates; values that are not defined are NaN.

    Attributes:
        interval: difference with its interval.
        p_value: two-sided p-value of no difference.
        detectable: minimum detectable difference.
        freedom: degrees of freedom of the standard error.
    """

    interval: Interval
    p_value: float
    detectable: float
    freedom: float = math.inf


class BootstrapSamples(NamedTuple):
    """A metric of several runs of one method, with its bootstrap resamples.

    Attributes:
        values: [runs, draws] values on the films themselves.
        samples: [runs, draws, repetitions] values on the resamples of the patients, NaN where undefined.
        patients: number of patients.
    """

    values: Floats
    samples: Floats
    patients: int


def bootstrap(
    patients: NDArray[np.int64], estimates: Mapping[str, Sequence[Estimate]], *, repetitions: int, seed: int
) -> dict[str, BootstrapSamples]:
    """Evaluate ``estimates`` on the films and on ``repetitions`` resamples of their patients.

    Args:
        patients: [N] number of the patient of each film.
        estimates: name → functions of weights [R, N], one per draw of labels.
        repetitions: number of resamples.
        seed: seed of the resamples.

    Returns:
        Name → values and resampled values.
    """
    ones = np.ones((1, len(patients)))
    blocks: dict[str, list[Floats]] = {name: [] for name in estimates}
    for weights in resamples(patients, repetitions=repetitions, seed=seed):
        for name, draws in estimates.items():
            blocks[name].append(np.stack([estimate(weights) for estimate in draws]))
    count = len(np.unique(patients))
    return {
        name: BootstrapSamples(
            np.array([[float(estimate(ones)[0]) for estimate in draws]]),
            np.concatenate(blocks[name], axis=1)[None],
            count,
        )
        for name, draws in estimates.items()
    }


def pool_runs(runs: Sequence[BootstrapSamples]) -> BootstrapSamples:
    """Pool the runs of one method."""
    return BootstrapSamples(
        np.concatenate([run.values for run in runs]), np.concatenate([run.samples for run in runs]), runs[0].patients
    )


def interval(sampled: BootstrapSamples, *, biased: bool = False) -> Interval:
    """Compute the confidence interval of the mean over runs and draws.

    Args:
        sampled: metric of one method.
        biased: the metric is larger on resamples than on the films, because resamples repeat films; the interval then
            uses only the standard error.
    """
    value, samples = float(sampled.values.mean()), sampled.samples.mean(axis=(0, 1))
    if sampled.values.size == 1 and not biased:
        return _percentiles(value, samples, sampled.patients)
    parts = [*_runs(sampled), *_part(sampled.values.mean(axis=0), sampled.samples.mean(axis=0))]
    return _student(value, *_error(samples, sampled.patients, parts))


def contrast(first: BootstrapSamples, second: BootstrapSamples, *, biased: bool = False) -> Contrast:
    """Compute the difference ``first`` minus ``second``, paired by patient and by draw of labels.

    Args:
        first: metric of one method.
        second: metric of the reference.
        biased: see :func:`interval`.
    """
    per_draw = first.values.mean(axis=0) - second.values.mean(axis=0)
    value = float(per_draw.mean())
    samples = first.samples.mean(axis=(0, 1)) - second.samples.mean(axis=(0, 1))
    parts = [*_runs(first), *_runs(second), *_part(per_draw, first.samples.mean(axis=0) - second.samples.mean(axis=0))]
    error, freedom = _error(samples, first.patients, parts)
    is_student = bool(parts) or biased
    estimate = _student(value, error, freedom) if is_student else _percentiles(value, samples, first.patients)
    if not math.isfinite(estimate.low) or error == 0:
        same = math.isfinite(estimate.low) and value == 0
        return Contrast(estimate, 1.0 if same else math.nan, math.nan)
    p_value = 2 * float(student.sf(abs(value) / error, freedom))
    return Contrast(estimate, p_value, detectable_reach(freedom) * error, freedom)


def detectable_reach(freedom: float, tests: int = 1) -> float:
    """Return the minimum detectable difference in standard errors, with probability POWER and corrected for ``tests``.

    The correction is Bonferroni's, the strictest step of Holm's: Holm's detects this difference or a smaller one.

    Args:
        freedom: degrees of freedom of the standard error.
        tests: number of tests.
    """
    return float(student.ppf(1 - (1 - LEVEL) / (2 * tests), freedom) + student.ppf(POWER, freedom))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number (Holm 1979); valid for any dependence between the tests."""
    order = np.argsort(p_values)
    stepped = np.array(p_values)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return [float(value) for value in adjusted]


class _Part(NamedTuple):
    """Variance of a mean over units that vary: runs, or draws of labels.

    Attributes:
        variance: variance of the mean over the units, measured on these patients.
        freedom: its degrees of freedom.
        patient_variance: the part that comes from the patients, which the variance over resamples contains too.
    """

    variance: float
    freedom: float
    patient_variance: float


def _runs(sampled: BootstrapSamples) -> list[_Part]:
    return _part(sampled.values.mean(axis=1), sampled.samples.mean(axis=1))


def _part(values: Floats, samples: Floats) -> list[_Part]:
    """Compute the variance of units with ``values`` [n] and ``samples`` [n, repetitions]; empty for a single unit."""
    count = len(values)
    defined = samples[:, np.isfinite(samples).all(axis=0)]
    if count == 1 or defined.shape[1] < 2:
        return []
    alone, mean = defined.var(axis=1, ddof=1).mean(), defined.mean(axis=0).var(ddof=1)
    return [_Part(float(values.var(ddof=1)) / count, count - 1, max(0.0, float(alone - mean) / (count - 1)))]


def _error(samples: Floats, patients: int, parts: Sequence[_Part]) -> tuple[float, float]:
    """Compute the standard error over patients and ``parts``, and its degrees of freedom; NaN if undefined."""
    defined = select_defined_samples(samples)
    if not len(defined) or patients < 2:
        return math.nan, 1.0
    over_patients = max(0.0, float(defined.var(ddof=1)) - sum(part.patient_variance for part in parts))
    components = [(over_patients, patients - 1.0), *((part.variance, part.freedom) for part in parts)]
    total = sum(variance for variance, _ in components)
    squares = sum(variance**2 / freedom for variance, freedom in components)
    return math.sqrt(total), max(1.0, total**2 / squares) if squares else patients - 1.0


def _percentiles(value: float, samples: Floats, patients: int) -> Interval:
    return Interval(value, *(percentile_interval(samples) if patients > 1 else (math.nan, math.nan)))


def _student(value: float, error: float, freedom: float) -> Interval:
    half_width = float(student.ppf((1 + LEVEL) / 2, freedom)) * error
    return Interval(value, value - half_width, value + half_width)
