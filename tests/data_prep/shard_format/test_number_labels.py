import statistics
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from data_prep.shard_format.label_policy import REASONS, LabelPolicy
from data_prep.shard_format.label_schema import LABELS_SCHEMA
from data_prep.shard_format.number_labels import resolve_numbers

UNKNOWN = pytest.approx(float("nan"), nan_ok=True)


def one(policy: dict[str, Any], *entries: tuple[float | None, str, int | None, float]) -> tuple[float, str]:
    """Number and reason of the only film."""
    names = ("number", "source", "reader", "confidence")
    rows = [{"key": "f", "label": "bone_age"} | dict(zip(names, entry, strict=True)) for entry in entries]
    table = pa.Table.from_pylist(rows, LABELS_SCHEMA)
    found = resolve_numbers(table, LabelPolicy(**policy), keys=["f"], name="bone_age")
    return float(found.numbers[0]), REASONS[found.reasons[0]]


def test_the_most_reliable_source_that_gives_a_number_decides() -> None:
    expert, report, header = (36.0, "expert", None, 1.0), (48.0, "report", None, 1.0), (60.0, "metadata", None, 1.0)
    assert one({}, header, report, expert) == (36, "")
    assert one({}, header, report) == (48, "")
    assert one({"merge": "weak_only"}, header, report, expert) == (48, "")
    assert one({"merge": "expert_only"}, header, report) == (UNKNOWN, "not labelled")


def test_readers_are_reconciled_by_median_mean_or_agreement() -> None:
    given = (36.0, 50.0, 40.0)
    readers = [(number, "expert", reader, 1.0) for reader, number in enumerate(given, 1)]
    assert one({}, *readers) == (statistics.median(given), "")
    assert one({"readers": "mean"}, *readers) == (statistics.mean(given), "")
    assert one({"readers": "ignore"}, *readers) == (UNKNOWN, "labels conflict")
    assert one({"readers": "ignore"}, *[(40.0, "expert", reader, 1.0) for reader in (1, 2)]) == (40, "")


def test_a_majority_that_agrees_has_its_number() -> None:
    readers = [(number, "expert", reader, 1.0) for reader, number in enumerate((90.0, 40.0, 40.0), 1)]
    assert one({}, *readers) == (40, "")


def test_an_adjudicated_number_overrules_readers() -> None:
    readers = [(36.0, "expert", 1, 1.0), (50.0, "expert", 2, 1.0)]
    assert one({"readers": "ignore"}, *readers, (44.0, "expert", 0, 1.0)) == (44, "")


def test_confidence_weights_the_mean_and_zero_counts_nothing() -> None:
    readers = [(36.0, "expert", 1, 1.0), (50.0, "expert", 2, 0.5), (1e6, "expert", 3, 0.0)]
    assert one({"readers": "mean"}, *readers) == (pytest.approx((36 + 0.5 * 50) / 1.5), "")
    assert one({}, *readers) == (43, "")
    assert one({}, readers[-1]) == (UNKNOWN, "confidence 0")


def test_values_and_other_labels_and_films_give_no_number() -> None:
    rows = [
        {"key": "a", "label": "bone_age", "value": "uncertain", "source": "expert"},
        {"key": "b", "label": "bone_age", "number": float("nan"), "source": "expert"},
        {"key": "c", "label": "bone_density", "number": 1.0, "source": "expert"},
        {"key": "elsewhere", "label": "bone_age", "number": 1.0, "source": "expert"},
        {"key": "d", "label": "bone_age", "number": 7.0, "source": "expert"},
    ]
    table = pa.Table.from_pylist(rows, LABELS_SCHEMA)
    found = resolve_numbers(table, LabelPolicy(), keys=["d", "c", "b", "a"], name="bone_age")
    np.testing.assert_array_equal(found.numbers, [7, np.nan, np.nan, np.nan])
    assert [REASONS[code] for code in found.reasons] == ["", *["not labelled"] * 3]
