"""How well the boxes of one label are found, as functions of weights per film: what the bootstrap asks for.

Small and large are sides (roots of areas) in pixels of the film at T = 1024, whatever the size of its source raster and
of the training: the sizes in which findings are planted and compared.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np

from mae_rad.evaluation.detection.average_precision import ALL, THRESHOLDS, Sides, average_precision, rank_boxes
from mae_rad.evaluation.detection.froc import RATES, centres_inside, froc, rank_centres, sensitivities
from mae_rad.evaluation.detection.ranked_boxes import FilmDetections, Ranking
from mae_rad.evaluation.statistics.metrics import Estimate, Floats, auroc
from mae_rad.evaluation.statistics.thresholds import just_below

SIZE_TOKENS, SIZE_PATCH = 1024, 16
"""T and patch side of the film in whose pixels boxes are small or large."""
SIZES: dict[str, Sides] = {"under_10px": (0.0, 10.0), "10_to_20px": (10.0, 20.0), "from_20px": (20.0, float("inf"))}


def quick_estimates(films: Sequence[FilmDetections]) -> dict[str, Estimate]:
    """AP50 and FROC: what a look at val films asks for."""
    return {"ap50": _precision(films, [0.5], ALL), "froc": partial(froc, rank_centres(films))}


def detection_estimates(films: Sequence[FilmDetections]) -> dict[str, Estimate]:
    """Every metric, by name.

    ``ap`` is the mean over the overlaps 0.5 to 0.95, ``ap50`` and ``ap75`` hold at one of them; ``froc`` is the mean
    of the ``sensitivity_at_…`` false positives per film; ``film_auroc`` tells films with an object from those without,
    by their surest box.
    """
    centres = rank_centres(films)
    estimates = quick_estimates(films) | {
        "ap": _precision(films, THRESHOLDS, ALL),
        "ap75": _precision(films, [0.75], ALL),
    }
    for name, sides in SIZES.items():
        estimates[f"ap_{name}"] = _precision(films, THRESHOLDS, sides)
        estimates[f"ap50_{name}"] = _precision(films, [0.5], sides)
    for rate in RATES:
        estimates[f"sensitivity_at_{rate:g}"] = partial(_sensitivity, centres, rate)
    present = np.array([len(film.true) > 0 for film in films])
    surest = np.array([film.scores.max(initial=0.0) for film in films], dtype=np.float64)
    return estimates | {"film_auroc": partial(auroc, present, surest)}


def threshold_at(films: Sequence[FilmDetections], rate: float) -> float | None:
    """The lowest score from which on there are at most ``rate`` false positives per film; None where none is lower.

    A hair below the score of a box, which so counts wherever it is told again.
    """
    if not films:
        return None
    scores = np.concatenate([film.scores for film in films])
    right = np.concatenate([centres_inside(film).any(axis=1) for film in films])
    false, allowed = np.sort(scores[~right])[::-1], int(rate * len(films))
    fitting = scores if len(false) <= allowed else scores[scores > false[allowed]]
    return just_below(float(fitting.min()), scores) if len(fitting) else None


def _precision(films: Sequence[FilmDetections], thresholds: Sequence[float], sides: Sides) -> Estimate:
    return partial(average_precision, [rank_boxes(films, one, sides) for one in thresholds])


def _sensitivity(ranking: Ranking, rate: float, weights: Floats) -> Floats:
    return sensitivities(ranking, weights, [rate])[:, 0]
