"""Bootstrap over patients: films of one patient resemble each other, so a resample draws patients with all their films.

Efron & Tibshirani 1993, ch. 13; clusters: Field & Welsh 2007. Imported by ``mae_rad``.

Legend: N films, P patients, R resamples.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVEL = 0.95
"""Confidence of all intervals."""
MIN_DEFINED = 0.8
"""Share of the resamples in which a statistic must be defined for its interval to be given."""
_BLOCK = 4_000_000
"""Weights held in memory together (32 MB)."""


def resamples(patients: NDArray[np.int64], *, repetitions: int, seed: int) -> Iterator[Floats]:
    """Draw patients with replacement, as many as there are; equal seeds give equal draws.

    Args:
        patients: [N] number of the patient of each film.
        repetitions: R.
        seed: of the draws.

    Yields:
        [r, N] how often the patient of each film was drawn, in blocks that add up to R rows.
    """
    random = np.random.default_rng(seed)
    names, of_film = np.unique(patients, return_inverse=True)
    block = max(1, _BLOCK // len(patients))
    for start in range(0, repetitions, block):
        drawn = random.integers(len(names), size=(min(block, repetitions - start), len(names)))
        counts = np.stack([np.bincount(row, minlength=len(names)) for row in drawn], axis=1).astype(np.float64)
        yield counts[of_film].T  # the weights of a film are contiguous: metrics sort films


def defined_samples(samples: Floats) -> Floats:
    """Finite values of ``samples`` [R]; none where they are less than MIN_DEFINED of all."""
    defined = samples[np.isfinite(samples)]
    return defined if len(defined) >= MIN_DEFINED * len(samples) else defined[:0]


def percentile_interval(samples: Floats) -> tuple[float, float]:
    """Bounds of the middle LEVEL of ``samples`` [R]; NaN where too few are defined."""
    defined = defined_samples(samples)
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
