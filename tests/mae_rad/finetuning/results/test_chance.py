"""A model is said to be no better than chance unless the interval of its test films lies above chance."""

import math

import pytest

from mae_rad.finetuning.results.chance import chance_warnings
from mae_rad.finetuning.results.metrics_table import Result

NAN = math.nan


def _result(metric, value, low, high, label="fracture", split="test", subset="all"):
    return Result(label, split, subset, metric, "", value, low, high, 40, 30, 7)


@pytest.mark.parametrize(
    ("metric", "value", "low", "high", "words"),
    [
        ("auroc", 0.8, 0.7, 0.9, None),
        ("auroc", 0.6, 0.5, 0.7, "AUROC 0.600 [0.500, 0.700] on 40 test films: the interval includes chance (0.5)"),
        ("auroc", 0.3, 0.2, 0.4, "AUROC 0.300 [0.200, 0.400] on 40 test films: worse than chance (0.5)"),
        ("auroc", 0.9, NAN, NAN, "AUROC 0.900 on 40 test films: too few patients for an interval"),
        ("auroc", NAN, NAN, NAN, "the test films give no AUROC or R²"),
        ("froc", 0.8, 0.7, 0.9, "the test films give no AUROC or R²"),
        (
            "macro_auroc",
            0.6,
            0.4,
            0.7,
            "macro AUROC 0.600 [0.400, 0.700] on 40 test films: the interval includes chance",
        ),
        ("film_auroc", 0.7, 0.6, 0.8, None),
        ("r2", 0.1, -0.1, 0.3, "R² 0.100 [-0.100, 0.300] on 40 test films: the interval includes chance (0)"),
        ("r2", 0.1, 0.05, 0.3, None),
    ],
)
def test_an_interval_that_does_not_lie_above_chance_is_a_warning(metric, value, low, high, words):
    warnings = chance_warnings([_result(metric, value, low, high)], ["fracture"])
    if words is None:
        assert warnings == {}
    else:
        assert warnings["fracture"].startswith(words)


def test_only_all_test_films_count():
    good_elsewhere = [
        _result("auroc", 0.9, 0.8, 1.0, split="val"),
        _result("auroc", 0.9, 0.8, 1.0, subset="sex=F"),
        _result("auroc", 0.9, 0.8, 1.0, label="implant"),
    ]
    assert chance_warnings(good_elsewhere, ["fracture", "implant"]) == {"fracture": "not measured on test films"}
