"""A score is read between the better floor and the best ceiling; above the floors means above each of them."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from mae_rad.evaluation.comparison.candidates import Candidate
from mae_rad.evaluation.comparison.differences import ComparedMetric, encoder_pairs, metric_rows, with_verdicts
from mae_rad.evaluation.comparison.floors_and_ceilings import with_floors_and_ceilings
from mae_rad.evaluation.comparison.settings import CompareSettings
from mae_rad.evaluation.results.rows import RANDOM_BASELINE, RAW_PIXELS, Row
from mae_rad.evaluation.statistics.intervals import Interval

CANDIDATES = [
    Candidate("mae", "mae", "mae"),
    Candidate("natural", "foreign", "natural"),
    Candidate("labels 0", "supervised", "labels", is_ceiling=True),
    Candidate("labels 1", "supervised", "labels", is_ceiling=True),
    Candidate("truth", "foreign", "truth", is_ceiling=True),
    Candidate(f"{RANDOM_BASELINE} 0", "random", RANDOM_BASELINE),
    Candidate(f"{RANDOM_BASELINE} 1", "random", RANDOM_BASELINE),
    Candidate(RAW_PIXELS, "pca", RAW_PIXELS),
]
SCORES = {
    "mae": 0.7, "natural": 0.66, "labels 0": 0.95, "labels 1": 0.75, "labels": 0.85, "truth": 0.8,
    f"{RANDOM_BASELINE} 0": 0.69, f"{RANDOM_BASELINE} 1": 0.45, RANDOM_BASELINE: 0.57, RAW_PIXELS: 0.6,
}  # fmt: skip


def score(encoder, value, **more):
    fields = {
        "encoder": encoder, "method": "mae", "task": "sex", "probe": "linear", "metric": "auroc",
        "interval": Interval(value, value - 0.02, value + 0.02), "pool": "none" if encoder == RAW_PIXELS else "mean",
        "n_films": 9, "n_patients": 9, "n_train": 9, "n_train_patients": 9,
    }  # fmt: skip
    return Row(**fields | more)


def difference(encoder, reference, value, error, **more):
    """A difference with a normal error: its interval and two-sided p-value."""
    about = Interval(value, value - 1.96 * error, value + 1.96 * error)
    p = 2 * norm.sf(abs(value) / error)
    return score(encoder, 0.7, reference=reference, difference=about, p_value=p, **more)


def scores(**more):
    return [score(name, value, **more) for name, value in SCORES.items()]


def one(rows, encoder, **fields):
    fields = {"reference": None} | fields
    return next(r for r in rows if r.encoder == encoder and all(getattr(r, k) == v for k, v in fields.items()))


def test_a_share_is_of_the_way_from_the_better_floor_to_the_best_ceiling():
    rows = with_floors_and_ceilings(scores(), CANDIDATES)
    mae = one(rows, "mae")
    assert (mae.floor_encoder, mae.floor, mae.ceiling_encoder, mae.ceiling) == (RAW_PIXELS, 0.6, "labels", 0.85)
    assert mae.share == pytest.approx(0.1 / 0.25)
    assert one(rows, "natural").share == pytest.approx(0.06 / 0.25)
    assert mae.above_floors == ""  # no paired difference was computed
    roles = {row.encoder: row.role for row in rows}
    assert {name for name, role in roles.items() if role == "encoder"} == {"mae", "natural"}
    assert {name for name, role in roles.items() if role == "ceiling"} == {"labels 0", "labels 1", "labels", "truth"}
    assert {row.encoder for row in rows if row.floor is not None} == {"mae", "natural"}


def test_errors_are_read_downwards():
    errors = {"mae": 14.0, RANDOM_BASELINE: 20.0, RAW_PIXELS: 18.0, "labels": 10.0, "truth": 8.0}
    made = [score(name, value, metric="mean_absolute_error") for name, value in errors.items()]
    made += [
        difference("mae", floor, 14.0 - errors[floor], 1.0, metric="mean_absolute_error")
        for floor in (RANDOM_BASELINE, RAW_PIXELS)
    ]
    mae = one(with_floors_and_ceilings(made, CANDIDATES), "mae")
    assert (mae.floor_encoder, mae.floor, mae.ceiling_encoder, mae.ceiling) == (RAW_PIXELS, 18.0, "truth", 8.0)
    assert mae.share == pytest.approx(0.4)
    assert mae.above_floors == "yes"


def test_without_a_ceiling_above_the_floor_there_is_no_share():
    without = [candidate for candidate in CANDIDATES if not candidate.is_ceiling]
    mae = one(with_floors_and_ceilings(scores(), without), "mae")
    assert (mae.floor, mae.ceiling, mae.share) == (0.6, None, None)
    low = [
        replace(row, interval=Interval(0.55, 0.5, 0.6)) if row.encoder in ("labels", "truth") else row
        for row in scores()
    ]
    mae = one(with_floors_and_ceilings(low, CANDIDATES), "mae")
    assert (mae.floor, mae.ceiling, mae.share) == (0.6, 0.55, None)


def test_scores_are_read_between_those_of_their_own_labels_and_films():
    few = scores(label_fraction=0.1)
    few = [replace(row, interval=Interval(0.5, 0.4, 0.6)) if row.encoder == RAW_PIXELS else row for row in few]
    rows = with_floors_and_ceilings([*scores(), *few, score("mae", 0.9, subset="sex=F")], CANDIDATES)
    assert one(rows, "mae", label_fraction=0.1).floor_encoder == RANDOM_BASELINE
    assert one(rows, "mae", label_fraction=1.0).floor_encoder == RAW_PIXELS
    assert one(rows, "mae", subset="sex=F").floor is None
    other_pool = score("mae", 0.71, choice=1, pool="cls")  # pixels have one vector: that of the first choice
    rows = with_floors_and_ceilings([*scores(), other_pool], CANDIDATES)
    assert one(rows, "mae", choice=1).floor_encoder == RAW_PIXELS


def test_above_the_floors_is_above_each_of_them_after_correction():
    def answer(to_random, to_pixels, others=0):
        made = scores()
        made += [difference("mae", RANDOM_BASELINE, *to_random), difference("mae", RAW_PIXELS, *to_pixels)]
        for number in range(others):  # other tasks, of which nothing is known
            made += scores(task=str(number))
            made += [difference("mae", floor, 0.0, 0.02, task=str(number)) for floor in (RANDOM_BASELINE, RAW_PIXELS)]
        judged = with_verdicts(made, CompareSettings(shards=["s"], out="o"))
        return one(with_floors_and_ceilings(judged, CANDIDATES), "mae", task="sex").above_floors

    clear, weak = (0.1, 0.02), (0.05, 0.02)  # p of 6e-7 and 0.012
    assert answer(clear, clear) == "yes"
    assert answer(clear, weak) == answer(weak, clear) == "yes"
    assert answer(clear, weak, others=3) == "yes"  # 4 x 0.0124 = 0.0497
    assert answer(clear, weak, others=4) == "not shown"  # 5 x 0.0124 = 0.062
    assert answer(clear, clear, others=40) == "yes"
    assert answer(clear, (0.02, 0.02)) == "not shown"
    assert answer(clear, (-0.1, 0.02)) == "no"
    assert answer(clear, (0.005, 0.01)) == "no"  # within 0.03
    assert answer(clear, (0.0, 0.05)) == "not shown"
    assert answer(clear, (0.0, np.nan)) == "not shown"


def test_chance_is_rarely_above_both_floors():
    """Of 20 encoders that equal the pixels and are above the random baseline, 1 in 20 families has an error."""
    random, errors = np.random.default_rng(2), 0
    for _ in range(120):
        made = []
        for task in map(str, range(20)):
            made += scores(task=task)
            made.append(difference("mae", RANDOM_BASELINE, 0.2, 0.02, task=task))
            made.append(difference("mae", RAW_PIXELS, 0.02 * random.normal(), 0.02, task=task))
        rows = with_floors_and_ceilings(made, CANDIDATES)
        errors += any(row.above_floors == "yes" for row in rows)
    assert errors <= 12  # 6 expected; more than 12 in 1 of 100 such tests


def test_a_ceiling_is_compared_with_the_random_baseline_alone_and_ours_come_first():
    order = [CANDIDATES[1], CANDIDATES[0], *CANDIDATES[2:]]  # the external encoder is listed first
    pairs = [(pair.encoder, pair.reference) for pair in encoder_pairs(order, 0.05)]
    assert ("mae", "natural") in pairs
    assert ("natural", "mae") not in pairs
    assert [pair for pair in pairs if {"labels", "truth"} & set(pair)] == [
        ("labels", RANDOM_BASELINE), ("truth", RANDOM_BASELINE),
    ]  # fmt: skip


def test_planted_scores_are_above_both_floors():
    random, films = np.random.default_rng(0), 400
    y = np.arange(films) % 2 == 1
    strength = {"mae": 1.5, "natural": -1.0, "truth": 4.0, RANDOM_BASELINE: 0.2, RAW_PIXELS: 0.5}
    values = {name: random.normal(size=films) + mean * y for name, mean in strength.items()}

    def accuracy(answers):
        return lambda weights: (weights @ answers) / weights.sum(axis=1)

    by_group = {candidate.group: candidate for candidate in CANDIDATES}
    candidates = [replace(by_group[name], name=name) for name in strength]
    metric = ComparedMetric(
        task="t", probe="linear", metric="balanced_accuracy", vectors=dict.fromkeys(strength, (196, "mean")),
        patients=np.arange(films), notes={}, min_class_patients=200,
        estimates={name: [accuracy((value > strength[name] / 2) == y)] for name, value in values.items()},
    )  # fmt: skip
    settings = CompareSettings(shards=["s"], out="o", repetitions=300)
    rows = metric_rows(metric, candidates, encoder_pairs(candidates, 0.05), settings, 0)
    rows = with_floors_and_ceilings(with_verdicts(rows, settings), candidates)
    mae = one(rows, "mae")
    theory = {name: norm.cdf(mean / 2) for name, mean in strength.items()}
    expected = (theory["mae"] - theory[RAW_PIXELS]) / (theory["truth"] - theory[RAW_PIXELS])
    assert mae.share == pytest.approx(expected, abs=0.12)
    assert (mae.above_floors, one(rows, "natural").above_floors) == ("yes", "no")
