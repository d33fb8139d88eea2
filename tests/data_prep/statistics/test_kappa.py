"""Kappa equals scikit-learn, the published example and a port; intervals are those of resampled patients."""

from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import cohen_kappa_score

from data_prep.labels.reader_agreement import measure_agreement
from data_prep.labels.settings import AgreementSettings
from data_prep.shard_format.label_schema import ADJUDICATED, BOXES_SCHEMA, LABELS_SCHEMA
from data_prep.statistics.kappa import CATEGORIES, cohen_agreement, cohen_kappa, fleiss_agreement, fleiss_kappa

SETTINGS = AgreementSettings(repetitions=200, seed=3)


def test_cohen_equals_scikit_learn() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        first = random.integers(3, size=50)
        second = np.where(random.random(50) < 0.6, first, random.integers(3, size=50))
        found = cohen_agreement(first, second, np.arange(50), SETTINGS.resampling)
        assert found.estimate == pytest.approx(cohen_kappa_score(first, second))
        assert found.observed == pytest.approx(np.mean(first == second))
        assert found.low <= found.estimate <= found.high


def test_fleiss_equals_the_published_example() -> None:
    """Fleiss 1971, as given at en.wikipedia.org/wiki/Fleiss'_kappa: 10 subjects, 14 raters, 5 categories."""
    votes = np.array(
        [
            [0, 0, 0, 0, 14],
            [0, 2, 6, 4, 2],
            [0, 0, 3, 5, 6],
            [0, 3, 9, 2, 0],
            [2, 2, 8, 1, 1],
            [7, 7, 0, 0, 0],
            [3, 2, 6, 3, 0],
            [2, 5, 3, 2, 2],
            [6, 5, 2, 1, 0],
            [0, 2, 2, 3, 7],
        ],
        dtype=np.float64,
    )
    found = fleiss_agreement(votes, np.arange(10), SETTINGS.resampling)
    assert (round(found.estimate, 3), round(found.observed, 3)) == (0.210, 0.378)


def test_fleiss_with_different_numbers_of_readers_per_film() -> None:
    """Every pair of readers of a film is counted, films weigh the same: a port that knows no formula."""
    random = np.random.default_rng(1)
    words = [random.integers(3, size=random.integers(2, 6)).tolist() for _ in range(40)]
    votes = np.array([[one.count(category) for category in range(3)] for one in words], dtype=np.float64)
    agree = np.mean([np.mean([a == b for a, b in combinations(one, 2)]) for one in words])
    shares = np.mean([[one.count(category) / len(one) for category in range(3)] for one in words], axis=0)
    chance = float((shares**2).sum())
    assert fleiss_agreement(votes, np.arange(40), SETTINGS.resampling).estimate == pytest.approx(
        (agree - chance) / (1 - chance)
    )


def test_kappa_is_undefined_where_expected_agreement_is_1() -> None:
    same = np.ones(10, dtype=np.int64)
    found = cohen_agreement(same, same, np.arange(10), SETTINGS.resampling)
    assert found.observed == 1 and np.isnan([found.estimate, found.low, found.high]).all()


def test_intervals_are_over_patients() -> None:
    """A plain loop over the same draws; and ten films of each patient tell no more than one."""
    random = np.random.default_rng(2)
    first = random.integers(2, size=30)
    second = np.where(random.random(30) < 0.7, first, 1 - first)
    patients = np.arange(30)
    found = cohen_agreement(first, second, patients, SETTINGS.resampling)
    draws = np.random.default_rng(SETTINGS.seed)
    samples = []
    for _ in range(SETTINGS.repetitions):
        films = draws.integers(30, size=30)
        samples.append(cohen_kappa_score(first[films], second[films]))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(samples, [0.025, 0.975])))
    tenfold = cohen_agreement(np.repeat(first, 10), np.repeat(second, 10), np.repeat(patients, 10), SETTINGS.resampling)
    assert tenfold == pytest.approx(found)


