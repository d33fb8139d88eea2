r"""Serve a predictor through MLflow: the input is film files as bytes, the output their findings.

    curl http://HOST/invocations -H 'Content-Type: application/json' \\
        -d "{\"dataframe_records\": [{\"file\": \"$(base64 -w0 film.dcm)\"}]}"

Files are read under the limits of ``mae-rad predict``: time and memory of one file, in another process.

For research. Not a medical device.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.runtime.decode_pool import DecodeLimits, StartError
from data_prep.runtime.decode_service import DecodeService
from data_prep.sharding.single_film import ArchiveFile, list_files
from mae_rad.errors import PredictionError
from mae_rad.export.predictor_card import PredictorCard, predictor_card
from mae_rad.export.predictor_folder import CARD, Predictor, load_predictor
from mae_rad.prediction.film_inference import FilmInference
from mae_rad.prediction.film_reader import FilmFileReader, ReadResult, use_one_thread
from mae_rad.prediction.in_scope import check_in_training
from mae_rad.prediction.prediction_folder import PredictRequest
from mae_rad.prediction.record import Record
from mae_rad.prediction.settings import InferenceSettings, PredictRuntime
from mae_rad.tracking import ModelInterface, RegisteredModel

_USAGE = """```python
import base64, json, pathlib, urllib.request

film = base64.b64encode(pathlib.Path("film.dcm").read_bytes()).decode()
request = urllib.request.Request(
    "http://127.0.0.1:5001/invocations",  # mlflow models serve -m models:/{name}/1 -p 5001 --env-manager virtualenv
    json.dumps({{"dataframe_records": [{{"file": film}}]}}).encode(),
    {{"Content-Type": "application/json"}},
)
print(json.load(urllib.request.urlopen(request)))  # one answer per film: status, findings, boxes, numbers, classes
```"""
_PRIVATE = {"number", "path", "size", "changed", "overlay", "report", "no_report", "state", "no_state"}
"""Fields of a record that concern files; the file of a request has no name."""


class ServedPredictor:
    """A predictor with the interface of an MLflow Python model.

    Args:
        predictor: encoder, head and card.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor, card = predictor, predictor.card
        read, runtime = (
            FilmFileReader(card.film, card.tokens, card.encoder.patch, card.encoder.film_scale),
            PredictRuntime(),
        )
        limits = DecodeLimits(
            runtime.workers, file_timeout_seconds=runtime.file_timeout_seconds, memory_gib=runtime.memory_gib
        )
        self._read: DecodeService[ArchiveFile, ReadResult] = DecodeService(read, limits, use_one_thread)

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Predict the films of files.

        Args:
            model_input: table with the column file, the bytes of a DICOM, PNG or JPEG file.
            params: ``body_part`` and ``view`` of films whose file does not state them, and ``out_of_scope``:
                ``refuse`` (default) or ``answer``, as of :meth:`mae_rad.api.predictor.FilmPredictor.predict`.

        Returns:
            One answer per film in the order of the files: ``file``, the row of its file from 0, and the fields of
            :class:`Record` without those of files; ``status`` and ``reason`` explain missing findings.

        Raises:
            PredictionError: training did not include this body part or view, or no process can be started that reads
                films.
            ValidationError: a param has another value (pydantic).
        """
        given = {name: value for name, value in (params or {}).items() if value}
        no_files = {"overlays": "none", "explain": "none", "reports": False, "presentation_states": False}
        settings = InferenceSettings.model_validate(no_files | given)
        check_in_training("body_part", settings.body_part, self._predictor.card.scope.body_parts)
        check_in_training("view", settings.view, self._predictor.card.scope.views)
        inference = FilmInference(self._predictor, settings)
        answers = []
        for row, content in enumerate(model_input["file"]):
            records = self._records(content, inference)
            answers += [{"file": row, **record.model_dump(mode="json", exclude=_PRIVATE)} for record in records]
        return answers

    def _records(self, content: bytes, inference: FilmInference) -> list[Record]:
        records: list[Record] = []
        with tempfile.TemporaryDirectory() as folder:  # readable by this user only; readers need a file
            path = Path(folder) / "film"
            path.write_bytes(content)
            for file in list_files([path]):
                try:
                    films = self._read(file)
                except StartError:
                    raise PredictionError(
                        "the processes that read films end at their start, possibly for lack of memory"
                    ) from None
                for film in inference.admitted(file, PredictRequest.of(1, file), films):
                    if isinstance(film, Record):
                        records.append(film)
                    else:
                        records += [answer.record for answer in inference.answers([film])]
        return records


def registered_predictor(folder: Path, name: str, training_run: str | None) -> RegisteredModel:
    """Describe a predictor folder for the model registry.

    Args:
        folder: predictor folder.
        name: name of the registered model.
        training_run: id of the MLflow run that trained it.
    """
    card = PredictorCard.model_validate_json((folder / CARD).read_bytes())
    return RegisteredModel(
        name=name,
        kind="predictor",
        loader=__name__,
        folder=folder,
        card=card.model_dump(mode="json"),
        signature=ModelInterface({"file": "binary"}, params={"body_part": "", "view": "", "out_of_scope": "refuse"}),
        weights_sha256=card.weights_sha256,
        training_run=training_run,
        description=f"{predictor_card(card)}\n\n## Served\n\n{_USAGE.format(name=name)}\n",
    )


def _load_pyfunc(folder: str) -> ServedPredictor:
    return ServedPredictor(load_predictor(Path(folder)))
