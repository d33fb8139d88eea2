"""Linear probe and nearest neighbours on frozen embeddings.

Both see features standardised on the training films: without that, the cosine of neighbours is ruled by the mean vector
that all films share, which is long in masked autoencoders and short in contrastive encoders, and the comparison is not
of what the vectors tell. What a probe may choose, it chooses on the validation patients (or, where they do not hold
every class, by cross-validation inside train, grouped by patient), never on the test.

Legend: N films, D channels, C classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from mae_rad.embedding.nearest_neighbours import nearest
from mae_rad.embedding.standardised_rows import Standardised, Vectors, scale_of
from mae_rad.evaluation.probes.logistic_regression import fit, probabilities
from mae_rad.evaluation.statistics.metrics import Floats, macro_auroc

Labels = NDArray[np.int64]
Candidates = Sequence[float]
Predict = Callable[[Vectors, Labels, Vectors, int, Candidates], list["Scored"]]
"""(training vectors, their classes, vectors to score, C, candidates) → what each candidate says."""

TEMPERATURE = 0.07
"""Of the neighbours' votes, exp(cosine / temperature), as in Wu et al. 2018 and the DINO evaluation."""
_FOLDS = 5
VALIDATION_PATIENTS = 3
"""Every class needs that many patients in val, otherwise the choice falls to cross-validation."""


@dataclass(frozen=True)
class Part:
    """The films of one split: N vectors, classes [N], patients [N]."""

    x: Vectors
    y: Labels
    patients: NDArray[np.int64]


class Scored(NamedTuple):
    """Probabilities [N, C], and whether the fit came to its end."""

    scores: Floats
    converged: bool = True


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
    """Choose the probe's parameter, fit on ``train`` and score ``test``. The seed deals the folds."""
    chosen, how = _choose(probe, train, val, classes, seed)
    (said,) = probe.predict(train.x, train.y, test, classes, [chosen])
    note = f"{probe.parameter}={chosen:g} ({how})"
    return Probed(said.scores, note if said.converged else f"{note}, not converged")


def _choose(probe: Probe, train: Part, val: Part, classes: int, seed: int) -> tuple[float, str]:
    folds = min(_FOLDS, patients_per_class(train.y, train.patients, classes))
    if patients_per_class(val.y, val.patients, classes) >= VALIDATION_PATIENTS:
        tried = [said.scores for said in probe.predict(train.x, train.y, val.x, classes, probe.candidates)]
        y, how = val.y, "val"
    elif folds >= 2:
        tried, y, how = _cross_validated(probe, train, classes, folds, seed), train.y, f"{folds}-fold in train"
    else:
        return probe.candidates[len(probe.candidates) // 2], "too few patients to choose"
    ones = np.ones((1, len(y)))
    values = [float(macro_auroc(y, scores, ones)[0]) for scores in tried]
    return probe.candidates[int(np.argmax(values))], how


def _cross_validated(probe: Probe, train: Part, classes: int, folds: int, seed: int) -> list[Floats]:
    """Probabilities [N, C] of every training film from the folds that do not hold its patient, for each candidate."""
    out = [np.zeros((len(train.y), classes)) for _ in probe.candidates]
    dealer = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for fitted, held in dealer.split(train.y, train.y, train.patients):
        tried = probe.predict(train.x.take(fitted), train.y[fitted], train.x.take(held), classes, probe.candidates)
        for scores, said in zip(out, tried, strict=True):
            scores[held] = said.scores
    return out


def patients_per_class(y: Labels, patients: NDArray[np.int64], classes: int) -> int:
    """Patients of the class that has the fewest."""
    return min(len(np.unique(patients[y == c])) for c in range(classes))


def _linear(x: Vectors, y: Labels, scored: Vectors, classes: int, candidates: Candidates) -> list[Scored]:
    """Logistic regression; ascending C starts from the solution before it."""
    scale = scale_of(x)
    models = fit(Standardised(x, scale), y, classes, candidates)
    asked = Standardised(scored, scale)
    return [Scored(probabilities(model, asked), model.converged) for model in models]


def _neighbours(x: Vectors, y: Labels, scored: Vectors, classes: int, candidates: Candidates) -> list[Scored]:
    """Exact nearest neighbours by cosine; each votes for its class with weight exp(cosine / 0.07).

    A k beyond the training films takes all of them.
    """
    scale = scale_of(x)
    sizes = [min(int(k), len(x)) for k in candidates]
    near = nearest(Standardised(x, scale, unit=True), Standardised(scored, scale, unit=True), max(sizes))
    cosine = near.cosine.astype(np.float64)
    votes, said = np.exp((cosine - cosine[:, :1]) / TEMPERATURE), y[near.place]
    out = []
    for k in sizes:
        scores = np.stack([(votes[:, :k] * (said[:, :k] == c)).sum(axis=1) for c in range(classes)], axis=1)
        out.append(Scored(scores / votes[:, :k].sum(axis=1, keepdims=True)))
    return out


PROBES = {
    "linear": Probe("C", (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0), _linear),
    "knn": Probe("k", (200, 50, 20, 5), _neighbours),
}
