"""Select and standardise film vectors block by block; the matrix may be memory-mapped."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
Rows = NDArray[np.int64]

BLOCK_BYTES = 64 << 20
"""Bytes of one block of vectors."""
MAX_BYTES_IN_MEMORY = 1 << 30
"""Standardised vectors up to this size are kept in memory; larger ones are read and standardised in every pass."""


@dataclass(frozen=True)
class Vectors:
    """The rows ``rows`` [N] of ``matrix`` [M, D], in that order; they are read when they are needed."""

    matrix: Matrix
    rows: Rows

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def dim(self) -> int:
        """Number of channels D."""
        return int(self.matrix.shape[1])

    def take(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> "Vectors":
        """Select the vectors at the positions ``chosen`` (indices, or a mask [N])."""
        return Vectors(self.matrix, self.rows[chosen])

    def array(self) -> Matrix:
        """Read all vectors [N, D] into memory."""
        return np.asarray(self.matrix[self.rows], dtype=np.float32)

    def blocks(self) -> Iterator[tuple[slice, Matrix]]:
        """Yield the positions and vectors of each block."""
        size = max(1, BLOCK_BYTES // (4 * self.dim))
        for start in range(0, len(self), size):
            positions = slice(start, min(start + size, len(self)))
            yield positions, np.asarray(self.matrix[self.rows[positions]], dtype=np.float32)


def vectors_of_array(array: NDArray[np.floating]) -> Vectors:
    """Select all rows of an array [N, D] in memory."""
    return Vectors(np.asarray(array, dtype=np.float32), np.arange(len(array)))


_ROUNDING = 1e-6
"""Standard deviation of equal float32 numbers, relative to their mean, that rounding may cause; of each channel by
itself, since external vectors may have channels in different units."""


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation [D] of every channel; a constant channel has std infinity, so it becomes zero."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    def apply(self, x: Matrix) -> Matrix:
        """Standardise vectors [N, D]: subtract the mean, divide by the standard deviation."""
        return np.asarray((x - self.mean.astype(np.float32)) / self.std.astype(np.float32), dtype=np.float32)


def fit_scale(vectors: Vectors) -> Scale:
    """Compute mean and standard deviation of every channel over all ``vectors``, in two passes."""
    count = max(len(vectors), 1)
    mean = np.zeros(vectors.dim)
    for _, x in vectors.blocks():
        mean += x.sum(axis=0, dtype=np.float64) / count
    square = np.zeros(vectors.dim)
    for _, x in vectors.blocks():
        square += np.square(x - mean.astype(np.float32)).sum(axis=0, dtype=np.float64) / count
    std = np.sqrt(square)
    std[std <= _ROUNDING * np.abs(mean)] = np.inf
    return Scale(mean, std)


class Standardised:
    """Standardised vectors, kept in memory up to MAX_BYTES_IN_MEMORY.

    Args:
        vectors: [N, D] vectors.
        scale: mean and standard deviation of every channel.
        unit: divide each standardised vector by its length.
    """

    def __init__(self, vectors: Vectors, scale: Scale, *, unit: bool = False) -> None:
        self._vectors, self._scale, self._unit = vectors, scale, unit
        self._in_memory: Matrix | None = None
        if 4 * len(vectors) * vectors.dim <= MAX_BYTES_IN_MEMORY:
            self._in_memory = np.empty((len(vectors), vectors.dim), dtype=np.float32)
            for positions, x in vectors.blocks():
                self._in_memory[positions] = self._scaled(x)

    def __len__(self) -> int:
        return len(self._vectors)

    @property
    def dim(self) -> int:
        """Number of channels D."""
        return self._vectors.dim

    def blocks(self) -> Iterator[tuple[slice, Matrix]]:
        """Yield the positions and standardised vectors of each block."""
        if self._in_memory is not None:
            size = max(1, BLOCK_BYTES // (4 * self.dim))
            for start in range(0, len(self), size):
                positions = slice(start, min(start + size, len(self)))
                yield positions, self._in_memory[positions]
            return
        for positions, x in self._vectors.blocks():
            yield positions, self._scaled(x)

    def array(self) -> Matrix:
        """Return all standardised vectors [N, D] in memory."""
        if self._in_memory is not None:
            return self._in_memory
        return self._scaled(self._vectors.array())

    def _scaled(self, x: Matrix) -> Matrix:
        x = self._scale.apply(x)
        return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) if self._unit else x
