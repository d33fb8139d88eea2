"""What an encoder made of the films of some shards, on disk: memory-mapped, written film by film, taken up again.

FOLDER/
  features.json     encoder, shards, T, precision, channels: what a stored vector depends on
  vectors.npy       [films, width] float32, in the order of the shards' index
  sizes.npy         [films, 2] float32 rows and columns of the film on the grid where its content box has 196 patches
  done.npy          [films] bool, which films are in it
  tokens/           only where patch tokens were asked for, see ``token_store.py``

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
    """How the channels of a stored vector divide: ``cls`` then ``mean``, each ``dim``, or one vector called "none"."""

    dim: int
    double: bool

    @property
    def width(self) -> int:
        """Stored channels."""
        return 2 * self.dim if self.double else self.dim

    def part(self, pool: str) -> slice:
        """Channels of a pool."""
        if not self.double:
            return slice(0, self.dim)
        return {"cls": slice(0, self.dim), "mean": slice(self.dim, 2 * self.dim), "cls_mean": slice(0, 2 * self.dim)}[
            pool
        ]


class FeatureStore:
    """Vectors of ``films`` films under ``cache``, found or begun.

    Args:
        cache: folder of all stores.
        identity: everything that the vectors depend on.
        films: number of films of the shards.
        pools: of a vector.

    Raises:
        EvaluationError: the folder is there and damaged.
    """

    def __init__(self, cache: Path, identity: Identity, films: int, pools: Pools) -> None:
        self.pools = pools
        facts = {**identity, "films": films, "dim": pools.dim, "double": pools.double}
        text = json.dumps(facts, sort_keys=True, indent=1)
        self.folder = cache / hashlib.sha256(text.encode()).hexdigest()[:24]
        self.folder.mkdir(parents=True, exist_ok=True)
        self._vectors = mapped(self.folder / "vectors.npy", np.float32, (films, pools.width))
        self._sizes = mapped(self.folder / "sizes.npy", np.float32, (films, 2))
        self._done = mapped(self.folder / "done.npy", np.bool_, (films,))
        self._unsaid: list[NDArray[np.int64]] = []
        atomic_text(self.folder / "features.json", text + "\n")

    def __len__(self) -> int:
        return len(self._done)

    def vectors(self, pool: str) -> NDArray[np.float32]:
        """[films, channels] of ``pool``, memory-mapped."""
        return self._vectors[:, self.pools.part(pool)]

    @property
    def sizes(self) -> NDArray[np.float32]:
        """[films, 2] of every film, as ``Patches.size``; zero of foreign vectors."""
        return np.asarray(self._sizes)

    def missing(self) -> NDArray[np.int64]:
        """Rows that have no vector yet."""
        return np.flatnonzero(~self._done)

    def write(
        self,
        rows: NDArray[np.int64],
        vectors: NDArray[np.float32],
        name: str,
        sizes: NDArray[np.float32] | None = None,
    ) -> None:
        """Keep the vectors [len(rows), width] of ``rows``; ``name`` is told where they are not finite."""
        if not np.isfinite(vectors).all():
            bad = int((~np.isfinite(vectors)).any(axis=1).sum())
            raise EvaluationError(f"{name}: {bad} of {len(rows)} vectors are not finite; the encoder has diverged")
        self._vectors[rows] = vectors
        if sizes is not None:
            self._sizes[rows] = sizes
        self._unsaid.append(rows)

    def flush(self) -> None:
        """To the disk, the vectors before what says that they are there."""
        flush(self._vectors)
        flush(self._sizes)
        for rows in self._unsaid:
            self._done[rows] = True
        self._unsaid.clear()
        flush(self._done)


@contextmanager
def held(cache: Path) -> Iterator[None]:
    """Keep other commands from writing into ``cache`` meanwhile.

    Raises:
        EvaluationError: one is writing now.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with ExitStack() as lock:
        try:
            lock.enter_context(locked(cache))
        except BlockingIOError:
            raise EvaluationError(
                f"another command is embedding into {cache}; wait for it, or give another runtime.cache"
            ) from None
        yield


def mapped(path: Path, dtype: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
    """The array at ``path``, begun with zeros where it is not there yet; changes of it go to the disk.

    Raises:
        EvaluationError: the file is damaged, or of another shape.
    """
    try:
        if not path.exists():
            with atomic_file(path) as file:
                _write_zeros(file, dtype, shape)
        array = open_memmap(path, mode="r+")
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{path} cannot be used ({type(error).__name__}); delete {path.parent}") from None
    if array.shape != shape or array.dtype != dtype:
        raise EvaluationError(f"{path} is not what it should be; delete {path.parent}")
    return array


def _write_zeros(file: BinaryIO, dtype: type[np.generic], shape: tuple[int, ...]) -> None:
    """An array of zeros, which take no room until they are written."""
    described = {"descr": dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    write_array_header_1_0(file, described)
    file.truncate(file.tell() + math.prod(shape) * np.dtype(dtype).itemsize)


def flush(array: NDArray[Any]) -> None:
    """Changes of a mapped array to the disk."""
    assert isinstance(array, np.memmap)
    array.flush()
