import time
from statistics import NormalDist

import numpy as np
import pytest
from scipy.stats import ttest_ind
from sklearn.metrics import roc_auc_score

from data_prep.statistics.patient_bootstrap import resamples
from mae_rad.evaluation.statistics.intervals import (
    BootstrapSamples,
    Interval,
    bootstrap,
    contrast,
    holm,
    interval,
    pool_runs,
    with_rule_of_three,
)
from mae_rad.evaluation.statistics.metrics import auroc, macro_auroc

PATIENTS, FILMS = 60, 4


def clustered(random, shift=1.0, within=0.5):
    """Films of patients: label per patient, score = label * shift + patient effect + film noise."""
    patient = np.repeat(np.arange(PATIENTS), FILMS)
    y = np.repeat(random.permutation(PATIENTS) % 2, FILMS)
    score = shift * y + np.repeat(random.normal(size=PATIENTS), FILMS) + within * random.normal(size=PATIENTS * FILMS)
    return patient, y == 1, score


def truth(shift=1.0, within=0.5):
    return NormalDist().cdf(shift / np.sqrt(2 * (1 + within**2)))


def test_intervals_over_patients_cover_the_true_value_and_intervals_over_films_do_not():
    random = np.random.default_rng(0)
    covered = {"patients": 0, "films": 0}
    runs = 200
    for run in range(runs):
        patient, y, score = clustered(random)
        for unit, groups in {"patients": patient, "films": np.arange(len(y))}.items():
            drawn = bootstrap(groups, {"m": [lambda w, y=y, s=score: auroc(y, s, w)]}, repetitions=300, seed=run)
            _, low, high = interval(drawn["m"])
            covered[unit] += low <= truth() <= high
    assert 0.90 <= covered["patients"] / runs <= 0.98
    assert covered["films"] / runs < 0.80


def test_paired_differences_are_narrower_than_unpaired_and_cover_the_true_value():
    random = np.random.default_rng(1)
    covered, narrower, runs = 0, 0, 100
    for run in range(runs):
        patient, y, score = clustered(random)
        noise = random.normal(size=len(y))
        other = score + 0.8 * noise  # the same films and patients, a noisier reader
        pair = {"a": [lambda w, y=y, s=score: auroc(y, s, w)], "b": [lambda w, y=y, s=other: auroc(y, s, w)]}
        drawn = bootstrap(patient, pair, repetitions=300, seed=run)
        difference = contrast(drawn["a"], drawn["b"]).interval
        expected = truth() - truth(within=np.sqrt(0.25 + 0.64))
        covered += difference.low <= expected <= difference.high
        a, b = interval(drawn["a"]), interval(drawn["b"])
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
        interval(bootstrap(patient, {"m": [lambda w: auroc(y, score, w)]}, repetitions=200, seed=seed)["m"])
        for seed in (0, 0, 1)
    )
    assert one == again != other


def test_a_difference_to_several_runs_is_to_their_mean():
    drawn = bootstrap(
        np.arange(10),
        {name: [lambda w, c=c: c * w[:, 0]] for name, c in {"a": 5.0, "b": 1.0, "c": 2.0}.items()},
        repetitions=200,
        seed=0,
    )
    assert contrast(drawn["a"], pool_runs([drawn["b"], drawn["c"]])).interval.value == pytest.approx(3.5)


def two_methods(random, runs, between, patients=60, shift=1.0):
    """Two methods of several runs each: what is measured of a patient varies by method, by run and by both."""
    weights = random.multinomial(patients, np.full(patients, 1 / patients), size=100) / patients
    for mean in (shift, 0.0):
        values = mean + random.normal(size=patients) + random.normal(size=(runs, patients))
        values += between * random.normal(size=(runs, 1))
        yield BootstrapSamples(values.mean(axis=1)[:, None], (values @ weights.T)[:, None], patients)


@pytest.mark.parametrize(("runs", "between"), [(2, 0.4), (3, 0.0), (3, 0.4), (5, 0.1)])
def test_differences_of_repeated_pretrainings_cover_the_true_value(runs, between):
    random = np.random.default_rng(7)
    covered, alone, trials = 0, 0, 500
    for _ in range(trials):
        one, other = two_methods(random, runs, between)
        found = contrast(one, other).interval
        covered += found.low <= 1.0 <= found.high
        first = (BootstrapSamples(each.values[:1], each.samples[:1], each.patients) for each in (one, other))
        single = contrast(*first).interval
        alone += single.low <= 1.0 <= single.high
    assert 0.92 <= covered / trials <= 0.98
    if between == 0.4:
        assert alone / trials < 0.75  # one run each, and the interval knows nothing of the others


