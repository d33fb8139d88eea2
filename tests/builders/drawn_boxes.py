"""Random films with true and predicted boxes: near misses, double hits, no object, no guess."""

import numpy as np

from mae_rad.evaluation.detection.ranked_boxes import FilmDetections


def drawn_films(seed: int, films: int = 12, *, coarse: bool = False) -> list[FilmDetections]:
    """``coarse`` rounds scores, so that many are equal."""
    random = np.random.default_rng(seed)
    out = []
    for _ in range(films):
        true = _boxes(random, int(random.integers(0, 5)))
        near = true[random.integers(len(true), size=int(random.integers(0, 7)))] if len(true) else true
        near = near + random.normal(0, 2.5, near.shape)
        predicted = np.concatenate([near, _boxes(random, int(random.integers(0, 5)))])
        predicted = np.concatenate([np.minimum(predicted[:, :2], predicted[:, 2:] - 1), predicted[:, 2:]], axis=1)
        scores = random.random(len(predicted))
        out.append(FilmDetections(predicted, np.round(scores, 1) if coarse else scores, true))
    return out


def _boxes(random: np.random.Generator, count: int) -> np.ndarray:
    corner = random.uniform(0, 150, (count, 2))
    return np.concatenate([corner, corner + np.exp(random.uniform(np.log(4), np.log(60), (count, 2)))], axis=1)
