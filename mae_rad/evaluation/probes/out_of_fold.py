"""Score every film of a data set with a probe that was fitted to films of other groups.

The groups are divided into folds; the films of a fold are scored by the fit to all other folds. The hyperparameter is
the one whose out-of-fold scores have the lowest log loss, or squared error: what is used are the probabilities, not
their order. Above a number of films it is chosen on films of randomly drawn groups, so that one value is fitted to all
of them and not every candidate.
"""

import numpy as np
from numpy.typing import NDArray

from mae_rad.errors import EvaluationError
from mae_rad.evaluation.probes.linear_and_knn import (
    FOLDS,
    Probe,
    ProbeOutput,
    SplitData,
    Targets,
    are_numbers,
    cross_validated,
    patients_per_class,
)
from mae_rad.evaluation.statistics.metrics import Floats

_LOWEST = 1e-12
"""Probability below which the log loss does not rise."""


def out_of_fold(probe: Probe, films: SplitData, classes: int, *, seed: int, choose_on: int) -> ProbeOutput:
    """Score every film with a fit to the folds without its group.

    Args:
        probe: kind of probe.
        films: N films; ``patients`` is the number of the group that must not be divided.
        classes: C; 1 for a number.
        seed: seed of the folds.
        choose_on: largest number of films on which the hyperparameter is chosen.

    Returns:
        [N, C] probabilities or [N, 1] predicted numbers, with a note about the fit.

    Raises:
        EvaluationError: a class has fewer than two groups.
    """
    chosen = _some_groups(films.patients, choose_on, seed)
    part = SplitData(films.x.take(chosen), films.y[chosen], films.patients[chosen])
    if _folds(part, classes) < 2:  # a rare class is not among the drawn groups
        part, chosen = films, np.arange(len(films.y))
    folds = _folds(films, classes)
    if folds < 2:
        raise EvaluationError("a class has films of fewer than two patients. Leave it out, or widen where")
    tried = cross_validated(probe, part, classes, _folds(part, classes), seed)
    best = int(np.argmin([_loss(part.y, scores) for scores in tried]))
    value = probe.candidates[best]
    note = f"{probe.parameter}={value:.3g}, {folds} folds"
    if len(chosen) == len(films.y):
        return ProbeOutput(tried[best], note)
    single = Probe(probe.parameter, [value], probe.predict)
    (scores,) = cross_validated(single, films, classes, folds, seed)
    return ProbeOutput(scores, f"{note}, chosen on {len(chosen):,} films")


def _loss(y: Targets, scores: Floats) -> float:
    """Mean log loss of probabilities [N, C], or squared error of numbers [N, 1]."""
    if are_numbers(y):
        return float(np.mean((y - scores[:, 0]) ** 2))
    of_class = np.take_along_axis(scores, y.astype(np.int64)[:, None], axis=1)
    return -float(np.log(np.maximum(of_class, _LOWEST)).mean())


def _folds(films: SplitData, classes: int) -> int:
    groups = len(np.unique(films.patients))
    return min(FOLDS, groups if are_numbers(films.y) else patients_per_class(films.y, films.patients, classes))


def _some_groups(groups: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    """Positions of the films of randomly drawn groups, at most ``most``; all films if they are no more."""
    if len(groups) <= most:
        return np.arange(len(groups))
    _, of_film, films = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(films))
    drawn = np.zeros(len(films), dtype=np.bool_)
    drawn[order[np.cumsum(films[order]) <= most]] = True
    return np.flatnonzero(drawn[of_film])
