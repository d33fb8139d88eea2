"""Predicted against true boxes of a test set, ranked: what average precision and FROC have in common.

Both walk the predictions from the surest to the least sure one, counting hits and false positives. A bootstrap
resample is a weight per film, so a hit counts as often as its film was drawn, and so does a false positive.

Legend: N films, R weightings, K hits, D false positives.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mae_rad.evaluation.statistics.metrics import Floats

Integers = NDArray[np.int64]

_AT_ONCE = 2_000_000
"""Numbers held at once while false positives are counted (16 MB)."""


class FilmDetections(NamedTuple):
    """The boxes of one label on one film, [., 4] x_min, y_min, x_max, y_max.

    Attributes:
        predicted: [P, 4].
        scores: [P] higher is surer.
        true: [M, 4] in the same pixels.
        unit: pixels of the size in which boxes count as small or large, per pixel of these boxes.
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
        hits_above: [D] how many hits rank above each false positive.
        objects: [N] objects of each film, found or not.
    """

    hits: Integers
    false: Integers
    hits_above: Integers
    objects: Floats

    def found(self, weights: Floats) -> Floats:
        """[R, K] weight of the hits down to each one, itself included."""
        return np.cumsum(weights[:, self.hits], axis=1)

    def false_above(self, weights: Floats) -> Floats:
        """[R, K] weight of the false positives that rank above each hit."""
        films, hits = len(self.objects), len(self.hits)
        out = np.empty((len(weights), hits))
        before = np.zeros((len(weights), 1))
        step = max(1, _AT_ONCE // films)
        for start in range(0, hits, step):
            stop = min(start + step, hits)
            here = (self.hits_above >= start) & (self.hits_above < stop)
            places = self.false[here] * (stop - start) + self.hits_above[here] - start
            counts = np.bincount(places, minlength=films * (stop - start)).reshape(films, -1).astype(np.float64)
            out[:, start:stop] = before + np.cumsum(weights @ counts, axis=1)
            before = out[:, stop - 1 : stop]
        return out
