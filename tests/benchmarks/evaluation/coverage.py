"""Measure the coverage of the intervals of a comparison for known true values.

    python -m tests.benchmarks.evaluation.coverage [--repetitions 1000] [--part one runs equal]

Encoders are drawn: a film's vector knows its class by a planted amount and its patient by another, all else is noise.
Each repetition draws films, labels, vectors and encoders anew, fits the linear probe as a comparison does and asks for
the difference of two encoders on the test patients. What a probe is worth has a closed form: weights w score two
classes, apart by δ in a noise of variance σ² per channel, with an AUROC of Φ(w·δ / (√2 σ |w|)).

one     an encoder of either kind: the interval is about these encoders. Truth: the AUROC of their probes.
runs    three pretraining runs of either method, which differ in how much they know: the interval is about the methods.
        Truth: the mean over all runs of all repetitions.
equal   two encoders of equal expected signal: how often they are not told apart, as a verdict asks.

Goal of each: 95 ± 2 %.
"""

import argparse
import zlib
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mae_rad.embedding.standardised_rows import Standardised, fit_scale, vectors_of_array
from mae_rad.evaluation.probes.logistic_regression import fit, probabilities
from mae_rad.evaluation.statistics.intervals import Contrast, bootstrap, contrast, pool_runs
from mae_rad.evaluation.statistics.metrics import Estimate, auroc

DIM, TRAIN, TEST, FILMS = 8, 300, 150, 2
"""Channels; patients to fit and to test; films of each."""
PATIENT = 0.6
"""Standard deviation of what all films of a patient share, next to a noise of 1."""
STRENGTH = 0.01
RESAMPLES = 400
LOW, HIGH, SAME, BETWEEN = 0.8, 1.2, 1.0, 0.25
"""Signal of encoders, and its standard deviation between runs."""
GOAL = (0.93, 0.97)

Floats = NDArray[np.float64]


class Trial(NamedTuple):
    """What one repetition found of a difference, and what it is in truth, for the encoders that were drawn."""

    found: Contrast
    truth: float


def main() -> None:
    """Repeat, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    given = parser.parse_args()
    for part in given.part:
        held = rate(part, given.repetitions)
        told = "reached" if GOAL[0] <= held <= GOAL[1] else "MISSED"
        print(f"{part:6} {held:.1%} of {given.repetitions:,} repetitions  (goal 95 ± 2 %: {told})", flush=True)


def rate(part: str, repetitions: int) -> float:
    """Share of the repetitions, each with a seed of its own, in which ``part`` holds."""
    signals, holds = PARTS[part]
    seed = zlib.crc32(part.encode())
    trials = [repetition(np.random.default_rng([seed, number]), *signals) for number in range(repetitions)]
    return float(np.mean(holds(trials)))


def repetition(random: np.random.Generator, mean: float, other: float, runs: int) -> Trial:
    """Draw an archive and ``runs`` encoders of two methods, whose signal is ``mean`` and ``other``; compare them."""
    patients = np.repeat(np.arange(TRAIN + TEST), FILMS)
    y = random.integers(0, 2, len(patients))
    test = patients >= TRAIN
    estimates: dict[str, Sequence[Estimate]] = {}
    truths = []
    for signal in (mean, other):
        between = BETWEEN * random.normal(size=runs) if runs > 1 else np.zeros(1)
        for drawn in signal + between:
            score, truth = probed(random, patients, y, test, float(drawn))
            estimates[f"{len(truths)}"] = [lambda w, s=score: auroc(y[test] == 1, s, w)]  # type: ignore[misc]
            truths.append(truth)
    seed = int(random.integers(2**31))
    sampled = list(bootstrap(patients[test], estimates, repetitions=RESAMPLES, seed=seed).values())
    found = contrast(pool_runs(sampled[:runs]), pool_runs(sampled[runs:]))
    return Trial(found, float(np.mean(truths[:runs]) - np.mean(truths[runs:])))


def probed(
    random: np.random.Generator,
    patients: NDArray[np.int64],
    y: NDArray[np.int64],
    test: NDArray[np.bool_],
    signal: float,
) -> tuple[Floats, float]:
    """Scores of the test films by a probe of a drawn encoder, and the AUROC that this probe has in truth."""
    direction = random.normal(size=DIM)
    direction *= signal / np.linalg.norm(direction)
    shared = PATIENT * random.normal(size=(TRAIN + TEST, DIM))[patients]
    x = y[:, None] * direction + shared + random.normal(size=(len(y), DIM))
    train = vectors_of_array(x[~test])
    scale = fit_scale(train)
    (model,) = fit(Standardised(train, scale), y[~test], 2, [STRENGTH])
    weights = model.weights[0, :-1] / scale.std
    spread = np.sqrt(2 * (1 + PATIENT**2)) * np.linalg.norm(weights)
    scores = probabilities(model, Standardised(vectors_of_array(x[test]), scale))[:, 1]
    return scores, NormalDist().cdf(float(weights @ direction) / float(spread))


def of_these_encoders(trials: Sequence[Trial]) -> list[bool]:
    """Whether each interval holds the truth of the encoders that were drawn."""
    return [_inside(trial.found, trial.truth) for trial in trials]


def of_the_methods(trials: Sequence[Trial]) -> list[bool]:
    """Whether each interval holds the truth of the methods: the mean over all that were drawn."""
    truth = float(np.mean([trial.truth for trial in trials]))
    return [_inside(trial.found, truth) for trial in trials]


def not_told_apart(trials: Sequence[Trial]) -> list[bool]:
    """Whether p-value or interval keep each verdict from "higher" and "lower"."""
    return [trial.found.p_value >= 0.05 or _inside(trial.found, 0.0) for trial in trials]


def _inside(found: Contrast, truth: float) -> bool:
    return found.interval.low <= truth <= found.interval.high


PARTS: dict[str, tuple[tuple[float, float, int], Callable[[Sequence[Trial]], list[bool]]]] = {
    "one": ((HIGH, LOW, 1), of_these_encoders),
    "runs": ((HIGH, LOW, 3), of_the_methods),
    "equal": ((SAME, SAME, 1), not_told_apart),
}


if __name__ == "__main__":
    main()
