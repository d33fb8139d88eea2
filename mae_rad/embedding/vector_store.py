"""Store the film vectors of an encoder on disk: memory-mapped, written film by film, continued after an interruption.

FOLDER/
  features.json     identity of the vectors: encoder, shards, T, precision, channels; pooling, if not of the last block
  vectors.npy       [films, width] float32, in the order of the shards' index
  sizes.npy         [films, 2] float32 rows and columns of the film on the grid where its content box has 196 patches
  done.npy          [films] bool, True where the vector is stored
  tokens/           only if patch tokens were requested, see ``token_store.py``

The name of the folder is a hash of ``features.json``: other weights, shards or settings are another folder.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib.format import dtype_to_descr, open_memmap, write_array_header_1_0
from numpy.typing import NDArray

from data_prep.runtime.atomic_write import atomic_file, atomic_text
from data_prep.runtime.folder_lock import locked
from mae_rad.errors import EvaluationError

Identity = Mapping[str, str | int]


@dataclass(frozen=True)
class Pools:
    """Layout of the channels of a stored vector.

    Attributes:
        dim: number of channels of one vector.
        double: True for ``cls`` followed by ``mean``, each ``dim``; False for one vector, whose pool is "none".
    """

    dim: int
    double: bool

    @property
    def width(self) -> int:
        """Number of stored channels."""
        return 2 * self.dim if self.double else self.dim

    def part(self, pool: str) -> slice:
        """Return the channels of a pool."""
        if not self.double:
            return slice(0, self.dim)
        return {"cls": slice(0, self.dim), "mean": slice(self.dim, 2 * self.dim), "cls_mean": slice(0, 2 * self.dim)}[
            pool
        ]


class FeatureStore:
    """Vectors of the films of some shards; opened if the store exists, else created.

    Args:
        cache: folder of all stores.
        identity: everything that the vectors depend on.
        films: number of films of the shards.
        pools: layout of a vector.

    Attributes:
        other_pools: name of another pooling of the same encoder → store of its vectors.

    Raises:
        EvaluationError: the store is damaged.
    """

    def __init__(self, cache: Path, identity: Identity, films: int, pools: Pools) -> None:
        self.pools = pools
        self.other_pools: dict[str, FeatureStore] = {}
        metadata = {**identity, "films": films, "dim": pools.dim, "double": pools.double}
        text = json.dumps(metadata, sort_keys=True, indent=1)
        self.folder = cache / hashlib.sha256(text.encode()).hexdigest()[:24]
        self.folder.mkdir(parents=True, exist_ok=True)
        self._vectors = open_mapped_array(self.folder / "vectors.npy", np.float32, (films, pools.width))
        self._sizes = open_mapped_array(self.folder / "sizes.npy", np.float32, (films, 2))
        self._done = open_mapped_array(self.folder / "done.npy", np.bool_, (films,))
        self._unflushed: list[NDArray[np.int64]] = []
        atomic_text(self.folder / "features.json", text + "\n")

    def __len__(self) -> int:
        return len(self._done)

    def vectors(self, pool: str) -> NDArray[np.float32]:
        """Return the vectors [films, channels] of ``pool``, memory-mapped."""
        if pool in self.other_pools:
            return self.other_pools[pool].vectors("none")
        return self._vectors[:, self.pools.part(pool)]

    @property
    def sizes(self) -> NDArray[np.float32]:
        """[films, 2] size of every film, as ``Patches.size``; zero for external embeddings."""
        return np.asarray(self._sizes)

    def missing(self) -> NDArray[np.int64]:
        """Return the rows without a vector of a pooling."""
        done = np.array(self._done)
        for store in self.other_pools.values():
            done &= store._done
        return np.flatnonzero(~done)

    def write(
        self,
        rows: NDArray[np.int64],
        vectors: NDArray[np.float32],
        name: str,
        sizes: NDArray[np.float32] | None = None,
    ) -> None:
        """Write vectors; :meth:`flush` marks them as stored.

        Args:
            rows: [K] rows of the index.
            vectors: [K, width] float32.
            name: name of the encoder or table, for the error message.
            sizes: [K, 2] sizes of the films, as ``Patches.size``.

        Raises:
            EvaluationError: a value is not finite.
        """
        if not np.isfinite(vectors).all():
            bad = int((~np.isfinite(vectors)).any(axis=1).sum())
            raise EvaluationError(
                f"{name}: {bad} of {len(rows)} vectors are not finite. Use an encoder that has not diverged."
            )
        self._vectors[rows] = vectors
        if sizes is not None:
            self._sizes[rows] = sizes
        self._unflushed.append(rows)

    def flush(self) -> None:
        """Write to the disk; the marks of stored vectors after the vectors."""
        flush_array(self._vectors)
        flush_array(self._sizes)
        for rows in self._unflushed:
            self._done[rows] = True
        self._unflushed.clear()
        flush_array(self._done)
        for store in self.other_pools.values():
            store.flush()


@contextmanager
def exclusive_writer(cache: Path) -> Iterator[None]:
    """Lock ``cache``, so that no other command writes to it.

    Raises:
        EvaluationError: another command is writing to it.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with ExitStack() as lock:
        try:
            lock.enter_context(locked(cache))
        except BlockingIOError:
            raise EvaluationError(
                f"another command is embedding into {cache}. Wait until it ends, or set another runtime.cache."
            ) from None
        yield


def open_mapped_array(path: Path, dtype: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
    """Open a NumPy file as a writable memory-mapped array; it is created with zeros if it does not exist.

    Args:
        path: NumPy file.
        dtype: type of its values.
        shape: shape of the array.

    Raises:
        EvaluationError: the file is damaged, or has another shape or type.
    """
    try:
        if not path.exists():
            with atomic_file(path) as file:
                _write_zeros(file, dtype, shape)
        array = open_memmap(path, mode="r+")
    except (OSError, ValueError) as error:
        raise EvaluationError(
            f"{path} cannot be opened ({type(error).__name__}). Delete {path.parent} and run the command again."
        ) from None
    if array.shape != shape or array.dtype != dtype:
        raise EvaluationError(
            f"{path} has an unexpected shape or type. Delete {path.parent} and run the command again."
        )
    return array


def _write_zeros(file: BinaryIO, dtype: type[np.generic], shape: tuple[int, ...]) -> None:
    """Write an array of zeros as a sparse file, which takes no disk space until values are written."""
    header = {"descr": dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    write_array_header_1_0(file, header)
    file.truncate(file.tell() + math.prod(shape) * np.dtype(dtype).itemsize)


def flush_array(array: NDArray[Any]) -> None:
    """Write the changes of a memory-mapped array to the disk."""
    assert isinstance(array, np.memmap)
    array.flush()
