"""Label policies: the expert wins, uncertain findings count as the policy states, films without a value are counted."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.errors import SettingsError, ShardFormatError
from data_prep.settings import load
from data_prep.shard_format.label_policy import REASONS, SOURCE_ORDERS, LabelPolicy, ResolvedLabels, resolve_labels
from data_prep.shard_format.label_schema import ADJUDICATED, BOXES_SCHEMA, LABELS_SCHEMA
from data_prep.shard_format.label_tables import LABELS_FILE, SOURCES, VALUES, read_boxes, read_labels

Row = tuple[str, str, str, str] | tuple[str, str, str, str, int | None] | tuple[str, str, str, str, int | None, float]


def table(*rows: Row) -> pa.Table:
    """Rows of key, label, value, source, and if given reader and confidence."""
    names = ("key", "label", "value", "source", "reader", "confidence")
    return pa.Table.from_pylist([dict(zip(names, row, strict=False)) for row in rows], LABELS_SCHEMA)


def one(policy: dict[str, Any], *rows: Row) -> tuple[float, float, str]:
    """Value, weight and reason of the only film and label."""
    found = resolve_labels(table(*rows), LabelPolicy(**policy))
    assert found.values.shape == (1, 1)
    return float(found.values[0, 0]), round(float(found.weights[0, 0]), 6), REASONS[found.reasons[0, 0]]


def said(value: str, source: str = "expert", reader: int | None = None, confidence: float = 1.0) -> Row:
    return "f", "fracture", value, source, reader, confidence


UNKNOWN = pytest.approx(float("nan"), nan_ok=True)


def test_the_most_reliable_source_that_mentions_a_finding_decides() -> None:
    expert, report, header = said("absent"), said("present", "report", None, 0.75), said("absent", "metadata")
    assert one({}, header, report, expert) == (0, 1, "")
    assert one({}, header, report) == (1, 0.75, "")
    assert one({}, header) == (0, 1, "")
    assert one({"merge": "weak_only"}, header, report, expert) == (1, 0.75, "")
    assert one({"merge": "expert_only"}, header, report) == (UNKNOWN, 0, "not labelled")
    assert one({}, said("uncertain"), report) == (UNKNOWN, 0, "uncertain")  # the report does not count
    assert one({}, said("not_mentioned"), report) == (1, 0.75, "")  # the next source decides


@pytest.mark.parametrize(
    ("uncertain", "expected"),
    [
        ("ignore", (UNKNOWN, 0, "uncertain")),
        ("soft", (0.25, 0.5, "")),
        ("positive", (1, 0.5, "")),
        ("negative", (0, 0.5, "")),
        ("class", (UNKNOWN, 0.5, "uncertain")),
    ],
)
@pytest.mark.parametrize("readers", ["majority", "mean", "ignore"])
def test_an_uncertain_finding_counts_as_the_policy_says(uncertain: str, expected: object, readers: str) -> None:
    policy = {"uncertain": uncertain, "soft_value": 0.25, "readers": readers}
    assert one(policy, said("uncertain", confidence=0.5)) == expected
    found = resolve_labels(table(said("uncertain"), ("g", "fracture", "present", "expert")), LabelPolicy(**policy))
    assert found.uncertain.tolist() == [[True], [False]]  # marks films of the class uncertain


def test_a_finding_that_nobody_mentions_is_unknown_or_absent() -> None:
    silent = said("not_mentioned", "report")
    assert one({}, silent) == (UNKNOWN, 0, "not mentioned")
    assert one({"not_mentioned": "absent"}, silent) == (0, 1, "")
    unsure = said("not_mentioned", "report", confidence=0.5)  # weighs less
    assert one({"not_mentioned": "absent"}, unsure) == (0, 0.5, "")
    assert one({"not_mentioned": "absent"}, said("uncertain"), silent) == (UNKNOWN, 0, "uncertain")
    assert one({"not_mentioned": "absent"}, silent, said("present", "metadata")) == (1, 1, "")
    nobody = resolve_labels(table(silent), LabelPolicy(not_mentioned="absent"), keys=["other"], names=["fracture"])
    assert np.isnan(nobody.values[0, 0]) and nobody.left_out("fracture") == {"not labelled": 1}


def test_readers_who_differ_are_reconciled() -> None:
    two = said("present", reader=1, confidence=0.8), said("absent", reader=2)
    three = (*two, said("present", reader=3, confidence=0.6))
    assert one({}, *two) == (UNKNOWN, 0, "labels conflict")
    assert one({}, *three) == (1, round((0.8 + 0.6) / 3, 6), "")
    assert one({"readers": "ignore"}, *three) == (UNKNOWN, 0, "labels conflict")
    assert one({"readers": "mean"}, *three) == (
        pytest.approx((0.8 + 0.6) / (0.8 + 1 + 0.6)),
        pytest.approx((0.8 + 1 + 0.6) / 3),
        "",
    )
    assert one({}, said("present", reader=1), said("uncertain", reader=2)) == (UNKNOWN, 0, "labels conflict")
    assert one({"uncertain": "positive"}, said("present", reader=1), said("uncertain", reader=2)) == (1, 1, "")
    assert (
        one({"uncertain": "negative"}, said("present", reader=1), said("uncertain", reader=2))[2] == "labels conflict"
    )
    assert one({"readers": "mean"}, said("present", reader=1), said("uncertain", reader=2)) == (1, 1, "")
    half = {"readers": "mean", "uncertain": "soft"}
    assert one(half, said("present", reader=1), said("uncertain", reader=2)) == (0.75, 1, "")
    assert one({}, said("present", reader=1), said("present", reader=2, confidence=0.5)) == (1, 0.75, "")


def test_an_adjudicated_entry_overrules_the_readers() -> None:
    readers = said("present", reader=1), said("present", reader=2)
    for policy in ({}, {"readers": "mean"}, {"readers": "ignore"}):
        assert one(policy, *readers, said("absent", reader=ADJUDICATED)) == (0, 1, "")
    assert one({}, *readers, said("uncertain", reader=ADJUDICATED))[2] == "uncertain"
    assert one({}, *readers, said("not_mentioned", reader=ADJUDICATED)) == (1, 1, "")


def test_films_and_labels_are_returned_in_the_requested_order() -> None:
    entries = table(
        ("b", "coin", "present", "expert"),
        ("a", "fracture", "absent", "report"),
        ("c", "coin", "present", "expert"),
        ("a", "mass", "present", "expert"),
    )
    found = resolve_labels(entries, LabelPolicy(), keys=["z", "b", "a"], names=["fracture", "coin"])
    assert found.keys == ["z", "b", "a"] and found.labels == ("fracture", "coin")
    assert np.array_equal(found.values, [[np.nan, np.nan], [np.nan, 1], [0, np.nan]], equal_nan=True)
    assert [[SOURCES[s] if s >= 0 else "" for s in row] for row in found.sources] == [
        ["", ""],
        ["", "expert"],
        ["report", ""],
    ]
    assert found.left_out("coin") == {"not labelled": 2}
    assert found.left_out("coin", np.array([False, True, True])) == {"not labelled": 1}
    by_default = resolve_labels(entries, LabelPolicy())
    assert by_default.keys == ["a", "b", "c"] and by_default.labels == ("coin", "fracture", "mass")


@pytest.mark.parametrize("readers", ["majority", "mean", "ignore"])
def test_an_entry_of_confidence_0_is_unknown_and_counted(readers: str) -> None:
    policy = {"readers": readers}
    nothing = (UNKNOWN, 0, "confidence 0")
    assert one(policy, said("present", confidence=0.0)) == nothing
    assert one(policy, said("absent", reader=1, confidence=0.0), said("absent", reader=2, confidence=0.0)) == nothing
    assert one(policy | {"not_mentioned": "absent"}, said("not_mentioned", confidence=0.0)) == nothing
    assert one(policy | {"uncertain": "soft"}, said("uncertain", confidence=0.0)) == nothing
    assert one(policy, said("uncertain", confidence=0.0)) == (UNKNOWN, 0, "uncertain")
    found = resolve_labels(table(said("present", confidence=0.0)), LabelPolicy.model_validate(policy))
    assert found.left_out("fracture") == {"confidence 0": 1}


def test_numbers_are_no_findings() -> None:
    numbers = pa.Table.from_pylist([{"key": "a", "label": "age", "number": 7.5, "source": "expert"}], LABELS_SCHEMA)
    assert resolve_labels(numbers, LabelPolicy()).values.shape == (0, 0)
    assert resolve_labels(LABELS_SCHEMA.empty_table(), LabelPolicy(), keys=["a"], names=["x"]).left_out("x") == {
        "not labelled": 1
    }


def reference_values(rows: list[Row], policy: LabelPolicy) -> dict[tuple[str, str], tuple[float, float, bool, str]]:
    """Reference implementation of the policy, for one film and label at a time."""
    cells: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        cells.setdefault((row[0], row[1]), []).append(row)
    return {cell: _decide(entries, policy) for cell, entries in cells.items()}


def _decide(entries: list[Row], policy: LabelPolicy) -> tuple[float, float, bool, str]:
    number = {"absent": 0.0, "present": 1.0, "uncertain": None}
    number["uncertain"] = {"soft": policy.soft_value, "positive": 1.0, "negative": 0.0}.get(policy.uncertain)
    counting = [entry for entry in entries if entry[3] in SOURCE_ORDERS[policy.merge]]
    for source in SOURCE_ORDERS[policy.merge]:
        for adjudicated in (True, False):
            of_source = [e for e in counting if e[3] == source and (e[4] == 0) == adjudicated]
            if votes := [(e[2], number[e[2]], e[5]) for e in of_source if e[2] != "not_mentioned"]:
                return _vote(votes, policy)
    if not counting:
        return np.nan, 0, False, "not labelled"
    confidence = float(np.mean([entry[5] for entry in counting]))
    return (0, confidence, False, "") if policy.not_mentioned == "absent" else (np.nan, 0, False, "not mentioned")


def _vote(votes: list[tuple[str, float | None, float]], policy: LabelPolicy) -> tuple[float, float, bool, str]:
    counts = Counter(name for name, _, _ in votes)
    if policy.readers == "mean":
        unsure = set(counts) == {"uncertain"}
        known = [(value, confidence) for _, value, confidence in votes if value is not None]
        if not known:
            return np.nan, np.mean([v[2] for v in votes]) if policy.uncertain == "class" else 0, True, "uncertain"
        value = sum(v * c for v, c in known) / sum(c for _, c in known)
        return value, np.mean([c for _, c in known]), unsure, ""
    needed = len(votes) if policy.readers == "ignore" else len(votes) / 2 + 0.1
    unsure = counts["uncertain"] >= needed
    if unsure and policy.uncertain in ("ignore", "class"):
        agreed = sum(confidence for name, _, confidence in votes if name == "uncertain")
        return np.nan, agreed / len(votes) if policy.uncertain == "class" else 0, True, "uncertain"
    for value in {v for _, v, _ in votes} - {None}:
        agreed = [confidence for _, v, confidence in votes if v == value]
        if len(agreed) >= needed:
            return value, sum(agreed) / len(votes), unsure, ""
    return np.nan, 0, unsure, "labels conflict"


@pytest.mark.parametrize("uncertain", ["ignore", "soft", "positive", "negative", "class"])
@pytest.mark.parametrize("readers", ["majority", "mean", "ignore"])
@pytest.mark.parametrize("merge", sorted(SOURCE_ORDERS))
def test_the_policy_equals_a_reference_on_random_entries(uncertain: str, readers: str, merge: str) -> None:
    random = np.random.default_rng(5)
    policy = LabelPolicy(uncertain=uncertain, readers=readers, merge=merge, soft_value=0.4, not_mentioned="absent")
    rows: list[Row] = [
        (
            f"film{random.integers(30)}",
            f"label{random.integers(3)}",
            str(random.choice(VALUES)),
            str(random.choice(SOURCES)),
            [None, 0, 1, 2, 3][random.integers(5)],
            float(np.float32(random.uniform(0.1, 1))),
        )
        for _ in range(300)
    ]
    found: ResolvedLabels = resolve_labels(table(*rows), policy)
    expected = reference_values(rows, policy)
    for (key, label), (value, weight, unsure, reason) in expected.items():
        place = found.keys.index(key), found.labels.index(label)
        assert found.values[place] == pytest.approx(value, nan_ok=True), (key, label)
        assert found.weights[place] == pytest.approx(weight), (key, label)
        assert found.uncertain[place] == unsure and REASONS[found.reasons[place]] == reason, (key, label)
    assert np.isnan(found.values).sum() >= found.values.size - len(expected)
    assert ((found.reasons == 0) == np.isfinite(found.values)).all()


def test_an_unknown_policy_fails_and_names_the_nearest() -> None:
    with pytest.raises(SettingsError, match="expert_wins"):
        load(LabelPolicy, None, ["merge=expert_win"])
    with pytest.raises(SettingsError, match="did you mean 'uncertain'"):
        load(LabelPolicy, None, ["uncertan=soft"])


def test_labels_from_before_there_were_readers_are_read(tmp_path: Path) -> None:
    earlier = table(said("present")).select(LABELS_SCHEMA.names[:-1])
    pq.write_table(earlier, tmp_path / LABELS_FILE)
    entries = read_labels(tmp_path)
    assert entries.schema.equals(LABELS_SCHEMA) and entries["reader"].to_pylist() == [None]
    assert resolve_labels(entries, LabelPolicy()).values.tolist() == [[1]]
    assert read_boxes(tmp_path).schema.equals(BOXES_SCHEMA)
    pq.write_table(earlier.drop_columns("value"), tmp_path / LABELS_FILE)
    with pytest.raises(ShardFormatError, match=r"labels\.parquet of .* is damaged. Remove it"):
        read_labels(tmp_path)
