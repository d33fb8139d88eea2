import time
from statistics import NormalDist

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mae_rad.evaluation.intervals import bootstrap, percentile_interval, resamples
from mae_rad.evaluation.metrics import auroc, macro_auroc

PATIENTS, FILMS = 60, 4


def clustered(random, shift=1.0, within=0.5):
    """Films of patients: label per patient, score = label * shift + patient effect + film noise."""
    patient = np.repeat(np.arange(PATIENTS), FILMS)
    y = np.repeat(random.permutation(PATIENTS) % 2, FILMS)
    score = shift * y + np.repeat(random.normal(size=PATIENTS), FILMS) + within * random.normal(size=PATIENTS * FILMS)
    return patient, y == 1, score


def truth(shift=1.0, within=0.5):
    return NormalDist().cdf(shift / np.sqrt(2 * (1 + within**2)))


def test_intervals_over_patients_cover_the_truth_and_intervals_over_films_do_not():
    random = np.random.default_rng(0)
    covered = {"patients": 0, "films": 0}
    runs = 200
    for run in range(runs):
        patient, y, score = clustered(random)
        for unit, groups in {"patients": patient, "films": np.arange(len(y))}.items():
            drawn = bootstrap(groups, {"m": lambda w, y=y, s=score: auroc(y, s, w)}, repetitions=300, seed=run)
            _, low, high = drawn.interval("m")
            covered[unit] += low <= truth() <= high
    assert 0.90 <= covered["patients"] / runs <= 0.98
    assert covered["films"] / runs < 0.80


def test_paired_differences_are_narrower_than_unpaired_and_cover_the_truth():
    random = np.random.default_rng(1)
    covered, narrower, runs = 0, 0, 100
    for run in range(runs):
        patient, y, score = clustered(random)
        noise = random.normal(size=len(y))
        other = score + 0.8 * noise  # the same films and patients, a noisier reader
        pair = {"a": lambda w, y=y, s=score: auroc(y, s, w), "b": lambda w, y=y, s=other: auroc(y, s, w)}
        drawn = bootstrap(patient, pair, repetitions=300, seed=run)
        difference = drawn.difference("a", ["b"])
        expected = truth() - truth(within=np.sqrt(0.25 + 0.64))
        covered += difference.low <= expected <= difference.high
        a, b = drawn.interval("a"), drawn.interval("b")
        narrower += difference.high - difference.low < np.hypot(a.high - a.low, b.high - b.low)
    assert covered / runs >= 0.88
    assert narrower == runs


def test_a_resample_is_patients_drawn_with_all_their_films():
    random = np.random.default_rng(2)
    patient, y, score = clustered(random)
    (weights,) = resamples(patient, repetitions=50, seed=3)
    counts = weights.reshape(50, PATIENTS, FILMS)
    assert (counts == counts[..., :1]).all()
    assert (counts[..., 0].sum(axis=1) == PATIENTS).all()
    copies = np.repeat(np.arange(len(y)), weights[7].astype(int))
    assert auroc(y, score, weights)[7] == pytest.approx(roc_auc_score(y[copies], score[copies]), abs=1e-12)


def test_same_seed_same_interval_other_seed_another():
    patient, y, score = clustered(np.random.default_rng(4))
    one, again, other = (
        bootstrap(patient, {"m": lambda w: auroc(y, score, w)}, repetitions=200, seed=seed).interval("m")
        for seed in (0, 0, 1)
    )
    assert one == again != other


def test_difference_to_several_references_is_to_their_mean():
    drawn = bootstrap(
        np.arange(10),
        {name: lambda w, c=c: c * w[:, 0] for name, c in {"a": 5.0, "b": 1.0, "c": 2.0}.items()},
        repetitions=200,
        seed=0,
    )
    assert drawn.difference("a", ["b", "c"]).value == pytest.approx(3.5)
    assert drawn.difference("a", ["b", "c"]).high == pytest.approx(3.5 / 5 * drawn.interval("a").high)


def test_no_interval_where_a_class_is_mostly_lost():
    samples = np.r_[np.full(30, np.nan), np.linspace(0, 1, 70)]
    interval = percentile_interval(0.5, samples)
    assert np.isnan(interval.low)
    assert interval.value == 0.5
    assert np.isfinite(percentile_interval(0.5, samples[25:]).low)  # a few lost resamples do not matter


def test_a_thousand_resamples_of_a_thousand_films_take_seconds():
    random = np.random.default_rng(5)
    y, scores = random.integers(0, 5, 1000), random.random((1000, 5))
    start = time.monotonic()
    bootstrap(np.arange(1000) // 2, {"m": lambda w: macro_auroc(y, scores, w)}, repetitions=1000, seed=0)
    assert time.monotonic() - start < 5
