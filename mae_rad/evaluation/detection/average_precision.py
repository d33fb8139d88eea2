"""Average precision of boxes as defined by COCO (Lin et al. 2014), for many weightings of the films.

The reference, pycocotools, has no weights: a bootstrap would match all boxes in each resample. This implementation
matches boxes once and counts them in each resample. With weights of one the values equal the reference's.

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
"""Intersections over union from which a prediction is a hit; the score is the mean over them."""
MAX_PREDICTIONS = 100
"""Predictions of a film and label that are evaluated, those of highest score."""
_RECALLS = np.linspace(0, 1, 101)

Sides = tuple[float, float]
"""Smallest and largest side (root of the area) of the evaluated objects, in pixels of ``FilmDetections.unit``."""
ALL_SIZES: Sides = (0.0, float("inf"))


class _Matched(NamedTuple):
    """Predictions of one film at one threshold, by falling score.

    Attributes:
        scores: [P] scores of the predictions.
        is_hit: [P] matched to an object of the evaluated sizes.
        is_counted: [P] False if matched to an object of another size, or unmatched and of another size.
    """

    scores: Floats
    is_hit: NDArray[np.bool_]
    is_counted: NDArray[np.bool_]


def rank_boxes(films: Sequence[FilmDetections], threshold: float, sides: Sides = ALL_SIZES) -> Ranking:
    """Rank the hits and false positives of all films at one intersection over union.

    Args:
        films: boxes of one label.
        threshold: lowest intersection over union of a hit, in (0, 1].
        sides: sizes of the evaluated objects.
    """
    matched = [_match(film, threshold, sides) for film in films]
    scores = np.concatenate([threshold_boxes.scores for threshold_boxes in matched])
    right = np.concatenate([threshold_boxes.is_hit for threshold_boxes in matched])
    counted = np.concatenate([threshold_boxes.is_counted for threshold_boxes in matched])
    of_film = np.repeat(np.arange(len(films)), [len(threshold_boxes.scores) for threshold_boxes in matched])
    order = np.argsort(-scores, kind="stable")
    order = order[counted[order]]
    right, of_film = right[order], of_film[order]
    return Ranking(
        hits=of_film[right],
        false=of_film[~right],
        hits_above=np.cumsum(right)[~right],
        objects=np.array([float(_objects_in_range(film, sides).sum()) for film in films]),
    )


def average_precision(rankings: Sequence[Ranking], weights: Floats) -> Floats:
    """Compute the mean interpolated precision at 101 recalls, averaged over thresholds.

    Args:
        rankings: one per threshold.
        weights: [R, N] weights of the films.

    Returns:
        [R] in [0, 1]; NaN where no object has weight.
    """
    return np.asarray(np.mean([_interpolated(ranking, weights) for ranking in rankings], axis=0))


def _interpolated(ranking: Ranking, weights: Floats) -> Floats:
    objects = weights @ ranking.objects
    hits, false = ranking.found(weights), ranking.false_above(weights)
    counted = hits + false
    precision = np.divide(hits, counted, out=np.zeros_like(hits), where=counted > 0)
    # From the right, so that precision never rises with recall.
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    out = np.full(len(weights), np.nan)
    for row in np.flatnonzero(objects > 0):
        positions = np.searchsorted(hits[row] / objects[row], _RECALLS, side="left")
        out[row] = np.append(precision[row], 0.0)[positions].mean()
    return out


def _match(film: FilmDetections, threshold: float, sides: Sides) -> _Matched:
    """Match predictions by falling score, each to the unmatched object with the largest overlap.

    Objects of the evaluated sizes are matched first; a prediction matched to another object is not counted.
    """
    order = np.argsort(-film.scores, kind="stable")[:MAX_PREDICTIONS]
    predicted, scores = film.predicted[order], film.scores[order]
    in_range = _objects_in_range(film, sides)
    overlap = box_iou(predicted, film.true)
    is_candidate = overlap >= min(threshold, 1 - 1e-10)
    free = np.ones(len(film.true), dtype=np.bool_)
    right = np.zeros(len(order), dtype=np.bool_)
    counted = _within(predicted, film.unit, sides)
    for place in np.flatnonzero(is_candidate.any(axis=1)):
        candidates = free & is_candidate[place]
        if not candidates.any():
            continue
        choice = candidates & in_range if (candidates & in_range).any() else candidates
        best = np.flatnonzero(choice & (overlap[place] == overlap[place][choice].max()))[-1]
        free[best] = False
        right[place] = counted[place] = in_range[best]
    return _Matched(scores, right, counted)


def _objects_in_range(film: FilmDetections, sides: Sides) -> NDArray[np.bool_]:
    return _within(film.true, film.unit, sides)


def _within(boxes: Floats, unit: float, sides: Sides) -> NDArray[np.bool_]:
    side = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1)) * unit
    return np.asarray((side >= sides[0]) & (side <= sides[1]))
