"""Agreement of readers: Cohen's kappa, Fleiss' kappa, share of matched boxes; with intervals over patients.

Cohen, "A coefficient of agreement for nominal scales", 1960. Fleiss, "Measuring nominal scale agreement among many
raters", 1971; generalised to two or more readers per film, with equal weight for each film.

Legend: F films, P patients, C categories, R resamples.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_prep.statistics.patient_bootstrap import Floats, percentile_interval, resamples

CATEGORIES = ("absent", "present", "uncertain")


class Resampling(NamedTuple):
    """Parameters of the bootstrap.

    Attributes:
        repetitions: number of resamples.
        seed: of the draws.
    """

    repetitions: int
    seed: int


class Agreement(NamedTuple):
    """A statistic with its 95 % interval.

    Attributes:
        observed: observed agreement without correction for chance; of boxes the mean intersection over union.
        estimate: of the statistic; NaN where it is undefined.
        low, high: bounds; NaN where too few resamples define the statistic.
    """

    observed: float
    estimate: float
    low: float
    high: float


def cohen_agreement(
    first: NDArray[np.int64], second: NDArray[np.int64], patients: NDArray[np.int64], resampling: Resampling
) -> Agreement:
    """Compute Cohen's kappa of two readers.

    Args:
        first, second: [F] int, category of each film by each reader, 0 to C - 1.
        patients: [F] int, patient of each film.
        resampling: of the patients.

    Returns:
        Kappa with its interval.
    """
    C = len(CATEGORIES)
    pairs = np.eye(C * C)[first * C + second]
    observed = float(np.mean(first == second))
    return Agreement(
        observed, *_with_interval(pairs, lambda sums: cohen_kappa(sums.reshape(-1, C, C)), patients, resampling)
    )


def fleiss_agreement(votes: Floats, patients: NDArray[np.int64], resampling: Resampling) -> Agreement:
    """Compute Fleiss' kappa of several readers.

    Args:
        votes: [F, C] float, number of readers that chose each category; two or more per film.
        patients: [F] int, patient of each film.
        resampling: of the patients.

    Returns:
        Kappa with its interval.
    """
    readers = votes.sum(axis=1)
    agree = (votes * (votes - 1)).sum(axis=1) / (readers * (readers - 1))
    terms = np.column_stack([agree, votes / readers[:, None], np.ones(len(votes))])
    estimates = _with_interval(
        terms, lambda sums: fleiss_kappa(sums[:, 0], sums[:, 1:-1], sums[:, -1]), patients, resampling
    )
    return Agreement(float(agree.mean()), *estimates)


def box_agreement(
    counts: NDArray[np.int64], overlap: Floats, patients: NDArray[np.int64], resampling: Resampling
) -> Agreement:
    """Compute the share of boxes that match a box of the other reader.

    Args:
        counts: [F, 2] int, number of matched boxes and of all boxes of both readers.
        overlap: [pairs] float, intersection over union of the matched pairs, 0 to 1.
        patients: [F] int, patient of each film.
        resampling: of the patients.

    Returns:
        Share with its interval; ``observed`` is the mean overlap.
    """

    def share(sums: Floats) -> Floats:
        return _ratio(sums[:, 0], sums[:, 1])

    observed = float(overlap.mean()) if len(overlap) else float("nan")
    return Agreement(observed, *_with_interval(counts.astype(np.float64), share, patients, resampling))


def cohen_kappa(table: Floats) -> Floats:
    """Compute Cohen's kappa from tables of counts.

    Args:
        table: […, C, C] float, number of films by the categories of both readers.

    Returns:
        […] kappa; NaN where the agreement expected by chance is 1.
    """
    films = table.sum(axis=(-2, -1))
    observed = _ratio(np.trace(table, axis1=-2, axis2=-1), films)
    chance = _ratio((table.sum(axis=-1) * table.sum(axis=-2)).sum(axis=-1), films**2)
    return _ratio(observed - chance, 1 - chance)


def fleiss_kappa(agree: Floats, shares: Floats, films: Floats) -> Floats:
    """Compute Fleiss' kappa from sums over films.

    Args:
        agree: […] float, sum of the shares of agreeing pairs of readers.
        shares: […, C] float, sum of the shares of each category.
        films: […] float, number of films.

    Returns:
        […] kappa; NaN where the agreement expected by chance is 1.
    """
    chance = (_ratio(shares, films[..., None]) ** 2).sum(axis=-1)
    return _ratio(_ratio(agree, films) - chance, 1 - chance)


def _with_interval(
    terms: Floats, statistic: Callable[[Floats], Floats], patients: NDArray[np.int64], resampling: Resampling
) -> tuple[float, float, float]:
    """``statistic`` of the sums of ``terms`` [F, …] over all films, and its interval over resampled patients."""
    patient_of_film = np.unique(patients, return_inverse=True)[1]
    count = int(patient_of_film.max()) + 1
    by_patient = np.zeros((count, terms.shape[1]))
    np.add.at(by_patient, patient_of_film, terms)
    value = float(statistic(by_patient.sum(axis=0, keepdims=True))[0])
    sums = [weights @ by_patient for block in resamples(np.arange(count), **resampling._asdict()) for weights in block]
    return value, *percentile_interval(statistic(np.stack(sums)))


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    ratio: Floats = np.divide(
        numerator, denominator, out=np.full(numerator.shape, np.nan), where=np.abs(denominator) > 1e-12
    )
    return ratio
