"""Measurements become vectors in which a label made from one of them is read without an error."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from data_prep.shard_format.label_schema import LABELS_SCHEMA
from mae_rad.bench.evaluation.measurement_vectors import main, measurement_vectors
from mae_rad.embedding.embeddings_file import read_embeddings
from mae_rad.errors import EvaluationError
from mae_rad.evaluation.comparison.films import Films
from tests.builders.film_tables import film, write_public


def test_missing_measurements_are_zero_with_an_indicator(tmp_path):
    random = np.random.default_rng(0)
    rows = [film(n, n, "train" if n < 60 else "test") for n in range(100)]
    ratio = random.normal(0.5, 0.06, 100)
    has_heart = random.random(100) < 0.7
    numbers = [(rows[n]["key"], "ratio", ratio[n]) for n in np.flatnonzero(has_heart)]
    numbers += [(row["key"], "width", 2.0) for row in rows]  # without variance
    public = write_public(tmp_path / "public", rows)
    labels = [
        dict.fromkeys(LABELS_SCHEMA.names) | {"key": key, "label": label, "number": number, "source": "expert"}
        for key, label, number in numbers
    ]
    pq.write_table(pa.Table.from_pylist(labels, schema=LABELS_SCHEMA), public / "labels.parquet")
    out = tmp_path / "truth.parquet"
    assert main([str(public), "--out", str(out)]) == 0
    store = read_embeddings(out, Films([public]).index, tmp_path / "cache")
    x = np.asarray(store.vectors("none"))
    known = ratio[:60][has_heart[:60]]  # training films
    np.testing.assert_allclose(x[:, 0], np.where(has_heart, (ratio - known.mean()) / known.std(), 0), atol=1e-5)
    np.testing.assert_array_equal(x[:, 1], has_heart)
    np.testing.assert_array_equal(x[:, 2:], np.tile([0, 1], (100, 1)))
    enlarged = ratio > 0.5
    model = LogisticRegression(C=1e3).fit(x[:60][has_heart[:60]], enlarged[:60][has_heart[:60]])
    test = np.arange(100)[60:][has_heart[60:]]
    assert roc_auc_score(enlarged[test], model.decision_function(x[test])) == 1
    with pytest.raises(EvaluationError, match="no numbers of plates: it has those of ratio, width"):
        main([str(public), "--out", str(out), "--labels", "plates"])


def test_equal_training_numbers_keep_their_unit():
    """Their standard deviation is 1e-17 by rounding: a test film would be at 1e16."""
    numbers = {"same": np.array([0.1] * 7 + [0.2]), "none": np.full(8, np.nan)}
    vectors = measurement_vectors(numbers, np.arange(8) < 7)
    assert np.abs(vectors[:, 0]).max() == pytest.approx(0.1)
    assert not vectors[:, 2:].any()
