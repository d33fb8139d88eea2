"""How far readers agree: kappa of Cohen and of Fleiss, and boxes of one object, with intervals over patients.

Cohen, "A coefficient of agreement for nominal scales", 1960. Fleiss, "Measuring nominal scale agreement among many
raters", 1971; here with any number of readers per film from two up, each film weighing the same.

Legend: F films, P patients, C categories, R resamples.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_prep.statistics.patient_bootstrap import Floats, percentile_interval, resamples

CATEGORIES = ("absent", "present", "uncertain")


class Resampling(NamedTuple):
    """How often and with which seed patients are drawn for an interval."""

    repetitions: int
    seed: int


class Agreement(NamedTuple):
    """A statistic with its interval; the bounds are NaN where too few resamples define it."""

    observed: float
    estimate: float
    low: float
    high: float


def cohen(
    first: NDArray[np.int64], second: NDArray[np.int64], patients: NDArray[np.int64], resampling: Resampling
) -> Agreement:
    """Kappa of two readers.

    Args:
        first, second: [F] category of each film.
        patients: [F] number of its patient.
    """
    C = len(CATEGORIES)
    pairs = np.eye(C * C)[first * C + second]
    observed = float(np.mean(first == second))
    return Agreement(
        observed, *_with_interval(pairs, lambda sums: cohen_kappa(sums.reshape(-1, C, C)), patients, resampling)
    )


def fleiss(votes: Floats, patients: NDArray[np.int64], resampling: Resampling) -> Agreement:
    """Kappa of several readers.

    Args:
        votes: [F, C] how many readers chose each category; two or more per film.
        patients: [F] number of its patient.
    """
    readers = votes.sum(axis=1)
    agree = (votes * (votes - 1)).sum(axis=1) / (readers * (readers - 1))
    parts = np.column_stack([agree, votes / readers[:, None], np.ones(len(votes))])
    found = _with_interval(
        parts, lambda sums: fleiss_kappa(sums[:, 0], sums[:, 1:-1], sums[:, -1]), patients, resampling
    )
    return Agreement(float(agree.mean()), *found)


def shared_boxes(
    counts: NDArray[np.int64], overlap: Floats, patients: NDArray[np.int64], resampling: Resampling
) -> Agreement:
    """Share of the boxes that have a partner.

    Args:
        counts: [F, 2] boxes that have a partner, and all boxes, of both readers.
        overlap: intersections over union of the pairs.
        patients: [F] number of the patient.
    """

    def share(sums: Floats) -> Floats:
        return _ratio(sums[:, 0], sums[:, 1])

    observed = float(overlap.mean()) if len(overlap) else float("nan")
    return Agreement(observed, *_with_interval(counts.astype(np.float64), share, patients, resampling))


def cohen_kappa(table: Floats) -> Floats:
    """[…, C, C] films by what each of two readers chose → kappa; NaN where chance alone agrees always."""
    films = table.sum(axis=(-2, -1))
    observed = _ratio(np.trace(table, axis1=-2, axis2=-1), films)
    chance = _ratio((table.sum(axis=-1) * table.sum(axis=-2)).sum(axis=-1), films**2)
    return _ratio(observed - chance, 1 - chance)


def fleiss_kappa(agree: Floats, shares: Floats, films: Floats) -> Floats:
    """Sums over films of agreeing pairs […] and of shares of categories […, C], and how many films […] → kappa."""
    chance = (_ratio(shares, films[..., None]) ** 2).sum(axis=-1)
    return _ratio(_ratio(agree, films) - chance, 1 - chance)


def _with_interval(
    parts: Floats, statistic: Callable[[Floats], Floats], patients: NDArray[np.int64], resampling: Resampling
) -> tuple[float, float, float]:
    """``statistic`` of the sums of ``parts`` [F, …] over all films, and its interval over resampled patients."""
    of_film = np.unique(patients, return_inverse=True)[1]
    count = int(of_film.max()) + 1
    by_patient = np.zeros((count, parts.shape[1]))
    np.add.at(by_patient, of_film, parts)
    value = float(statistic(by_patient.sum(axis=0, keepdims=True))[0])
    sums = [weights @ by_patient for block in resamples(np.arange(count), **resampling._asdict()) for weights in block]
    return value, *percentile_interval(statistic(np.stack(sums)))


def _ratio(above: Floats, below: Floats) -> Floats:
    above, below = np.broadcast_arrays(above, below)
    ratio: Floats = np.divide(above, below, out=np.full(above.shape, np.nan), where=np.abs(below) > 1e-12)
    return ratio
