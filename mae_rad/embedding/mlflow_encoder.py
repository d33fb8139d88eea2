"""Serve an encoder folder through MLflow: the input is films as stored in a shard, the output their vectors.

T, pooling and precision are the encoder's own: a film has the vector that ``mae-rad embed`` writes by default.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.shard_format.sidecar import Sidecar
from mae_rad.data.film import Film
from mae_rad.data.views import stack, whole_film
from mae_rad.embedding.film_vector import VectorSettings, film_vectors, vector_settings, vector_width
from mae_rad.encoders.any_encoder import Encoder
from mae_rad.encoders.precision import fast_device
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

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> NDArray[np.float32]:
        """Embed films.

        Args:
            model_input: table with the columns film (bytes of the film in the shard) and sidecar (its JSON).
            params: ``tokens``, T; by default the T of the encoder's training.

        Returns:
            [B, W] float32, the vector of each film.
        """
        settings = self._settings
        tokens = int((params or {}).get("tokens", settings.tokens))
        vectors = np.empty((len(model_input["film"]), vector_width(self._encoder, settings.pool)), np.float32)
        rows = zip(model_input["film"], model_input["sidecar"], strict=True)
        for number, (stream, sidecar) in enumerate(rows):
            film = Film(stream, Sidecar.model_validate_json(sidecar))
            patches = stack([whole_film(film, tokens, self._encoder.patch)]).to(self._device)
            (vector,) = film_vectors(self._encoder, patches, settings.pool, settings.precision)
            vectors[number] = vector.cpu().numpy()
        return vectors


def _load_pyfunc(folder: str) -> ServedEncoder:
    encoder, card = load_encoder(Path(folder))
    return ServedEncoder(encoder, vector_settings(card))
