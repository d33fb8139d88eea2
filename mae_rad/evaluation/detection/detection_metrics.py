"""Detection metrics of one label, as functions of the weights of the films, for the bootstrap.

Sizes of objects are sides (roots of areas) in pixels of the film at T = 1024, independent of the source raster and of
the T of the training.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mae_rad.evaluation.detection.average_precision import ALL_SIZES, THRESHOLDS, Sides, average_precision, rank_boxes
from mae_rad.evaluation.detection.froc import RATES, centres_inside, froc, rank_centres, sensitivities
from mae_rad.evaluation.detection.ranked_boxes import FilmDetections, Ranking
from mae_rad.evaluation.statistics.intervals import fewest_patients
from mae_rad.evaluation.statistics.metrics import Estimate, Floats, auroc
from mae_rad.evaluation.statistics.thresholds import just_below

ALL_OBJECTS = ""
SIZE_TOKENS, SIZE_PATCH = 1024, 16
"""T and patch side of the film whose pixels are the unit of SIZES."""
SIZES: dict[str, Sides] = {"under_10px": (0.0, 10.0), "10_to_20px": (10.0, 20.0), "from_20px": (20.0, float("inf"))}


def quick_estimates(films: Sequence[FilmDetections]) -> dict[str, Estimate]:
    """Return AP50 and FROC, the metrics that training evaluates on val films."""
    return {"ap50": _precision(films, [0.5], ALL_SIZES), "froc": partial(froc, rank_centres(films))}


def detection_estimates(films: Sequence[FilmDetections]) -> dict[str, Estimate]:
    """Return every metric by name.

    ``ap`` is the mean over the overlaps 0.5 to 0.95, ``ap50`` and ``ap75`` are at one overlap; ``froc`` is the mean of
    the ``sensitivity_at_…`` false positives per film; ``film_auroc`` is that of films with an object against films
    without, by the highest score of a box.
    """
    centres = rank_centres(films)
    estimates = quick_estimates(films) | {
        "ap": _precision(films, THRESHOLDS, ALL_SIZES),
        "ap75": _precision(films, [0.75], ALL_SIZES),
    }
    for name, sides in SIZES.items():
        estimates[f"ap_{name}"] = _precision(films, THRESHOLDS, sides)
        estimates[f"ap50_{name}"] = _precision(films, [0.5], sides)
    for rate in RATES:
        estimates[f"sensitivity_at_{rate:g}"] = partial(_sensitivity, centres, rate)
    present = np.array([len(film.true) > 0 for film in films])
    top_scores = np.array([film.scores.max(initial=0.0) for film in films], dtype=np.float64)
    return estimates | {"film_auroc": partial(auroc, present, top_scores)}


def patients_with_objects(films: Sequence[FilmDetections], patients: NDArray[np.int64]) -> dict[str, int]:
    """Count the patients that decide a metric: those with an object, or with one of its sizes.

    Args:
        films: N films of one label.
        patients: [N] number of the patient.

    Returns:
        Metric → patients; ALL_OBJECTS for all metrics that are not listed.
    """
    present = np.array([len(film.true) > 0 for film in films])
    counts = {ALL_OBJECTS: len(np.unique(patients[present])), "film_auroc": fewest_patients(patients, present)}
    for name, sides in SIZES.items():
        has_size = rank_boxes(films, 0.5, sides).objects > 0
        counts |= dict.fromkeys((f"ap_{name}", f"ap50_{name}"), len(np.unique(patients[has_size])))
    return counts


def threshold_at(films: Sequence[FilmDetections], rate: float) -> float | None:
    """Find the lowest score threshold with at most ``rate`` false positives per film.

    The threshold is slightly below the score of a box, so that rounding does not exclude the box.

    Args:
        films: boxes of one label.
        rate: false positives per film.

    Returns:
        The threshold; None if every threshold has more false positives.
    """
    if not films:
        return None
    scores = np.concatenate([film.scores for film in films])
    is_hit = np.concatenate([centres_inside(film).any(axis=1) for film in films])
    false, allowed = np.sort(scores[~is_hit])[::-1], int(rate * len(films))
    allowed_scores = scores if len(false) <= allowed else scores[scores > false[allowed]]
    return just_below(float(allowed_scores.min()), scores) if len(allowed_scores) else None


def _precision(films: Sequence[FilmDetections], thresholds: Sequence[float], sides: Sides) -> Estimate:
    return partial(average_precision, [rank_boxes(films, threshold, sides) for threshold in thresholds])


def _sensitivity(ranking: Ranking, rate: float, weights: Floats) -> Floats:
    return sensitivities(ranking, weights, [rate])[:, 0]
