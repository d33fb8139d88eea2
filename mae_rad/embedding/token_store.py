"""Store the patch tokens of films on disk, as float16; a film has as many tokens as patches.

FOLDER/
  tokens-R.f16      [tokens, D] written by process R, film after film; append only
  place.npy         [films, 3] process, first token, number of tokens; 0 tokens: the film is missing
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mae_rad.embedding.vector_store import flush_array, open_mapped_array

BYTES_PER_NUMBER = 2
"""Bytes of a float16 number."""


class TokenStore:
    """Patch tokens [N, D] of films, written and read film by film.

    Args:
        folder: folder of the store; created if it does not exist.
        films: number of films of the shards.
        dim: number of channels D.
        process: number of the writing process.
    """

    def __init__(self, folder: Path, films: int, dim: int, process: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._dim, self._process = folder, dim, process
        self._place = open_mapped_array(folder / "place.npy", np.int64, (films, 3))
        self._unflushed: list[tuple[int, int, int]] = []
        self._files: dict[int, NDArray[np.float16]] = {}
        path = self._path(process)
        self._end = path.stat().st_size // (BYTES_PER_NUMBER * dim) if path.exists() else 0

    def missing(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of ``rows`` without tokens."""
        return np.asarray(rows[self._place[rows, 2] == 0])

    def write(self, rows: NDArray[np.int64], tokens: NDArray[np.float16]) -> None:
        """Append the tokens of films with equally many patches; :meth:`flush` marks them as stored.

        Args:
            rows: [K] rows of the index.
            tokens: [K, N, D] float16.
        """
        with self._path(self._process).open("r+b" if self._path(self._process).exists() else "wb") as file:
            # An interrupted process may have left a part of a film after this position.
            file.seek(self._end * BYTES_PER_NUMBER * self._dim)
            file.write(np.ascontiguousarray(tokens, dtype=np.float16).tobytes())
        for row in rows.tolist():
            self._unflushed.append((row, self._end, tokens.shape[1]))
            self._end += tokens.shape[1]

    def flush(self) -> None:
        """Write to the disk; the positions of the tokens after the tokens."""
        for row, first, count in self._unflushed:
            self._place[row] = self._process, first, count
        self._unflushed.clear()
        flush_array(self._place)
        self._files.clear()

    def counts(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of tokens [rows] of each film."""
        return np.asarray(self._place[rows, 2])

    def read(self, row: int) -> NDArray[np.float16]:
        """Read the tokens [N, D] of the film in ``row``."""
        process, first, count = self._place[row].tolist()
        if process not in self._files:
            flat = np.memmap(self._path(process), dtype=np.float16, mode="r")
            whole = len(flat) // self._dim
            self._files[process] = flat[: whole * self._dim].reshape(whole, self._dim)
        return np.asarray(self._files[process][first : first + count])

    def _path(self, process: int) -> Path:
        return self._folder / f"tokens-{process}.f16"
