import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mae_rad.errors import EvaluationError
from mae_rad.evaluation.embeddings import read_embeddings, write_embeddings

MATRIX = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
KEYS = [f"{i:032x}" for i in range(5)]


def write(path, keys=KEYS, matrix=MATRIX):
    write_embeddings(
        path, keys, matrix, encoder="mae", encoder_sha256="e" * 64, dataset_sha256="d" * 64, settings={"tokens": 196}
    )
    return path


def test_what_is_written_is_read(tmp_path):
    path = write(tmp_path / "new" / "e.parquet")
    read = read_embeddings(path, "d" * 64)
    assert (read.keys, read.encoder, read.encoder_sha256) == (KEYS, "mae", "e" * 64)
    np.testing.assert_array_equal(read.matrix, MATRIX)
    assert read.matrix.dtype == np.float32
    np.testing.assert_array_equal(read.rows(KEYS[3:1:-1]), MATRIX[3:1:-1])
    assert [file.name for file in path.parent.iterdir()] == ["e.parquet"]


def test_the_table_is_the_contract(tmp_path):
    schema = pq.read_schema(write(tmp_path / "e.parquet"))
    assert schema.names == ["key", "embedding"]
    assert schema.field("embedding").type == pa.list_(pa.float32(), 3)
    assert schema.metadata[b"settings"] == b'{"tokens": 196}'


def test_duplicates_and_values_that_are_not_finite_are_refused(tmp_path):
    with pytest.raises(EvaluationError, match="occurs twice"):
        write(tmp_path / "e.parquet", keys=[*KEYS[:4], KEYS[0]])
    bad = MATRIX.copy()
    bad[2, 1] = np.nan
    with pytest.raises(EvaluationError, match="1 of 5 vectors are not finite"):
        write(tmp_path / "e.parquet", matrix=bad)
    assert not (tmp_path / "e.parquet").exists()


def test_another_table_other_shards_and_a_missing_film_are_told(tmp_path):
    with pytest.raises(EvaluationError, match="does not exist"):
        read_embeddings(tmp_path / "none.parquet")
    pq.write_table(pa.table({"key": KEYS}), tmp_path / "other.parquet")
    (tmp_path / "text.parquet").write_text("no parquet")
    for name in ("other", "text"):
        with pytest.raises(EvaluationError, match="no table of embeddings"):
            read_embeddings(tmp_path / f"{name}.parquet")
    path = write(tmp_path / "e.parquet")
    with pytest.raises(EvaluationError, match="other shards"):
        read_embeddings(path, "f" * 64)
    with pytest.raises(EvaluationError, match="1 of 2 films have no embedding of mae"):
        read_embeddings(path).rows([KEYS[0], "0" * 31 + "f"])
