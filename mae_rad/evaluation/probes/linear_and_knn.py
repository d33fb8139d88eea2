"""Linear probe and nearest neighbours on frozen embeddings, for classes; :mod:`.number_probes` has those for numbers.

Vectors are standardised on the training films. Otherwise the cosine is dominated by the mean vector of all films, which
is long for masked autoencoders and short for contrastive encoders. The hyperparameter of a probe is chosen on the
validation patients or, if these lack a class or are few, by cross-validation in train, grouped by patient; never on
test films. Classes are chosen by macro AUROC, numbers by squared error.

Legend: N films, D channels, C classes.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from mae_rad.embedding.nearest_neighbours import find_neighbours
from mae_rad.embedding.standardised_rows import Standardised, Vectors, fit_scale
from mae_rad.evaluation.probes.logistic_regression import fit, probabilities
from mae_rad.evaluation.statistics.metrics import Floats, macro_auroc

Labels = NDArray[np.int64]
Targets = NDArray[np.int64] | NDArray[np.float64]
"""Classes as int64, or numbers as float64."""
Candidates = Sequence[float]
Predict = Callable[[Vectors, Any, Vectors, int, Candidates], list["CandidateScores"]]
"""(training vectors, their targets, vectors to score, C, candidate values) → scores of each candidate value."""

TEMPERATURE = 0.07
"""Temperature of the neighbours' votes, exp(cosine / temperature), as in Wu et al. 2018 and DINO."""
FOLDS = 5
"""Folds of a cross-validation, where the patients are enough."""
_DECISIVE_PATIENTS = 500
"""Patients of val who choose the hyperparameter of a number, however many there are in train."""
VALIDATION_PATIENTS = 3
"""Patients that every class needs in val; with fewer, the hyperparameter is chosen by cross-validation."""
NUMBER_VALIDATION_PATIENTS = 20
"""Patients that val needs for a number; the squared error of fewer depends on single patients."""


@dataclass(frozen=True)
class SplitData:
    """Films of one split.

    Attributes:
        x: [N, D] vectors.
        y: [N] classes, or numbers.
        patients: [N] number of the patient.
    """

    x: Vectors
    y: Targets
    patients: NDArray[np.int64]


class CandidateScores(NamedTuple):
    """Scores of one candidate value.

    Attributes:
        scores: [N, C] probabilities; of a number [N, 1] predictions.
        converged: whether the fit converged.
    """

    scores: Floats
    converged: bool = True


@dataclass(frozen=True)
class ProbeOutput:
    """Output of a probe on the test films.

    Attributes:
        scores: [N, C] probabilities; of a number [N, 1] predictions.
        note: chosen hyperparameter, and the films on which it was chosen.
    """

    scores: Floats
    note: str


@dataclass(frozen=True)
class Probe:
    """A kind of probe.

    Attributes:
        parameter: name of its hyperparameter.
        candidates: values of the hyperparameter; on a tie the first is taken.
        predict: fits the probe and scores films.
    """

    parameter: str
    candidates: Candidates
    predict: Predict


def run_probe(probe: Probe, train: SplitData, val: SplitData, test: Vectors, classes: int, seed: int) -> ProbeOutput:
    """Choose the hyperparameter of a probe, fit it on ``train`` and score ``test``.

    Args:
        probe: kind of probe.
        train: training films.
        val: validation films, on which the hyperparameter is chosen.
        test: [N, D] vectors of the test films.
        classes: C; 1 for a number.
        seed: seed of the cross-validation folds.
    """
    value, films_used = _choose(probe, train, val, classes, seed)
    (output,) = probe.predict(train.x, train.y, test, classes, [value])
    note = f"{probe.parameter}={value:.3g} ({films_used})"
    return ProbeOutput(output.scores, note if output.converged else f"{note}, not converged")


def has_validation_patients(y: Targets, patients: NDArray[np.int64], classes: int) -> bool:
    """Return whether films have enough patients, of every class, to choose a hyperparameter on them.

    Args:
        y: [N] classes, or numbers.
        patients: [N] number of the patient.
        classes: C; 1 for a number.
    """
    if are_numbers(y):
        return len(np.unique(patients)) >= NUMBER_VALIDATION_PATIENTS
    return patients_per_class(y, patients, classes) >= VALIDATION_PATIENTS


def validation_value(y: Targets, scores: Floats) -> float:
    """Compute the value by which hyperparameters are chosen; higher is better.

    Args:
        y: [N] classes, or numbers.
        scores: [N, C] class scores, or [N, 1] predicted numbers.

    Returns:
        Macro AUROC, or minus the mean squared error.
    """
    if are_numbers(y):
        return -float(np.mean((y - scores[:, 0]) ** 2))
    return float(macro_auroc(y.astype(np.int64), scores, np.ones((1, len(y))))[0])


def are_numbers(y: Targets) -> bool:
    """Return whether targets are numbers, not classes."""
    return bool(np.issubdtype(y.dtype, np.floating))


