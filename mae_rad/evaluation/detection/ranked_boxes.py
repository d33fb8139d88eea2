"""Ranked predictions of a test set, the common input of average precision and FROC.

Both count hits and false positives by falling score. A bootstrap resample is a weight per film: a hit or false positive
counts as often as its film was drawn.

Legend: N films, R weightings, K hits, D false positives.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mae_rad.evaluation.statistics.metrics import Floats

Integers = NDArray[np.int64]

_MAX_NUMBERS = 2_000_000
"""Numbers of the largest temporary array while false positives are counted (16 MB)."""


class FilmDetections(NamedTuple):
    """The boxes of one label on one film, [., 4] x_min, y_min, x_max, y_max.

    Attributes:
        predicted: [P, 4] predicted boxes.
        scores: [P] scores of the predicted boxes.
        true: [M, 4] true boxes in the same pixels.
        unit: pixels in which the size of an object is given, per pixel of these boxes.
    """

    predicted: Floats
    scores: Floats
    true: Floats
    unit: float = 1.0


class Ranking(NamedTuple):
    """Hits and false positives by falling score.

    Attributes:
        hits: [K] film of each hit.
        false: [D] film of each false positive.
        hits_above: [D] number of hits that rank above each false positive.
        objects: [N] number of objects of each film.
    """

    hits: Integers
    false: Integers
    hits_above: Integers
    objects: Floats

    def found(self, weights: Floats) -> Floats:
        """Sum, for weights [R, N], the weight of the hits down to each hit, itself included: [R, K]."""
        return np.cumsum(weights[:, self.hits], axis=1)

    def false_above(self, weights: Floats) -> Floats:
        """Sum, for weights [R, N], the weight of the false positives that rank above each hit: [R, K]."""
        films, hits = len(self.objects), len(self.hits)
        out = np.empty((len(weights), hits))
        before = np.zeros((len(weights), 1))
        step = max(1, _MAX_NUMBERS // films)
        for start in range(0, hits, step):
            stop = min(start + step, hits)
            in_block = (self.hits_above >= start) & (self.hits_above < stop)
            places = self.false[in_block] * (stop - start) + self.hits_above[in_block] - start
            counts = np.bincount(places, minlength=films * (stop - start)).reshape(films, -1).astype(np.float64)
            out[:, start:stop] = before + np.cumsum(weights @ counts, axis=1)
            before = out[:, stop - 1 : stop]
        return out
