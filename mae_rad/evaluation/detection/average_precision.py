"""Average precision of boxes as COCO defines it (Lin et al. 2014), for many weightings of the films at once.

The reference, pycocotools, has no weights: a bootstrap would match every box again in each resample. Here boxes are
matched once and counted again. With weights of one the values are the reference's.

Legend: R weightings, P predictions and M objects of a film.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_prep.shard_format.boxes import box_iou
from mae_rad.evaluation.detection.ranked_boxes import FilmDetections, Ranking
from mae_rad.evaluation.statistics.metrics import Floats

THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())
"""Intersections over union at which a prediction counts as right; the score is the mean over them."""
MOST = 100
"""Predictions of a film and label that count, the surest."""
_RECALLS = np.linspace(0, 1, 101)

Sides = tuple[float, float]
"""Least and largest side (root of the area) of the objects that are asked for, in pixels of ``unit``."""
ALL: Sides = (0.0, float("inf"))


class _Matched(NamedTuple):
    """Predictions of one film at one threshold, by falling score: [P] each.

    Attributes:
        scores: of the predictions.
        right: matched to an object that is asked for.
        counted: neither matched to an object of another size, nor unmatched and of another size itself.
    """

    scores: Floats
    right: NDArray[np.bool_]
    counted: NDArray[np.bool_]


def rank_boxes(films: Sequence[FilmDetections], threshold: float, sides: Sides = ALL) -> Ranking:
    """Hits and false positives of all films at an intersection over union of ``threshold``."""
    matched = [_match(film, threshold, sides) for film in films]
    scores = np.concatenate([one.scores for one in matched])
    right = np.concatenate([one.right for one in matched])
    counted = np.concatenate([one.counted for one in matched])
    of_film = np.repeat(np.arange(len(films)), [len(one.scores) for one in matched])
    order = np.argsort(-scores, kind="stable")
    order = order[counted[order]]
    right, of_film = right[order], of_film[order]
    return Ranking(
        hits=of_film[right],
        false=of_film[~right],
        hits_above=np.cumsum(right)[~right],
        objects=np.array([float(_asked_for(film, sides).sum()) for film in films]),
    )


def average_precision(rankings: Sequence[Ranking], weights: Floats) -> Floats:
    """[R] mean over ``rankings`` (one per threshold) of the interpolated precision at 101 recalls.

    NaN where no object has weight.
    """
    return np.asarray(np.mean([_interpolated(ranking, weights) for ranking in rankings], axis=0))


def _interpolated(ranking: Ranking, weights: Floats) -> Floats:
    objects = weights @ ranking.objects
    found, false = ranking.found(weights), ranking.false_above(weights)
    seen = found + false
    precision = np.divide(found, seen, out=np.zeros_like(found), where=seen > 0)
    # From the right, so that precision never rises with recall.
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    out = np.full(len(weights), np.nan)
    for row in np.flatnonzero(objects > 0):
        places = np.searchsorted(found[row] / objects[row], _RECALLS, side="left")
        out[row] = np.append(precision[row], 0.0)[places].mean()
    return out


def _match(film: FilmDetections, threshold: float, sides: Sides) -> _Matched:
    """From the surest prediction down, each takes the object that it overlaps most and that is still free.

    An object that is asked for goes before one that is not, which takes its prediction out of the count.
    """
    order = np.argsort(-film.scores, kind="stable")[:MOST]
    predicted, scores = film.predicted[order], film.scores[order]
    asked = _asked_for(film, sides)
    shared = box_iou(predicted, film.true)
    free = np.ones(len(film.true), dtype=np.bool_)
    right = np.zeros(len(order), dtype=np.bool_)
    counted = _within(predicted, film.unit, sides)
    for place in range(len(order)):
        able = free & (shared[place] >= min(threshold, 1 - 1e-10))
        if not able.any():
            continue
        choice = able & asked if (able & asked).any() else able
        best = np.flatnonzero(choice & (shared[place] == shared[place][choice].max()))[-1]
        free[best] = False
        right[place] = counted[place] = asked[best]
    return _Matched(scores, right, counted)


def _asked_for(film: FilmDetections, sides: Sides) -> NDArray[np.bool_]:
    return _within(film.true, film.unit, sides)


def _within(boxes: Floats, unit: float, sides: Sides) -> NDArray[np.bool_]:
    side = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1)) * unit
    return np.asarray((side >= sides[0]) & (side <= sides[1]))
