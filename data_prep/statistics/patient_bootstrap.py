"""Cluster bootstrap over patients: a resample draws patients with all their films, which are not independent.

Efron & Tibshirani 1993, ch. 13; clusters: Field & Welsh 2007.

Legend: N films, P patients, R resamples.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVEL = 0.95
"""Confidence level of all intervals."""
MIN_DEFINED = 0.8
"""Share of the resamples in which a statistic must be defined, else its interval is NaN."""
_BLOCK_WEIGHTS = 4_000_000
"""Number of weights in memory at a time (32 MB)."""


def resamples(patients: NDArray[np.int64], *, repetitions: int, seed: int) -> Iterator[Floats]:
    """Draw patients with replacement, as many as there are; equal seeds give equal draws.

    Args:
        patients: [N] int, patient of each film.
        repetitions: number of resamples, R.
        seed: of the draws.

    Yields:
        [r, N] float, number of times that the patient of each film is drawn; the blocks have R rows together.
    """
    random = np.random.default_rng(seed)
    unique_patients, patient_of_film = np.unique(patients, return_inverse=True)
    block = max(1, _BLOCK_WEIGHTS // len(patients))
    for start in range(0, repetitions, block):
        drawn = random.integers(len(unique_patients), size=(min(block, repetitions - start), len(unique_patients)))
        counts = np.stack([np.bincount(row, minlength=len(unique_patients)) for row in drawn], axis=1).astype(
            np.float64
        )
        yield counts[patient_of_film].T  # the weights of a film are contiguous: metrics sort films


def select_defined_samples(samples: Floats) -> Floats:
    """Select the defined values of a statistic.

    Args:
        samples: [R] float, NaN where undefined.

    Returns:
        Finite values; none if their share is below MIN_DEFINED.
    """
    defined = samples[np.isfinite(samples)]
    return defined if len(defined) >= MIN_DEFINED * len(samples) else defined[:0]


def percentile_interval(samples: Floats) -> tuple[float, float]:
    """Compute the percentile interval of a statistic.

    Args:
        samples: [R] float, its values in the resamples; NaN where undefined.

    Returns:
        (low, high) at the confidence LEVEL; NaN if too few values are defined.
    """
    defined = select_defined_samples(samples)
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
