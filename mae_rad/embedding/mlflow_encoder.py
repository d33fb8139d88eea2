"""An encoder folder as a model that MLflow serves: films as they lie in a shard → vectors.

It takes the path of training, embedding and prediction, so a film has the same vector here as there.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from data_prep.shard_format.sidecar import Sidecar
from mae_rad.data.film import Film
from mae_rad.data.views import stack, whole_film
from mae_rad.encoders.vit import ViT
from mae_rad.export.encoder_folder import load_encoder

USAGE = """```python
import mlflow, pandas

model = mlflow.pyfunc.load_model("models:/{name}/1")  # a sample: a film of a shard, as WebDataset yields it
model.predict(pandas.DataFrame({{"film": [sample["j2c"]], "sidecar": [sample["json"].decode()]}}))  # [films, {dim}]
```"""


class ServedEncoder:
    """What MLflow asks."""

    def __init__(self, encoder: ViT, tokens: int) -> None:
        self._encoder, self._tokens = encoder, tokens

    @torch.no_grad()
    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> NDArray[np.float32]:
        """[B, D] the vector of each film.

        Args:
            model_input: table with the columns film (bytes of the film in the shard) and sidecar (its JSON).
            params: ``tokens``, T; what the encoder was trained at where it is not given.
        """
        tokens = int((params or {}).get("tokens", self._tokens))
        vectors = np.empty((len(model_input["film"]), self._encoder.dim), np.float32)
        rows = zip(model_input["film"], model_input["sidecar"], strict=True)
        for number, (stream, sidecar) in enumerate(rows):
            film = Film(stream, Sidecar.model_validate_json(sidecar))
            patches = stack([whole_film(film, tokens, self._encoder.patch)])
            vectors[number] = self._encoder(patches).pooled[0].float().numpy()
        return vectors


def _load_pyfunc(folder: str) -> ServedEncoder:
    encoder, card = load_encoder(Path(folder))
    return ServedEncoder(encoder, card.preprocessing.tokens)
