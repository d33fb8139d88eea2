"""Linear probe and nearest neighbours on frozen embeddings.

Both see features standardised on the training films: without that, the cosine of neighbours is ruled by the mean vector
that all films share, which is long in masked autoencoders and short in contrastive encoders, and the comparison is not
of what the vectors tell. What a probe may choose, it chooses on the validation patients (or, where they do not hold
every class, by cross-validation inside train, grouped by patient), never on the test.

Legend: N films, D channels, C classes.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from mae_rad.evaluation.metrics import Floats, macro_auroc

Vectors = NDArray[np.float32]
Labels = NDArray[np.int64]
Candidates = Sequence[float]
Predict = Callable[[Vectors, Labels, Vectors, int, Candidates], list[Floats]]
"""(training vectors, their classes, vectors to score, C, candidates) → for each candidate probabilities [N, C]."""

TEMPERATURE = 0.07
"""Of the neighbours' votes, exp(cosine / temperature), as in Wu et al. 2018 and the DINO evaluation."""
_FOLDS = 5
_VALIDATION_PATIENTS = 3
"""Every class needs that many patients in val, otherwise the choice falls to cross-validation."""
_BLOCK = 1 << 24


@dataclass(frozen=True)
class Part:
    """The films of one split: vectors [N, D], classes [N], patients [N]."""

    x: Vectors
    y: Labels
    patients: NDArray[np.int64]


@dataclass(frozen=True)
class Probed:
    """What a probe says of the test films.

    Attributes:
        scores: [N, C] probabilities.
        note: what was chosen, and on which films.
    """

    scores: Floats
    note: str


@dataclass(frozen=True)
class Probe:
    """A kind of probe: the name of what it chooses, the candidates (on a tie the first is taken) and the prediction."""

    parameter: str
    candidates: Candidates
    predict: Predict


def run_probe(probe: Probe, train: Part, val: Part, test: Vectors, classes: int, seed: int) -> Probed:
    """Choose the probe's parameter, fit on ``train`` and score ``test`` [N, D]. The seed deals the folds."""
    chosen, how = _choose(probe, train, val, classes, seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        (scores,) = probe.predict(train.x, train.y, test, classes, [chosen])
    note = f"{probe.parameter}={chosen:g} ({how})"
    if any(issubclass(warning.category, ConvergenceWarning) for warning in caught):
        note += ", not converged"
    return Probed(scores, note)


def _choose(probe: Probe, train: Part, val: Part, classes: int, seed: int) -> tuple[float, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of candidates that are not taken
        if _patients_per_class(val, classes) >= _VALIDATION_PATIENTS:
            tried = probe.predict(train.x, train.y, val.x, classes, probe.candidates)
            y, how = val.y, "val"
        else:
            folds = min(_FOLDS, _patients_per_class(train, classes))
            tried, y, how = _cross_validated(probe, train, classes, folds, seed), train.y, f"{folds}-fold in train"
    ones = np.ones((1, len(y)))
    values = [float(macro_auroc(y, scores, ones)[0]) for scores in tried]
    return probe.candidates[int(np.argmax(values))], how


def _cross_validated(probe: Probe, train: Part, classes: int, folds: int, seed: int) -> list[Floats]:
    """Probabilities [N, C] of every training film from the folds that do not hold its patient, for each candidate."""
    out = [np.zeros((len(train.y), classes)) for _ in probe.candidates]
    dealer = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for fit, held in dealer.split(train.x, train.y, train.patients):
        tried = probe.predict(train.x[fit], train.y[fit], train.x[held], classes, probe.candidates)
        for scores, values in zip(out, tried, strict=True):
            scores[held] = values
    return out


def _patients_per_class(part: Part, classes: int) -> int:
    return min(len(np.unique(part.patients[part.y == c])) for c in range(classes))


def _linear(x: Vectors, y: Labels, scored: Vectors, classes: int, candidates: Candidates) -> list[Floats]:
    """Logistic regression (L-BFGS, L2); ascending C starts from the solution before it."""
    x, scored = standardise(x, scored)
    model = LogisticRegression(max_iter=2000, warm_start=True)
    out = []
    for candidate in candidates:
        model.set_params(C=candidate).fit(x.astype(np.float64), y)
        scores = np.zeros((len(scored), classes))  # a fold may lack a class
        scores[:, model.classes_] = model.predict_proba(scored.astype(np.float64))
        out.append(scores)
    return out


def _neighbours(x: Vectors, y: Labels, scored: Vectors, classes: int, candidates: Candidates) -> list[Floats]:
    """Exact nearest neighbours by cosine; each votes for its class with weight exp(cosine / 0.07).

    A k beyond the training films takes all of them.
    """
    x, scored = (_unit(vectors) for vectors in standardise(x, scored))
    sizes = [min(int(k), len(x)) for k in candidates]
    out = [np.zeros((len(scored), classes)) for _ in candidates]
    block = max(1, _BLOCK // len(x))
    for start in range(0, len(scored), block):
        cosine = scored[start : start + block] @ x.T
        nearest = np.argpartition(-cosine, max(sizes) - 1, axis=1)[:, : max(sizes)]
        nearest = np.take_along_axis(
            nearest, np.argsort(-np.take_along_axis(cosine, nearest, 1), axis=1, kind="stable"), 1
        )
        near = np.take_along_axis(cosine, nearest, 1).astype(np.float64)
        votes = np.exp((near - near[:, :1]) / TEMPERATURE)
        for scores, k in zip(out, sizes, strict=True):
            for c in range(classes):
                scores[start : start + block, c] = (votes[:, :k] * (y[nearest[:, :k]] == c)).sum(axis=1)
            scores[start : start + block] /= votes[:, :k].sum(axis=1, keepdims=True)
    return out


def standardise(x: Vectors, scored: Vectors) -> tuple[Vectors, Vectors]:
    """Both in units of the mean and standard deviation of ``x`` [N, D]; a constant channel becomes zero."""
    mean, std = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    std[std <= 1e-6 * np.abs(mean).max(initial=0)] = np.inf
    return ((x - mean) / std).astype(np.float32), ((scored - mean) / std).astype(np.float32)


def _unit(vectors: Vectors) -> Vectors:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), dtype=np.float32)


PROBES = {
    "linear": Probe("C", (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0), _linear),
    "knn": Probe("k", (200, 50, 20, 5), _neighbours),
}
