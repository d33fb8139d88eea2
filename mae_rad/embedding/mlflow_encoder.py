"""Serve an encoder folder through MLflow: the input is films as stored in a shard, the output their vectors.

T, pooling and precision are the encoder's own: a film has the vector that ``mae-rad embed`` writes by default. Films
are decoded in other processes, whose time and memory are limited as those of ``mae-rad predict``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from data_prep.errors import Reason
from data_prep.runtime.decode_pool import DecodeLimits, StartError
from data_prep.runtime.decode_service import DecodeService
from data_prep.shard_format.sidecar import Sidecar
from mae_rad.data.film import Film
from mae_rad.data.patch_layout import FilmScale
from mae_rad.data.views import FilmPatches, stack, whole_film
from mae_rad.embedding.film_vector import VectorSettings, film_vectors, vector_settings, vector_width
from mae_rad.encoders.any_encoder import Encoder
from mae_rad.encoders.precision import fast_device
from mae_rad.errors import EvaluationError
from mae_rad.export.encoder_folder import load_encoder

LOADER = __name__
USAGE = """```python
import mlflow, pandas

model = mlflow.pyfunc.load_model("models:/{name}/1")  # a sample: a film of a shard, as WebDataset yields it
model.predict(pandas.DataFrame({{"film": [sample["j2c"]], "sidecar": [sample["json"].decode()]}}))  # [films, {dim}]
```"""


class ServedEncoder:
    """An encoder with the interface of an MLflow Python model.

    Args:
        encoder: encoder in evaluation mode.
        settings: T, pooling and precision of its vectors.
    """

    def __init__(self, encoder: Encoder, settings: VectorSettings) -> None:
        self._device, self._settings = fast_device(), settings
        self._encoder = encoder.to(self._device)
        self._read: DecodeService[_Sample, FilmPatches | Reason] = DecodeService(
            _patches, DecodeLimits(2), _use_one_thread
        )

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> NDArray[np.float32]:
        """Embed films.

        Args:
            model_input: table with the columns film (bytes of the film in the shard) and sidecar (its JSON).
            params: ``tokens``, T; by default the T of the encoder's training.

        Returns:
            [B, W] float32, the vector of each film.

        Raises:
            EvaluationError: a film cannot be decoded, or takes too much time or memory.
        """
        settings = self._settings
        tokens = int((params or {}).get("tokens", settings.tokens))
        vectors = np.empty((len(model_input["film"]), vector_width(self._encoder, settings.pool)), np.float32)
        rows = zip(model_input["film"], model_input["sidecar"], strict=True)
        for number, (stream, sidecar) in enumerate(rows):
            try:
                read = self._read(_Sample(bytes(stream), sidecar, tokens, self._encoder.patch, settings.scale))
            except StartError:
                raise EvaluationError(
                    "the processes that read films end at their start, possibly for lack of memory"
                ) from None
            if isinstance(read, Reason):
                raise EvaluationError(f"row {number} holds no film of a shard with its sidecar ({read.value})")
            patches = stack([read]).to(self._device)
            (vector,) = film_vectors(self._encoder, patches, settings.pool, settings.precision)
            vectors[number] = vector.cpu().numpy()
        return vectors


class _Sample(NamedTuple):
    """A film of a request: bytes, sidecar, T, side of the patches in pixels and scale."""

    stream: bytes
    sidecar: str
    tokens: int
    patch: int
    scale: FilmScale


def _patches(sample: _Sample) -> FilmPatches | Reason:
    try:
        film = Film(sample.stream, Sidecar.model_validate_json(sample.sidecar), sample.scale)
        return whole_film(film, sample.tokens, sample.patch)
    except Exception:  # a decoder may raise anything on damaged bytes
        return Reason.CORRUPT_PIXELS


def _use_one_thread() -> None:
    torch.set_num_threads(1)


def _load_pyfunc(folder: str) -> ServedEncoder:
    encoder, card = load_encoder(Path(folder))
    return ServedEncoder(encoder, vector_settings(card))
