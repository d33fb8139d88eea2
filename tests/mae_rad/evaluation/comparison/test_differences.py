"""What a difference is said to show: after correction, with few patients, where nobody errs."""

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from mae_rad.evaluation.comparison.candidates import Candidate
from mae_rad.evaluation.comparison.differences import ComparedMetric, EncoderPair, metric_rows, verdict, with_verdicts
from mae_rad.evaluation.comparison.settings import CompareSettings
from mae_rad.evaluation.results.rows import Row
from mae_rad.evaluation.statistics.intervals import BootstrapSamples, Interval, detectable_reach
from mae_rad.evaluation.statistics.metrics import auroc


def row_with(difference, p_adjusted, detectable):
    return Row(
        encoder="mae", method="mae", task="t", probe="linear", metric="auroc", interval=Interval(1, 1, 1),
        reference="simclr", difference=difference, p_adjusted=p_adjusted, minimum_detectable_difference=detectable,
        n_films=1, n_patients=1, n_train=1, n_train_patients=1,
    )  # fmt: skip


def test_no_difference_and_too_few_patients_are_different_verdicts():
    for difference, p_adjusted, detectable, said in (
        (Interval(0.1, 0.05, 0.15), 0.01, 0.07, "higher"),
        (Interval(-0.1, -0.15, -0.05), 0.01, 0.07, "lower"),
        (Interval(0.1, 0.05, 0.15), 0.2, 0.07, "too few patients"),  # not after correction
        (Interval(0.1, 0.05, 0.15), 0.2, 0.02, "no difference shown"),
        (Interval(0.001, -0.01, 0.012), 0.9, 0.015, "no relevant difference"),
        (Interval(0.01, 0.005, 0.015), 0.01, 0.007, "higher"),
        (Interval(0.02, -0.01, 0.05), 0.2, 0.04, "too few patients"),
        (Interval(0.1, math.nan, math.nan), None, None, "too few patients"),
    ):
        assert verdict(row_with(difference, p_adjusted, detectable), 0.03) == said


def measured(positive, negative):
    """Two encoders that answer every film rightly."""
    y = np.arange(positive + negative) < positive
    perfect = [lambda weights: auroc(y, y.astype(float), weights)]
    return ComparedMetric(
        task="t", probe="linear", metric="auroc", vectors={"a": (196, "mean"), "b": (196, "mean")},
        patients=np.arange(len(y)), estimates={"a": perfect, "b": perfect}, notes={}, min_class_patients=positive,
    )  # fmt: skip


def test_two_encoders_without_an_error_are_equal_only_with_many_patients():
    candidates = [Candidate(name, name, name) for name in "ab"]
    settings = CompareSettings(shards=["s"], out="o", repetitions=100)
    for positive, said in ((6, "too few patients"), (60, "too few patients"), (150, "no relevant difference")):
        rows = metric_rows(measured(positive, 300), candidates, [EncoderPair("a", "b", "none", "")], settings, 0)
        assert with_verdicts(rows, settings)[-1].verdict == said
        assert rows[0].interval == pytest.approx((1.0, 1 - 3 / positive, 1.0))
        assert ("a class has 6 test patients" in rows[0].note) is (positive == 6)


def test_an_interval_stays_within_the_range_of_the_metric():
    """Two runs that disagree have a wide interval, of Student's with one degree of freedom."""
    values = np.array([[0.3], [0.9]])
    far = BootstrapSamples(values, np.repeat(values[:, None], 100, axis=2), 50)
    for metric, least in (("auroc", 0.0), ("ari", -1.0)):
        assert replace(measured(20, 30), metric=metric).interval(far)[1:] == (least, 1.0)


def test_detectable_differences_are_corrected_like_p_values():
    """Of 20 questions, a true difference as large as the one said to be detectable is found in four of five cases."""
    random, patients, questions, error = np.random.default_rng(3), 400, 20, 0.02
    settings = CompareSettings(shards=["s"], out="o")
    least = detectable_reach(patients - 1) * error
    found, said = 0, 0.0
    for _ in range(200):
        truth = np.r_[said or 0.078, np.zeros(questions - 1)]
        rows = []
        for number, value in enumerate(truth + error * random.normal(size=questions)):
            row = row_with(Interval(value, value - 1.96 * error, value + 1.96 * error), None, least)
            p = 2 * NormalDist().cdf(-abs(value) / error)
            rows.append(replace(row, task=str(number), p_value=p, freedom=patients - 1))
        out = with_verdicts(rows, settings)
        said = out[0].minimum_detectable_difference
        found += out[0].verdict == "higher"
    assert said > 1.3 * least
    assert 0.74 <= found / 200 <= 0.88


def number_metric(name, values):
    """A metric of numbers whose value on every resample is that of its films, times the mean weight."""
    return ComparedMetric(
        task="age", probe="linear", metric=name, vectors=dict.fromkeys(values, (196, "mean")),
        patients=np.arange(40), notes={}, min_class_patients=40, unit="months", spread=40.0,
        estimates={key: [lambda weights, f=f: f(weights)] for key, f in values.items()},
    )  # fmt: skip


def rows_of(metric):
    settings = CompareSettings(shards=["s"], out="o", repetitions=200)
    candidates = [Candidate(name, name, name) for name in metric.estimates]
    pair = [EncoderPair(*list(metric.estimates)[:2], "none", "")]
    return with_verdicts(metric_rows(metric, candidates, pair, settings, 0), settings)


def test_a_relevant_difference_of_an_error_is_in_standard_deviations_of_the_number():
    """0.03 of 40 months is 1.2 months: an interval of half a month around 0.1 is within it, though wider than 0.03."""
    errors = np.random.default_rng(0).normal(20, 1, size=40)
    noise = np.random.default_rng(1).normal(0, 1.5, size=40)
    noise -= noise.mean() - 0.1
    same = number_metric(
        "mean_absolute_error", {"a": lambda w: w @ (errors + noise) / 40, "b": lambda w: w @ errors / 40}
    )
    assert rows_of(same)[-1].verdict == "no relevant difference"
    assert rows_of(replace(same, spread=1.0))[-1].verdict == "too few patients"


def test_errors_and_explained_variance_leave_the_range_of_a_share():
    errors = np.random.default_rng(0).normal(20, 3, size=40)
    error = rows_of(
        number_metric("mean_absolute_error", {"a": lambda w: w @ errors / 40, "b": lambda w: w @ errors / 40})
    )
    assert error[0].interval.low > 15
    assert error[0].note == "in months"
    below = rows_of(number_metric("r2", {"a": lambda w: 0.2 - w @ errors / 40, "b": lambda w: -w @ errors / 40}))
    assert below[0].interval.high < -10


def test_main_metrics_of_classes_and_numbers_are_corrected_together():
    rows = [
        replace(row_with(Interval(0.1, 0.05, 0.15), None, 0.05), task=task, metric=metric, p_value=p)
        for task, metric, p in (("sex", "auroc", 0.01), ("age", "r2", 0.02), ("age", "mean_absolute_error", 0.02))
    ]
    settings = CompareSettings(shards=["s"], out="o")
    assert [row.p_adjusted for row in with_verdicts(rows, settings)] == [pytest.approx(p) for p in (0.02, 0.02, 0.02)]
