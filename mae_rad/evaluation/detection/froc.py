"""Free-response ROC as the object-CXR challenge defines it (JF Healthcare 2020).

An object is found where the centre of a predicted box lies in its box, edges included; further centres in it count
neither for nor against. A centre that lies in no object is a false positive. Predictions are taken from the surest
down until there are f false positives per film (films without objects count); the objects found by then are the
sensitivity at f. The score is its mean over f = 1/8, 1/4, 1/2, 1, 2, 4 and 8. Where predictions run out earlier, all
that was found counts.

Deviations: among equal scores the false positives come first, where the challenge takes the order of the file; true
boxes are rectangles, where the challenge also draws ellipses and polygons.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mae_rad.evaluation.detection.ranked_boxes import FilmDetections, Ranking
from mae_rad.evaluation.statistics.metrics import Floats

RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives per film at which the sensitivity is taken."""


def rank_centres(films: Sequence[FilmDetections]) -> Ranking:
    """Hits (the first centre in each object) and false positives of all films."""
    hit_films: list[int] = []
    hit_scores: list[float] = []
    false_films: list[int] = []
    false_scores: list[float] = []
    for number, film in enumerate(films):
        inside = centres_inside(film)
        scores = np.where(inside, film.scores[:, None], -np.inf)
        surest = scores.max(axis=0, initial=-np.inf)
        found = surest[surest > -np.inf]
        hit_films += [number] * len(found)
        hit_scores += found.tolist()
        missed = film.scores[~inside.any(axis=1)]
        false_films += [number] * len(missed)
        false_scores += missed.tolist()
    order = np.argsort(-np.array(hit_scores), kind="stable")
    falling = -np.array(hit_scores)[order] if hit_scores else np.empty(0)
    return Ranking(
        hits=np.array(hit_films, dtype=np.int64)[order] if hit_films else np.empty(0, np.int64),
        false=np.array(false_films, dtype=np.int64),
        hits_above=np.searchsorted(falling, -np.array(false_scores), side="left").astype(np.int64),
        objects=np.array([len(film.true) for film in films], dtype=np.float64),
    )


def sensitivities(ranking: Ranking, weights: Floats, rates: Sequence[float] = RATES) -> Floats:
    """[R, F] sensitivity at each rate of false positives per film; NaN where no object has weight."""
    films = weights.sum(axis=1, keepdims=True)
    objects = weights @ ranking.objects
    false, gained = ranking.false_above(weights), weights[:, ranking.hits]
    found = np.stack([np.where(false < rate * films, gained, 0).sum(axis=1) for rate in rates], axis=1)
    out = np.full(found.shape, np.nan)
    np.divide(found, objects[:, None], out=out, where=objects[:, None] > 0)
    return out


def froc(ranking: Ranking, weights: Floats) -> Floats:
    """[R] mean sensitivity over RATES."""
    return np.asarray(sensitivities(ranking, weights).mean(axis=1))


def centres_inside(film: FilmDetections) -> NDArray[np.bool_]:
    """[P, M] which predicted centre lies in which object."""
    centre = (film.predicted[:, None, :2] + film.predicted[:, None, 2:]) / 2
    return np.asarray(((centre >= film.true[None, :, :2]) & (centre <= film.true[None, :, 2:])).all(axis=2))
