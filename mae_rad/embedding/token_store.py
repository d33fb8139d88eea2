"""Patch tokens of films on disk, for probes that attend to them: float16, as many per film as it has patches.

FOLDER/
  tokens-R.f16      [tokens, D] one film after the other, as process R wrote them; only ever appended to
  place.npy         [films, 3] process, first token, number of tokens; a number of 0 says that the film is not there
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mae_rad.embedding.vector_store import flush, mapped

BYTES = 2
"""Of a number."""


class TokenStore:
    """Tokens [N, D] of films, written film by film and read by film.

    Args:
        folder: to be made, or found.
        films: number of films of the shards.
        dim: channels D.
        process: number of the process that writes, if it does.
    """

    def __init__(self, folder: Path, films: int, dim: int, process: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._dim, self._process = folder, dim, process
        self._place = mapped(folder / "place.npy", np.int64, (films, 3))
        self._unsaid: list[tuple[int, int, int]] = []
        self._files: dict[int, NDArray[np.float16]] = {}
        own = self._path(process)
        self._end = own.stat().st_size // (BYTES * dim) if own.exists() else 0

    def missing(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of ``rows`` whose tokens are not there."""
        return np.asarray(rows[self._place[rows, 2] == 0])

    def write(self, rows: NDArray[np.int64], tokens: NDArray[np.float16]) -> None:
        """Append the tokens [len(rows), N, D] of films of equally many patches."""
        with self._path(self._process).open("r+b" if self._path(self._process).exists() else "wb") as file:
            file.seek(self._end * BYTES * self._dim)  # an interrupted process may have left half a film behind it
            file.write(np.ascontiguousarray(tokens, dtype=np.float16).tobytes())
        for row in rows.tolist():
            self._unsaid.append((row, self._end, tokens.shape[1]))
            self._end += tokens.shape[1]

    def flush(self) -> None:
        """To the disk, the tokens before what says that they are there."""
        for row, first, count in self._unsaid:
            self._place[row] = self._process, first, count
        self._unsaid.clear()
        flush(self._place)
        self._files.clear()

    def counts(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """[rows] number of tokens of each film."""
        return np.asarray(self._place[rows, 2])

    def read(self, row: int) -> NDArray[np.float16]:
        """[N, D] tokens of the film in ``row``."""
        process, first, count = self._place[row].tolist()
        if process not in self._files:
            flat = np.memmap(self._path(process), dtype=np.float16, mode="r")
            whole = len(flat) // self._dim
            self._files[process] = flat[: whole * self._dim].reshape(whole, self._dim)
        return np.asarray(self._files[process][first : first + count])

    def _path(self, process: int) -> Path:
        return self._folder / f"tokens-{process}.f16"
