"""Free-response ROC as defined by the object-CXR challenge (JF Healthcare 2020).

An object is found if the centre of a predicted box is in its box, edges included; further centres in it are ignored. A
centre in no object is a false positive. Predictions are taken by falling score until there are f false positives per
film (including films without objects); the fraction of objects found by then is the sensitivity at f. The score is its
mean over f = 1/8, 1/4, 1/2, 1, 2, 4 and 8. If there are fewer false positives than f, all found objects count.

Deviations: of equal scores the false positives come first (challenge: order of the file); true boxes are rectangles
(challenge: also ellipses and polygons).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mae_rad.evaluation.detection.ranked_boxes import FilmDetections, Ranking
from mae_rad.evaluation.statistics.metrics import Floats

RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives per film at which the sensitivity is taken."""


def rank_centres(films: Sequence[FilmDetections]) -> Ranking:
    """Rank the hits (the centre of highest score in each object) and false positives of all films."""
    hit_films: list[int] = []
    hit_scores: list[float] = []
    false_films: list[int] = []
    false_scores: list[float] = []
    for number, film in enumerate(films):
        inside = centres_inside(film)
        scores = np.where(inside, film.scores[:, None], -np.inf)
        top_scores = scores.max(axis=0, initial=-np.inf)
        found = top_scores[top_scores > -np.inf]
        hit_films += [number] * len(found)
        hit_scores += found.tolist()
        false_scores_of_film = film.scores[~inside.any(axis=1)]
        false_films += [number] * len(false_scores_of_film)
        false_scores += false_scores_of_film.tolist()
    order = np.argsort(-np.array(hit_scores), kind="stable")
    falling = -np.array(hit_scores)[order] if hit_scores else np.empty(0)
    return Ranking(
        hits=np.array(hit_films, dtype=np.int64)[order] if hit_films else np.empty(0, np.int64),
        false=np.array(false_films, dtype=np.int64),
        hits_above=np.searchsorted(falling, -np.array(false_scores), side="left").astype(np.int64),
        objects=np.array([len(film.true) for film in films], dtype=np.float64),
    )


def sensitivities(ranking: Ranking, weights: Floats, rates: Sequence[float] = RATES) -> Floats:
    """Compute the sensitivity at rates of false positives per film.

    Args:
        ranking: hits and false positives.
        weights: [R, N] weights of the films.
        rates: F false positives per film.

    Returns:
        [R, F] in [0, 1]; NaN where no object has weight.
    """
    films = weights.sum(axis=1, keepdims=True)
    objects = weights @ ranking.objects
    false, hit_weights = ranking.false_above(weights), weights[:, ranking.hits]
    found_weight = np.stack([np.where(false < rate * films, hit_weights, 0).sum(axis=1) for rate in rates], axis=1)
    out = np.full(found_weight.shape, np.nan)
    np.divide(found_weight, objects[:, None], out=out, where=objects[:, None] > 0)
    return out


def froc(ranking: Ranking, weights: Floats) -> Floats:
    """Compute the mean sensitivity over RATES.

    Args:
        ranking: hits and false positives.
        weights: [R, N] weights of the films.

    Returns:
        [R] in [0, 1].
    """
    return np.asarray(sensitivities(ranking, weights).mean(axis=1))


def centres_inside(film: FilmDetections) -> NDArray[np.bool_]:
    """Return, as bool [P, M], which predicted centre is in which object."""
    centre = (film.predicted[:, None, :2] + film.predicted[:, None, 2:]) / 2
    return np.asarray(((centre >= film.true[None, :, :2]) & (centre <= film.true[None, :, 2:])).all(axis=2))
