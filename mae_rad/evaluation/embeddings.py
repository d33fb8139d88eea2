"""``embeddings.parquet``: one vector per film, and which encoder and which shards it came from.

Columns: key string, embedding fixed_size_list<float32>[D]. Schema metadata: encoder (display name), encoder_sha256,
dataset_sha256, settings (JSON).
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mae_rad.errors import EvaluationError

_ROW_GROUP = 16_384


@dataclass(frozen=True)
class Embeddings:
    """Vectors of films.

    Attributes:
        keys: [N] film keys, unique.
        matrix: [N, D] float32, finite.
        encoder: display name.
        encoder_sha256: of the weights.
        dataset_sha256: of the shards that were embedded.
    """

    keys: list[str]
    matrix: NDArray[np.float32]
    encoder: str
    encoder_sha256: str
    dataset_sha256: str

    def rows(self, keys: Sequence[str]) -> NDArray[np.float32]:
        """[len(keys), D] the vectors of ``keys``.

        Raises:
            EvaluationError: a film has no vector.
        """
        position = {key: row for row, key in enumerate(self.keys)}
        try:
            return self.matrix[[position[key] for key in keys]]
        except KeyError:
            missing = sum(key not in position for key in keys)
            raise EvaluationError(
                f"{missing} of {len(keys)} films have no embedding of {self.encoder}; embed these shards again"
            ) from None


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
    """Write vectors [N, D] of the films ``keys``; the file is as before or complete.

    Raises:
        EvaluationError: a duplicate key or a value that is not finite.
    """
    if matrix.ndim != 2 or len(keys) != len(matrix):
        raise ValueError(f"{len(keys)} keys do not go with a matrix of shape {matrix.shape}")
    _check(pa.array(keys, pa.string()), matrix, f"the embeddings of {encoder}")
    vectors = pa.FixedSizeListArray.from_arrays(
        pa.array(np.ascontiguousarray(matrix, np.float32).ravel()), matrix.shape[1]
    )
    table = pa.table({"key": pa.array(keys, pa.string()), "embedding": vectors}).replace_schema_metadata(
        {
            b"encoder": encoder.encode(),
            b"encoder_sha256": encoder_sha256.encode(),
            b"dataset_sha256": dataset_sha256.encode(),
            b"settings": json.dumps(dict(settings), sort_keys=True).encode(),
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        pq.write_table(table, file, row_group_size=_ROW_GROUP, compression="zstd", use_dictionary=False)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read_embeddings(path: Path, dataset_sha256: str | None = None) -> Embeddings:
    """Read and check a table of embeddings.

    Args:
        path: what :func:`write_embeddings` wrote.
        dataset_sha256: the shards they must belong to; None takes any.

    Raises:
        EvaluationError: missing, not such a table, a duplicate key, a value that is not finite, or other shards.
    """
    try:
        table = pq.read_table(path)
        names = [
            (table.schema.metadata or {})[name].decode() for name in (b"encoder", b"encoder_sha256", b"dataset_sha256")
        ]
        vectors = table.column("embedding").combine_chunks()
        matrix = vectors.flatten().to_numpy(zero_copy_only=False).reshape(len(vectors), vectors.type.list_size)
    except FileNotFoundError:
        raise EvaluationError(f"{path} does not exist; make it with: python launch/embed.py") from None
    except (pa.ArrowInvalid, KeyError, AttributeError, ValueError):
        raise EvaluationError(f"{path} is no table of embeddings; make it again with: python launch/embed.py") from None
    _check(table.column("key"), matrix, str(path))
    encoder, encoder_sha256, dataset = names
    if dataset_sha256 is not None and dataset != dataset_sha256:
        raise EvaluationError(f"{path} belongs to other shards than those given; embed the shards again")
    return Embeddings(table.column("key").to_pylist(), matrix, encoder, encoder_sha256, dataset)


def _check(keys: pa.Array | pa.ChunkedArray, matrix: NDArray[np.float32], where: str) -> None:
    if pc.count_distinct(keys).as_py() != len(keys):
        raise EvaluationError(f"{where}: a film key occurs twice; embed again")
    if not np.isfinite(matrix).all():
        bad = int((~np.isfinite(matrix)).any(axis=1).sum())
        raise EvaluationError(f"{where}: {bad} of {len(matrix)} vectors are not finite; the encoder has diverged")
