"""Vectors of films as probes read them: rows of a matrix that may lie on disk, standardised block by block."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
Rows = NDArray[np.int64]

BLOCK_BYTES = 64 << 20
"""Of one block of vectors."""
HELD_BYTES = 1 << 30
"""Standardised vectors up to this are kept in memory; more are read and standardised anew at every pass."""


@dataclass(frozen=True)
class Vectors:
    """The rows ``rows`` [N] of ``matrix`` [M, D], in that order. Nothing is read before it is needed."""

    matrix: Matrix
    rows: Rows

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def dim(self) -> int:
        """Channels D."""
        return int(self.matrix.shape[1])

    def take(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> "Vectors":
        """Those in the places ``chosen``."""
        return Vectors(self.matrix, self.rows[chosen])

    def array(self) -> Matrix:
        """[N, D] all of them in memory."""
        return np.asarray(self.matrix[self.rows], dtype=np.float32)

    def blocks(self) -> Iterator[tuple[slice, Matrix]]:
        """(places, vectors) of one block after the other."""
        size = max(1, BLOCK_BYTES // (4 * self.dim))
        for start in range(0, len(self), size):
            here = slice(start, min(start + size, len(self)))
            yield here, np.asarray(self.matrix[self.rows[here]], dtype=np.float32)


def of_array(array: NDArray[np.floating]) -> Vectors:
    """All rows of an array [N, D] in memory."""
    return Vectors(np.asarray(array, dtype=np.float32), np.arange(len(array)))


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of every channel [D]; a constant channel has std infinity, so it becomes zero."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    def apply(self, x: Matrix) -> Matrix:
        """[N, D] in units of the scale."""
        return np.asarray((x - self.mean.astype(np.float32)) / self.std.astype(np.float32), dtype=np.float32)


def scale_of(vectors: Vectors) -> Scale:
    """Of every channel over all ``vectors``, in two passes."""
    count = max(len(vectors), 1)
    mean = np.zeros(vectors.dim)
    for _, x in vectors.blocks():
        mean += x.sum(axis=0, dtype=np.float64) / count
    square = np.zeros(vectors.dim)
    for _, x in vectors.blocks():
        square += np.square(x - mean.astype(np.float32)).sum(axis=0, dtype=np.float64) / count
    std = np.sqrt(square)
    std[std <= 1e-6 * np.abs(mean).max(initial=0)] = np.inf
    return Scale(mean, std)


class Standardised:
    """``vectors`` in units of ``scale``, kept in memory where they fit; of length one if ``unit``."""

    def __init__(self, vectors: Vectors, scale: Scale, *, unit: bool = False) -> None:
        self._vectors, self._scale, self._unit = vectors, scale, unit
        self._held: Matrix | None = None
        if 4 * len(vectors) * vectors.dim <= HELD_BYTES:
            self._held = np.empty((len(vectors), vectors.dim), dtype=np.float32)
            for here, x in vectors.blocks():
                self._held[here] = self._scaled(x)

    def __len__(self) -> int:
        return len(self._vectors)

    @property
    def dim(self) -> int:
        """Channels D."""
        return self._vectors.dim

    def blocks(self) -> Iterator[tuple[slice, Matrix]]:
        """(places, standardised vectors) of one block after the other."""
        if self._held is not None:
            size = max(1, BLOCK_BYTES // (4 * self.dim))
            for start in range(0, len(self), size):
                here = slice(start, min(start + size, len(self)))
                yield here, self._held[here]
            return
        for here, x in self._vectors.blocks():
            yield here, self._scaled(x)

    def array(self) -> Matrix:
        """[N, D] all of them in memory."""
        if self._held is not None:
            return self._held
        return self._scaled(self._vectors.array())

    def _scaled(self, x: Matrix) -> Matrix:
        x = self._scale.apply(x)
        return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) if self._unit else x