def test_repeated_pretrainings_without_patients_are_a_welch_test():
    """Many patients who do not vary: what is left is Welch's t-test of the runs."""
    random = np.random.default_rng(8)
    one, other = random.normal(1, 1, 4), random.normal(0, 0.3, 3)
    sampled = [BootstrapSamples(v[:, None], np.repeat(v[:, None, None], 50, axis=2), 10_000) for v in (one, other)]
    found = contrast(*sampled)
    welch = ttest_ind(one, other, equal_var=False)
    assert found.p_value == pytest.approx(welch.pvalue, rel=1e-6)
    low, high = welch.confidence_interval(0.95)
    assert found.interval == pytest.approx((one.mean() - other.mean(), low, high))


def test_draws_of_labels_are_paired_between_encoders():
    """Both methods suffer from the same unlucky draw: the difference does not vary with it, each value does."""
    luck = np.array([[-0.2, 0.0, 0.3]])
    samples = np.random.default_rng(9).normal(scale=0.01, size=200)
    one, other = (BootstrapSamples(luck + base, (luck + base)[..., None] + samples, 100) for base in (0.7, 0.6))
    found = contrast(one, other)
    assert found.interval == pytest.approx((0.1, 0.1, 0.1))
    assert interval(one).high - interval(one).low > 0.5


def test_the_detectable_difference_is_found_in_four_of_five_cases():
    random, patients, trials = np.random.default_rng(10), 80, 300
    detectable, found = [], 0
    for trial in range(trials):
        noise = random.normal(size=(2, patients))
        true = 0.4436  # what 80 patients with this noise detect
        values = noise + np.array([[true], [0.0]])
        drawn = bootstrap(
            np.arange(patients),
            {name: [lambda w, v=v: w @ v / w.sum(axis=1)] for name, v in zip("ab", values, strict=True)},
            repetitions=150,
            seed=trial,
        )
        pair = contrast(drawn["a"], drawn["b"])
        detectable.append(pair.detectable)
        found += pair.p_value < 0.05
    assert np.mean(detectable) == pytest.approx(2.83 * np.sqrt(2 / patients), rel=0.03)
    assert found / trials == pytest.approx(0.8, abs=0.05)


def test_holm_rejects_what_its_sequence_of_tests_rejects():
    random = np.random.default_rng(11)
    for _ in range(50):
        p_values = random.random(12) ** 4
        adjusted = holm(p_values.tolist())
        for level in (0.01, 0.05, 0.2):
            rejected = set()
            for step, place in enumerate(np.argsort(p_values)):
                if p_values[place] > level / (12 - step):
                    break
                rejected.add(place)
            assert rejected == {place for place, p in enumerate(adjusted) if p <= level}
    assert holm([]) == []


def test_equal_results_of_all_patients_give_an_interval_by_the_rule_of_three():
    """Of n patients without an exception, up to 1 - 0.05^(1/n) may be one: what is given covers that."""
    for patients in (5, 20, 100, 1000):
        found = with_rule_of_three(Interval(1.0, 1.0, 1.0), patients)
        assert 1 - found.low >= min(1.0, 1 - 0.05 ** (1 / patients))
        assert 1 - found.low == pytest.approx(3 / patients)
    as_it_is = Interval(0.9, 0.8, 0.95)
    assert with_rule_of_three(as_it_is, 5) is as_it_is


def test_a_thousand_resamples_of_a_thousand_films_take_seconds():
    random = np.random.default_rng(5)
    y, scores = random.integers(0, 5, 1000), random.random((1000, 5))
    start = time.monotonic()
    bootstrap(np.arange(1000) // 2, {"m": [lambda w: macro_auroc(y, scores, w)]}, repetitions=1000, seed=0)
    assert time.monotonic() - start < 5


def test_one_patient_has_no_interval():
    """All resamples of one patient are that patient: their width says nothing."""
    of_one = BootstrapSamples(np.array([[0.6]]), np.full((1, 1, 200), 0.6), patients=1)
    assert np.isnan(interval(of_one).low)
    assert np.isnan(contrast(of_one, of_one).interval.low)