def test_kappas_of_many_tables_are_computed_in_one_call() -> None:
    tables = np.random.default_rng(4).integers(1, 20, size=(7, 3, 3)).astype(np.float64)
    for table, kappa in zip(tables, cohen_kappa(tables), strict=True):
        rows, columns = (np.repeat(np.indices((3, 3))[axis].ravel(), table.ravel().astype(int)) for axis in (0, 1))
        assert kappa == pytest.approx(cohen_kappa_score(rows, columns))
    assert np.isnan(fleiss_kappa(np.zeros(1), np.zeros((1, 3)), np.zeros(1))).all()


def labels_of(*rows: tuple[int, str, int | None]) -> pa.Table:
    """Film, value and reader."""
    names = ("key", "value", "reader")
    return pa.Table.from_pylist(
        [
            dict(zip(names, (f"film{film}", value, reader), strict=True)) | {"label": "fracture", "source": "expert"}
            for film, value, reader in rows
        ],
        LABELS_SCHEMA,
    )


INDEX = pa.table({"key": [f"film{n}" for n in range(40)], "patient": [f"patient{n // 2}" for n in range(40)]})
NO_BOXES = BOXES_SCHEMA.empty_table()


def test_two_readers_are_compared_on_the_films_that_both_have_read() -> None:
    random = np.random.default_rng(6)
    first = random.choice(CATEGORIES, size=30)
    second = np.where(random.random(30) < 0.6, first, random.choice(CATEGORIES, size=30))
    rows = [(n, str(word), 1) for n, word in enumerate(first)] + [(n, str(word), 2) for n, word in enumerate(second)]
    rows += [
        (35, "present", 1),
        (36, "not_mentioned", 2),
        (36, "present", 1),
        (0, "absent", ADJUDICATED),
        (37, "absent", None),
    ]
    (row,) = measure_agreement(labels_of(*rows), NO_BOXES, INDEX, SETTINGS).to_pylist()
    assert (row["label"], row["statistic"], row["readers"]) == ("fracture", "cohen_kappa", 2)
    assert (row["films"], row["patients"]) == (30, 15)
    assert row["estimate"] == pytest.approx(cohen_kappa_score(first, second))


def test_three_readers_have_one_fleiss_kappa() -> None:
    random = np.random.default_rng(7)
    rows = [(n, str(random.choice(CATEGORIES)), reader) for n in range(20) for reader in (1, 2, 3) if (n + reader) % 4]
    (row,) = measure_agreement(labels_of(*rows), NO_BOXES, INDEX, SETTINGS).to_pylist()
    assert (row["statistic"], row["readers"], row["films"]) == ("fleiss_kappa", 3, 20)


def test_one_reader_gives_no_agreement() -> None:
    assert measure_agreement(labels_of((0, "present", 1), (1, "present", 2)), NO_BOXES, INDEX, SETTINGS).num_rows == 0
    assert measure_agreement(labels_of((0, "present", None)), NO_BOXES, INDEX, SETTINGS).num_rows == 0


def test_matched_boxes_of_two_readers() -> None:
    """Films of which the other reader says nothing do not count; one without a box, where he says absent, does."""
    labels = labels_of(
        (0, "present", 1), (0, "present", 2), (1, "present", 1), (1, "absent", 2), (2, "present", 1), (4, "absent", 1),
        (4, "absent", 2),
    )  # fmt: skip
    drawn = [(0, 1, 10), (0, 2, 10), (0, 2, 100), (1, 1, 50), (2, 1, 10), (3, 2, 10)]
    boxes = pa.Table.from_pylist(
        [
            {"key": f"film{film}", "label": "fracture", "reader": reader, "source": "expert"}
            | {"x_min": at, "y_min": at, "x_max": at + 20 + reader, "y_max": at + 20}
            for film, reader, at in drawn
        ],
        BOXES_SCHEMA,
    )
    kappa, row = measure_agreement(labels, boxes, INDEX, SETTINGS).to_pylist()
    assert (kappa["films"], row["statistic"], row["films"], row["patients"], row["readers"]) == (
        3,
        "box_agreement",
        2,
        1,
        2,
    )
    assert row["estimate"] == pytest.approx(2 / 4) and row["observed"] == pytest.approx(21 / 22)
