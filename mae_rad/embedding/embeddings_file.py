"""Read and write ``embeddings.parquet``: one vector per film, from an encoder of this package or any other model.

column      type              meaning
key         string            film key of the shards
embedding   list<float>[D]    vector of the film
patient     string            optional; no patient may be in two splits
split       string            optional; must be the split of the shards

Tables that this package writes have the schema metadata encoder (displayed name), encoder_sha256, dataset_sha256,
settings (JSON) and, of joined folders, datasets and distinct_patients.
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
_MIN_COMMON_FRACTION = 0.5
"""A table with a smaller fraction of the films of the shards belongs to other films."""


def write_embeddings(
    path: Path,
    keys: Sequence[str],
    matrix: NDArray[np.float32],
    *,
    encoder: str,
    encoder_sha256: str,
    dataset_sha256: str,
    settings: Mapping[str, object],
    joined: Mapping[str, str] | None = None,
) -> None:
    """Write a table of vectors, atomically.

    Args:
        path: Parquet file to write.
        keys: [N] film keys.
        matrix: [N, D] vectors, in memory or memory-mapped.
        encoder: displayed name of the encoder.
        encoder_sha256: checksum of its weights.
        dataset_sha256: checksum of the shards.
        settings: T, pooling, precision and encoder settings of the vectors.
        joined: what is recorded of the shard folders beside their checksum.

    Raises:
        EvaluationError: a key occurs twice, or a value is not finite.
    """
    if matrix.ndim != 2 or len(keys) != len(matrix):
        raise ValueError(f"{len(keys)} keys do not fit a matrix of shape {matrix.shape}")
    if len(set(keys)) < len(keys):
        raise EvaluationError(f"the embeddings of {encoder}: a film key occurs twice. Embed the films again.")
    metadata = {
        b"encoder": encoder.encode(),
        b"encoder_sha256": encoder_sha256.encode(),
        b"dataset_sha256": dataset_sha256.encode(),
        b"settings": json.dumps(dict(settings), sort_keys=True).encode(),
        **{name.encode(): text.encode() for name, text in (joined or {}).items()},
    }
    vector = pa.list_(pa.float32(), matrix.shape[1])
    schema = pa.schema([("key", pa.string()), ("embedding", vector)], metadata=metadata)
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
    """Read the vectors of a table, in the order of ``index``; they are copied into ``cache`` once.

    Args:
        path: table of this package or of any other model.
        index: films of all splits.
        cache: folder of the stores.

    Returns:
        The vectors; films that the table lacks are missing in it.

    Raises:
        EvaluationError: the table does not exist, repeats a key, has a value that is not finite or a patient in two
            splits, has another split than the shards, or lacks most films of the shards.
    """
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        table = pq.ParquetFile(path)
        dim = _dim(table)
    except FileNotFoundError:
        raise EvaluationError(f"{path} does not exist. Write it with: mae-rad embed") from None
    except (OSError, pa.ArrowInvalid, KeyError, StopIteration, TypeError):
        raise EvaluationError(
            f"{path} is not a table of embeddings. It needs the columns key (text) and embedding (lists of floats)."
        ) from None
    rows = _rows(path, table, index)
    identity = {"table_sha256": sha256, "dataset_sha256": index.dataset_sha256}
    store = FeatureStore(cache, identity, len(index), Pools(dim, double=False))
    if len(store.missing()) > len(index) - (rows >= 0).sum():
        start = 0
        for batch in table.iter_batches(_ROW_GROUP, columns=["embedding"]):
            batch_rows = rows[start : start + len(batch)]
            start += len(batch)
            store.write(batch_rows[batch_rows >= 0], _matrix(path, batch.column(0), dim)[batch_rows >= 0], str(path))
        store.flush()
    return store


def read_table_metadata(path: Path) -> Mapping[str, str]:
    """Read the metadata of a table: encoder, encoder_sha256, dataset_sha256, settings; empty if it does not exist.

    Raises:
        EvaluationError: ``path`` is a file of another kind.
    """
    if not path.exists():
        return {}
    try:
        written = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowInvalid):
        raise EvaluationError(f"{path} exists and is not a table of embeddings. Give another file as out.") from None
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
    """[films of the table] row of each film in the index, -1 if the shards do not have it."""
    metadata = table.schema_arrow.metadata or {}
    written = metadata.get(b"dataset_sha256", b"").decode()
    if written and written != index.dataset_sha256:
        raise EvaluationError(f"{path} belongs to other shards than those given. Embed these shards.")
    split_columns = [name for name in ("patient", "split") if name in table.schema_arrow.names]
    films = table.read(columns=["key", *split_columns])
    keys = films.column("key").cast(pa.string())
    if keys.null_count or pc.count_distinct(keys).as_py() != len(keys):
        raise EvaluationError(f"{path}: a film key occurs twice or is empty. Give one vector per film.")
    if len(split_columns) == 2:
        pairs = films.group_by(["patient", "split"]).aggregate([]).group_by("patient").aggregate([("split", "count")])
        shared = pc.sum(pc.greater(pairs.column("split_count"), 1)).as_py() or 0
        if shared:
            raise EvaluationError(
                f"{path}: {shared} patients are in more than one split. Keep all films of a patient in one split."
            )
    places = pc.fill_null(pc.index_in(keys, value_set=index.table.column("key")), -1)
    rows = np.asarray(places.to_numpy(), dtype=np.int64)
    known = rows >= 0
    if known.sum() < _MIN_COMMON_FRACTION * len(index):
        raise EvaluationError(
            f"{path} holds {known.sum()} of the {len(index)} films of these shards. Embed the films of these shards."
        )
    if "split" in split_columns:
        expected = np.array(index.table.column("split").to_pylist(), dtype=object)[rows[known]]
        stated = np.array(films.column("split").to_pylist(), dtype=object)[known]
        if differing := int((expected != stated).sum()):
            raise EvaluationError(
                f"{path}: {differing} films are in another split than in the shards, so the model may have been trained"
                " on test films. Use the split of the shards."
            )
    return rows


def _matrix(path: Path, column: pa.Array, dim: int) -> NDArray[np.float32]:
    lengths = pc.unique(pc.list_value_length(column)).to_pylist()
    if lengths != [dim] or column.flatten().null_count:
        raise EvaluationError(
            f"{path}: not all vectors have {dim} numbers. Give vectors of one length, without missing values."
        )
    return np.asarray(column.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim), dtype=np.float32)
