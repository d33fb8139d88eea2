"""Measurements as vectors: standardised on training films, 0 where unknown, and read by compare as external vectors."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mae_rad.bench.evaluation.measurement_vectors import main, measurement_vectors
from mae_rad.embedding.embeddings_file import read_embeddings
from mae_rad.errors import EvaluationError
from mae_rad.evaluation.comparison.tasks import Films
from tests.builders.film_tables import film, write_public

SPLITS = ["train"] * 6 + ["val"] * 2 + ["test"] * 4


def test_numbers_are_standardised_on_training_films_and_zero_where_unknown() -> None:
    density = np.array([1.0, 3.0, np.nan, 100.0])
    training = np.array([True, True, True, False])
    vectors = measurement_vectors({"density": density}, training)
    np.testing.assert_allclose(vectors, [[-1, 1], [1, 1], [0, 0], [98, 1]])


def test_the_table_is_read_as_the_vectors_of_a_comparison(tmp_path: Path) -> None:
    films = [film(number, number, split) for number, split in enumerate(SPLITS)]
    rows = [(row["key"], "ratio", None, "expert", float(number)) for number, row in enumerate(films) if number != 2]
    public = write_public(tmp_path / "public", films, rows)
    out = tmp_path / "truth.parquet"
    assert main([str(public), "--out", str(out)]) == 0
    index = Films([public]).index
    store = read_embeddings(out, index, tmp_path / "cache")
    known = np.array([0.0, 1, 3, 4, 5])
    expected = [0.0 if n == 2 else (n - known.mean()) / known.std() for n in range(len(SPLITS))]
    order = [films.index(next(row for row in films if row["key"] == index.key(n))) for n in range(len(index))]
    np.testing.assert_allclose(store.vectors("none")[:, 0], np.array(expected)[order], rtol=1e-5)
    np.testing.assert_allclose(store.vectors("none")[:, 1], [float(n != 2) for n in order])
    assert pq.read_schema(out).metadata


def test_a_label_without_numbers_is_refused(tmp_path: Path) -> None:
    films = [film(number, number, split) for number, split in enumerate(SPLITS)]
    public = write_public(tmp_path / "public", films, [(films[0]["key"], "cast", "present", "expert")])
    with pytest.raises(EvaluationError, match="no numbers"):
        main([str(public), "--out", str(tmp_path / "x.parquet")])
    with pytest.raises(EvaluationError, match="no numbers of cast"):
        main([str(public), "--out", str(tmp_path / "x.parquet"), "--labels", "cast"])
