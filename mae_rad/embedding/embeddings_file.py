"""``embeddings.parquet``: one vector per film, of ours or of any other model.

Columns: key string, embedding list<float>[D]. Where a table brings patient or split as well, they are checked. Schema
metadata of our own: encoder (display name), encoder_sha256, dataset_sha256, settings (JSON).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data_prep.runtime.atomic_write import atomic_file
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.embedding.vector_store import FeatureStore, Pools
from mae_rad.errors import EvaluationError

_ROW_GROUP = 16_384
_LEAST_COMMON = 0.5
"""Of the films of the shards, a table that holds fewer was made of something else."""


def write_embeddings(
    path: Path,
    keys: Sequence[str],
    matrix: NDArray[np.float32],
    *,
    encoder: str,
    encoder_sha256: str,
    dataset_sha256: str,
    settings: Mapping[str, object],
) -> None:
    """Write vectors [N, D], which may lie on disk, of the films ``keys``; the file is as before or complete.

    Raises:
        EvaluationError: a duplicate key or a value that is not finite.
    """
    if matrix.ndim != 2 or len(keys) != len(matrix):
        raise ValueError(f"{len(keys)} keys do not go with a matrix of shape {matrix.shape}")
    if len(set(keys)) < len(keys):
        raise EvaluationError(f"the embeddings of {encoder}: a film key occurs twice; embed again")
    facts = {
        b"encoder": encoder.encode(),
        b"encoder_sha256": encoder_sha256.encode(),
        b"dataset_sha256": dataset_sha256.encode(),
        b"settings": json.dumps(dict(settings), sort_keys=True).encode(),
    }
    vector = pa.list_(pa.float32(), matrix.shape[1])
    schema = pa.schema([("key", pa.string()), ("embedding", vector)], metadata=facts)
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        atomic_file(path) as file,
        pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=False) as writer,
    ):
        for start in range(0, len(keys), _ROW_GROUP):
            part = np.ascontiguousarray(matrix[start : start + _ROW_GROUP], dtype=np.float32)
            if not np.isfinite(part).all():
                bad = int((~np.isfinite(part)).any(axis=1).sum())
                raise EvaluationError(f"the embeddings of {encoder}: {bad} of {len(part)} vectors are not finite")
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(part.ravel()), matrix.shape[1])
            writer.write_table(pa.table([pa.array(keys[start : start + _ROW_GROUP]), vectors], schema=schema))


def read_embeddings(path: Path, index: ShardIndex, cache: Path) -> FeatureStore:
    """The vectors of a table in the order of ``index``, copied into ``cache`` once; films that it lacks are missing.

    Raises:
        EvaluationError: no such table, a duplicate key, a value that is not finite, a patient in two splits, a split
            that is not that of the shards, or most films of the shards are not in it.
    """
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        table = pq.ParquetFile(path)
        dim = _dim(table)
    except FileNotFoundError:
        raise EvaluationError(f"{path} does not exist; make it with: mae-rad embed") from None
    except (OSError, pa.ArrowInvalid, KeyError, StopIteration, TypeError):
        raise EvaluationError(
            f"{path} is no table of embeddings: it needs the columns key (text) and embedding (lists of floats)"
        ) from None
    rows = _rows(path, table, index)
    identity = {"table_sha256": sha256, "dataset_sha256": index.dataset_sha256}
    store = FeatureStore(cache, identity, len(index), Pools(dim, double=False))
    if len(store.missing()) > len(index) - (rows >= 0).sum():
        start = 0
        for batch in table.iter_batches(_ROW_GROUP, columns=["embedding"]):
            here = rows[start : start + len(batch)]
            start += len(batch)
            store.write(here[here >= 0], _matrix(path, batch.column(0), dim)[here >= 0], str(path))
        store.flush()
    return store


def embeddings_of(path: Path) -> Mapping[str, str]:
    """What a finished table says of itself: encoder, encoder_sha256, dataset_sha256, settings; empty if it is none."""
    if not path.exists():
        return {}
    try:
        written = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowInvalid):
        raise EvaluationError(f"{path} is there and is no table of embeddings; give another out") from None
    return {name.decode(): value.decode() for name, value in written.items()}


def _dim(table: pq.ParquetFile) -> int:
    kinds = {field.name: field.type for field in table.schema_arrow}
    numbers = getattr(kinds["embedding"], "value_type", None)
    if numbers is None or not pa.types.is_floating(numbers) or not _text(kinds["key"]):
        raise TypeError
    first = next(table.iter_batches(1, columns=["embedding"])).column(0)
    dim = len(first[0].values) if first[0].is_valid else 0
    if dim == 0:
        raise TypeError
    return dim


def _text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _rows(path: Path, table: pq.ParquetFile, index: ShardIndex) -> NDArray[np.int64]:
    """[films of the table] row of each in the index, -1 where the shards do not have it."""
    facts = table.schema_arrow.metadata or {}
    written = facts.get(b"dataset_sha256", b"").decode()
    if written and written != index.dataset_sha256:
        raise EvaluationError(f"{path} belongs to other shards than those given; embed these shards")
    beside = [name for name in ("patient", "split") if name in table.schema_arrow.names]
    films = table.read(columns=["key", *beside])
    keys = films.column("key").cast(pa.string())
    if keys.null_count or pc.count_distinct(keys).as_py() != len(keys):
        raise EvaluationError(f"{path}: a film key occurs twice or is empty; give one vector per film")
    if len(beside) == 2:
        pairs = films.group_by(["patient", "split"]).aggregate([]).group_by("patient").aggregate([("split", "count")])
        shared = pc.sum(pc.greater(pairs.column("split_count"), 1)).as_py() or 0
        if shared:
            raise EvaluationError(f"{path}: {shared} patients stand in more than one split, so a test would be no test")
    places = pc.fill_null(pc.index_in(keys, value_set=index.table.column("key")), -1)
    rows = np.asarray(places.to_numpy(), dtype=np.int64)
    known = rows >= 0
    if known.sum() < _LEAST_COMMON * len(index):
        raise EvaluationError(
            f"{path} holds {known.sum()} of the {len(index)} films of these shards; it was made of other films"
        )
    if "split" in beside:
        ours = np.array(index.table.column("split").to_pylist(), dtype=object)[rows[known]]
        theirs = np.array(films.column("split").to_pylist(), dtype=object)[known]
        if wrong := int((ours != theirs).sum()):
            raise EvaluationError(
                f"{path}: {wrong} films are in another split than in the shards, so its model may have been fitted to"
                " films of the test; use the split of the shards"
            )
    return rows


def _matrix(path: Path, column: pa.Array, dim: int) -> NDArray[np.float32]:
    lengths = pc.unique(pc.list_value_length(column)).to_pylist()
    if lengths != [dim] or column.flatten().null_count:
        raise EvaluationError(f"{path}: its vectors are not all {dim} numbers long")
    return np.asarray(column.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim), dtype=np.float32)
