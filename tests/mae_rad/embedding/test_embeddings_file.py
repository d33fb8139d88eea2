import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mae_rad.data.shard_reader import ShardIndex
from mae_rad.embedding.embeddings_file import read_embeddings, read_table_metadata, write_embeddings
from mae_rad.errors import EvaluationError
from tests.builders.film_tables import film, write_public

MATRIX = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
SPLITS = ["train", "train", "val", "test", "test", "train"]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    films = [film(number, number // 2 if number < 2 else number, split) for number, split in enumerate(SPLITS)]
    return ShardIndex([write_public(tmp_path_factory.mktemp("films") / "public", films)], split=None)


def write(path, index, keys=None, matrix=MATRIX, dataset=None):
    keys = index.table.column("key").to_pylist() if keys is None else keys
    write_embeddings(
        path, keys, matrix, encoder="mae", encoder_sha256="e" * 64, settings={"tokens": 196},
        dataset_sha256=dataset or index.dataset_sha256,
    )  # fmt: skip
    return path


def foreign(path, columns):
    pq.write_table(pa.table(columns), path)
    return path


def test_the_table_is_the_contract(tmp_path, index, monkeypatch):
    monkeypatch.setattr("mae_rad.embedding.embeddings_file._ROW_GROUP", 4)
    path = write(tmp_path / "new" / "e.parquet", index)
    table = pq.read_table(path)
    assert table.schema.names == ["key", "embedding"]
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 3)
    np.testing.assert_array_equal(np.stack(table["embedding"].to_pylist()), MATRIX)
    assert read_table_metadata(path)["settings"] == '{"tokens": 196}'
    assert read_table_metadata(tmp_path / "none.parquet") == {}
    assert [file.name for file in path.parent.iterdir()] == ["e.parquet"]


def test_vectors_come_in_the_order_of_the_index(tmp_path, index):
    order = np.array([3, 1, 5, 0, 2, 4])
    keys = index.table.column("key").to_pylist()
    store = read_embeddings(
        write(tmp_path / "e.parquet", index, [keys[i] for i in order], MATRIX[order]), index, tmp_path / "cache"
    )
    np.testing.assert_array_equal(store.vectors("none"), MATRIX)
    assert not len(store.missing())


def test_films_that_an_external_table_lacks_are_missing_and_other_films_are_ignored(tmp_path, index):
    keys = index.table.column("key").to_pylist()
    path = foreign(
        tmp_path / "f.parquet", {"key": [*keys[2:], "elsewhere"], "embedding": [*MATRIX[2:].tolist(), [9.0, 9, 9]]}
    )
    for _ in range(2):  # the second time from the cache
        store = read_embeddings(path, index, tmp_path / "cache")
        np.testing.assert_allclose(store.vectors("none")[2:], MATRIX[2:])
        assert list(store.missing()) == [0, 1]


def test_an_external_table_that_does_not_fit_is_an_error(tmp_path, index):
    keys = index.table.column("key").to_pylist()
    vectors = MATRIX.tolist()
    ragged, gap = [*vectors[:-1], [1.0]], [*vectors[:-1], [1.0, None, 2.0]]
    not_finite = [*vectors[:-1], [1.0, float("nan"), 2.0]]
    moved = ["test", *SPLITS[1:]]
    patients = ["a", "a", "b", "b", "c", "d"]
    for name, columns, message in (
        ("twice", {"key": [*keys[:-1], keys[0]], "embedding": vectors}, "occurs twice"),
        ("empty", {"key": [*keys[:-1], None], "embedding": vectors}, "occurs twice or is empty"),
        ("ragged", {"key": keys, "embedding": ragged}, "not all vectors have 3 numbers"),
        ("gap", {"key": keys, "embedding": gap}, "not all vectors have 3 numbers"),
        ("nan", {"key": keys, "embedding": not_finite}, "1 of 6 vectors are not finite"),
        ("others", {"key": [f"{i}" for i in range(6)], "embedding": vectors}, "holds 0 of the 6 films"),
        ("moved", {"key": keys, "embedding": vectors, "split": moved}, "1 films are in another split"),
        ("leak", {"key": keys, "embedding": vectors, "split": SPLITS, "patient": patients}, "1 patients are in more"),
        ("text", {"key": keys, "embedding": ["x"] * 6}, "is not a table of embeddings"),
        ("bare", {"key": keys}, "is not a table of embeddings"),
    ):
        with pytest.raises(EvaluationError, match=message):
            read_embeddings(foreign(tmp_path / f"{name}.parquet", columns), index, tmp_path / "cache")
    with pytest.raises(EvaluationError, match="other shards"):
        read_embeddings(write(tmp_path / "e.parquet", index, dataset="f" * 64), index, tmp_path / "cache")
    with pytest.raises(EvaluationError, match="does not exist"):
        read_embeddings(tmp_path / "none.parquet", index, tmp_path / "cache")


def test_duplicates_and_values_that_are_not_finite_are_not_written(tmp_path, index):
    keys = index.table.column("key").to_pylist()
    with pytest.raises(EvaluationError, match="occurs twice"):
        write(tmp_path / "e.parquet", index, keys=[*keys[:5], keys[0]])
    bad = MATRIX.copy()
    bad[2, 1] = np.nan
    with pytest.raises(EvaluationError, match="1 of 6 vectors are not finite"):
        write(tmp_path / "e.parquet", index, matrix=bad)
    assert not (tmp_path / "e.parquet").exists()
