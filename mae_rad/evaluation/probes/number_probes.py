"""Linear probe and nearest neighbours for numbers: ridge regression, and the weighted mean of the neighbours' numbers.

Vectors are standardised on the training films, and the hyperparameter is chosen by squared error, as in
:mod:`.linear_and_knn`.

Legend: N films, D channels.
"""

import numpy as np

from mae_rad.embedding.standardised_rows import Standardised, Vectors, fit_scale
from mae_rad.evaluation.probes.linear_and_knn import PROBES, Candidates, CandidateScores, Probe, neighbour_votes
from mae_rad.evaluation.probes.ridge_regression import fit_ridge, predict_numbers
from mae_rad.evaluation.statistics.metrics import Floats

PENALTIES = tuple(10 ** (step / 2) for step in range(6, -13, -1))
"""Penalties per film, 1000 to 0.000001, the strongest first. A standardised channel has variance 1; channels of an
encoder that was trained little are nearly collinear and need the weakest."""


def _ridge(x: Vectors, y: Floats, scored: Vectors, _: int, candidates: Candidates) -> list[CandidateScores]:
    scale = fit_scale(x)
    predicted = predict_numbers(fit_ridge(Standardised(x, scale), y, candidates), Standardised(scored, scale))
    return [CandidateScores(predicted[:, [column]]) for column in range(len(candidates))]


def _neighbour_mean(x: Vectors, y: Floats, scored: Vectors, _: int, candidates: Candidates) -> list[CandidateScores]:
    place, votes, sizes = neighbour_votes(x, scored, candidates)
    numbers = y[place]
    return [CandidateScores(np.average(numbers[:, :k], axis=1, weights=votes[:, :k])[:, None]) for k in sizes]


NUMBER_PROBES = {
    "linear": Probe("penalty", PENALTIES, _ridge),
    "knn": Probe("k", PROBES["knn"].candidates, _neighbour_mean),
}
