import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.shard_format.label_policy import LabelPolicy
from data_prep.shard_format.label_schema import LABELS_SCHEMA
from mae_rad.errors import SettingsError
from mae_rad.evaluation.comparison.films import Films
from mae_rad.evaluation.comparison.shortcuts import COLLIMATION, shortcut_values, within_auroc
from mae_rad.evaluation.comparison.tasks import SkippedTask
from mae_rad.evaluation.statistics.metrics import auroc
from tests.builders.film_tables import film, write_public

RANDOM = np.random.default_rng(0)


def by_pairs(y, score, groups, weight):
    """Of all pairs of a positive and a negative film of one group."""
    right, pairs = 0.0, 0.0
    for i in np.flatnonzero(y):
        for j in np.flatnonzero(~y):
            if groups[i] == groups[j]:
                both = weight[i] * weight[j]
                right += both * ((score[i] > score[j]) + 0.5 * (score[i] == score[j]))
                pairs += both
    return right / pairs


def test_auroc_within_groups_counts_the_pairs_of_each_group():
    y, groups = RANDOM.random(80) < 0.4, RANDOM.integers(0, 4, 80)
    groups[y & (groups == 3)] = 0  # a group without positive films has no pairs
    score = np.round(RANDOM.normal(size=80) + groups, 1)
    weights = np.stack([np.ones(80), RANDOM.integers(0, 3, 80)]).astype(float)
    found = within_auroc(y, score, groups, weights)
    for value, weight in zip(found, weights, strict=True):
        assert value == pytest.approx(by_pairs(y, score, groups, weight))
    one = np.zeros(80, dtype=np.int64)
    np.testing.assert_allclose(within_auroc(y, score, one, weights), auroc(y, score, weights))
    assert np.isnan(within_auroc(y, score, np.arange(80), weights[:1])[0])


def test_scores_of_the_scanner_alone_are_at_chance_within_a_scanner():
    scanner = np.arange(400) % 2
    y = RANDOM.random(400) < np.where(scanner == 1, 0.9, 0.1)
    score = scanner + 0.01 * RANDOM.normal(size=400)
    ones = np.ones((1, 400))
    assert auroc(y, score, ones)[0] > 0.85
    assert abs(within_auroc(y, score, scanner, ones)[0] - 0.5) < 0.12


def test_collimation_is_the_shape_of_the_film_and_the_share_of_its_content(tmp_path):
    films = Films([write_public(tmp_path / "public", [film(n, n, "train") for n in range(6)])])
    # Rows and columns where the content box has 196 patches: all of the film, then half of it, then a tenth.
    sizes = np.array([[14, 14], [19.8, 9.9], [19.8, 19.8], [14, 28], [44, 44], [62, 31]], dtype=np.float32)
    assert list(shortcut_values(films, COLLIMATION, sizes, LabelPolicy())) == [
        "square film, large field",
        "tall film, large field",
        "square film, medium field",
        "wide film, medium field",
        "square film, small field",
        "tall film, small field",
    ]
    assert isinstance(shortcut_values(films, COLLIMATION, None, LabelPolicy()), SkippedTask)


def test_labels_and_columns_of_numbers_are_shortcuts_too(tmp_path):
    rows = [film(n, n, "train" if n < 30 else "test", age_years=n, bits_stored=10 + 2 * (n % 2)) for n in range(33)]
    public = write_public(tmp_path / "public", rows)
    labels = [{"key": row["key"], "label": "hardware", "value": "present", "source": "expert"} for row in rows[:2]]
    labels += [{"key": rows[2]["key"], "label": "hardware", "value": "uncertain", "source": "expert"}]
    labels += [
        {"key": row["key"], "label": "film_number", "number": 100.0 * n + more, "source": "metadata"}
        for n, row in enumerate(rows[:32])
        for more in (-1, 1)  # the median of two entries is their mean
    ]
    full = [dict.fromkeys(LABELS_SCHEMA.names) | label for label in labels]
    pq.write_table(pa.Table.from_pylist(full, schema=LABELS_SCHEMA), public / "labels.parquet")
    films = Films([public])
    thirds = ["low third"] * 10 + ["middle third"] * 10 + ["high third"] * 13  # edges are those of the training films

    def values_of(column):
        return shortcut_values(films, column, None, LabelPolicy()).tolist()

    assert values_of("hardware") == ["present"] * 2 + [""] * 31
    assert values_of("film_number") == [*thirds[:32], ""]
    assert values_of("age_years") == thirds
    assert values_of("bits_stored") == ["10", "12"] * 16 + ["10"]
    with pytest.raises(SettingsError, match=r"neither the index nor labels.parquet has 'film_numbr'"):
        values_of("film_numbr")