def _choose(probe: Probe, train: SplitData, val: SplitData, classes: int, seed: int) -> tuple[float, str]:
    in_train = len(np.unique(train.patients)) if are_numbers(train.y) else None
    folds = min(FOLDS, patients_per_class(train.y, train.patients, classes) if in_train is None else in_train)
    if has_validation_patients(val.y, val.patients, classes) and _decides(val, in_train):
        candidate_scores = [
            output.scores for output in probe.predict(train.x, train.y, val.x, classes, probe.candidates)
        ]
        y, films_used = val.y, "val"
    elif folds >= 2:
        candidate_scores, y, films_used = (
            cross_validated(probe, train, classes, folds, seed),
            train.y,
            f"{folds}-fold in train",
        )
    else:
        return probe.candidates[len(probe.candidates) // 2], "too few patients to choose"
    values = [validation_value(y, scores) for scores in candidate_scores]
    return probe.candidates[int(np.argmax(values))], films_used


def _decides(val: SplitData, in_train: int | None) -> bool:
    """Whether val decides rather than folds of train: for a number if it has more patients, or many.

    The error of a mean squared error is sqrt(2 / n) of it: 14 % for 100 films, more than most penalties differ by.
    """
    return in_train is None or len(np.unique(val.patients)) >= min(_DECISIVE_PATIENTS, in_train)


def cross_validated(probe: Probe, train: SplitData, classes: int, folds: int, seed: int) -> list[Floats]:
    """Score every training film with a fit to the folds without its patient.

    Args:
        probe: kind of probe.
        train: N films.
        classes: C; 1 for a number.
        folds: number of folds.
        seed: seed of the folds.

    Returns:
        [N, C] scores for each candidate value.
    """
    out = [np.zeros((len(train.y), classes)) for _ in probe.candidates]
    for fit_rows, validation_rows in _splits(train, folds, seed):
        candidate_scores = probe.predict(
            train.x.take(fit_rows), train.y[fit_rows], train.x.take(validation_rows), classes, probe.candidates
        )
        for scores, output in zip(out, candidate_scores, strict=True):
            scores[validation_rows] = output.scores
    return out


def _splits(train: SplitData, folds: int, seed: int) -> Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the films to fit and to score of each fold; classes are divided in equal proportion."""
    if not are_numbers(train.y):
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        return splitter.split(train.y, train.y, train.patients)  # type: ignore[no-any-return]
    names, patient = np.unique(train.patients, return_inverse=True)
    fold = np.random.default_rng(seed).permutation(len(names))[patient] % folds
    return [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in range(folds)]


def patients_per_class(y: Targets, patients: NDArray[np.int64], classes: int) -> int:
    """Count the patients of the class with the fewest.

    Args:
        y: [N] classes.
        patients: [N] number of the patient.
        classes: C.
    """
    return min(len(np.unique(patients[y == c])) for c in range(classes))


def _linear(x: Vectors, y: Labels, scored: Vectors, classes: int, candidates: Candidates) -> list[CandidateScores]:
    """Fit logistic regressions of ascending C, each from the solution of the one before."""
    scale = fit_scale(x)
    models = fit(Standardised(x, scale), y, classes, candidates)
    scored_vectors = Standardised(scored, scale)
    return [CandidateScores(probabilities(model, scored_vectors), model.converged) for model in models]


class Votes(NamedTuple):
    """Votes of the nearest training films of N films.

    Attributes:
        place: [N, k] positions of the neighbours in the training films.
        votes: [N, k] weights, exp(cosine / TEMPERATURE) up to a factor per film.
        sizes: numbers of neighbours, one per candidate value.
    """

    place: NDArray[np.int64]
    votes: Floats
    sizes: list[int]


def neighbour_votes(x: Vectors, scored: Vectors, candidates: Candidates) -> Votes:
    """Find the exact nearest neighbours by cosine of standardised vectors; a k above the number of films takes all.

    Args:
        x: training films.
        scored: [N, D] films to score.
        candidates: values of k.
    """
    scale = fit_scale(x)
    sizes = [min(int(k), len(x)) for k in candidates]
    neighbours = find_neighbours(Standardised(x, scale, unit=True), Standardised(scored, scale, unit=True), max(sizes))
    cosine = neighbours.cosine.astype(np.float64)
    return Votes(neighbours.place, np.exp((cosine - cosine[:, :1]) / TEMPERATURE), sizes)


def _neighbours(x: Vectors, y: Labels, scored: Vectors, classes: int, candidates: Candidates) -> list[CandidateScores]:
    """Score by the fraction of the votes of the nearest neighbours that each class has."""
    place, votes, sizes = neighbour_votes(x, scored, candidates)
    output = y[place]
    out = []
    for k in sizes:
        scores = np.stack([(votes[:, :k] * (output[:, :k] == c)).sum(axis=1) for c in range(classes)], axis=1)
        out.append(CandidateScores(scores / votes[:, :k].sum(axis=1, keepdims=True)))
    return out


PROBES = {
    "linear": Probe("C", (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0), _linear),
    "knn": Probe("k", (200, 50, 20, 5), _neighbours),
}
