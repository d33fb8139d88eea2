"""Register encoders in MLflow's model registry, with signature and preprocessing, without pickled code.

A version consists of an encoder folder (safetensors and card) and an ``MLmodel`` file that names the code to load it,
``mae_rad.embedding.mlflow_encoder``. Its input is the sample of a film in a shard, and its output the vector that
``mae-rad embed`` computes.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from mae_rad.tracking.store import artifact_folder, legal
from mae_rad.tracking.values_allowed_in_mlflow import public_value, public_values

LOADER = "mae_rad.embedding.mlflow_encoder"
WEIGHTS_TAG = "weights_sha256"
_DATA = "encoder"
_DEFAULT_STORE = "MLFLOW_TRACKING_URI"


class RegisteredEncoder(NamedTuple):
    """An encoder for the registry.

    Attributes:
        name: name of the registered model.
        folder: encoder folder.
        card: contents of ``encoder.json``.
        dim: length of the vector of a film.
        tokens: default T of the served model.
        weights_sha256: checksum of its weights; a version with the same checksum is not registered again.
        pretraining_run: id of the MLflow run that trained it, if known.
        description: Markdown.
    """

    name: str
    folder: Path
    card: Mapping[str, object]
    dim: int
    tokens: int
    weights_sha256: str
    pretraining_run: str | None
    description: str


def register(client: Any, experiment: str, run_id: str, uri: str, model: RegisteredEncoder) -> None:
    """Register a model version, unless one with the same weights exists; raises any error of the store.

    Args:
        client: MLflow client.
        experiment: id of the experiment.
        run_id: id of the run that registers it.
        uri: address of the tracking store.
        model: encoder to register.
    """
    name = re.sub(r"[/:]", "_", legal(model.name))
    if not _is_registered(client, name):
        client.create_registered_model(name, description="Encoder of radiographs.")
    versions = client.search_model_versions(f"name = '{name}'")
    if any(existing.tags.get(WEIGHTS_TAG) == model.weights_sha256 for existing in versions):
        return
    source = _existing_run(client, model.pretraining_run) or run_id
    facts = {legal(key): value for key, value in public_values(model.card).items()}
    tags = {WEIGHTS_TAG: model.weights_sha256} | {
        key.removeprefix("provenance."): value
        for key, value in facts.items()
        if key in ("provenance.dataset_sha256", "provenance.config_sha256", "provenance.version")
    }
    logged = client.create_logged_model(
        experiment, name=name, source_run_id=source, params=facts, tags=tags, model_type="encoder"
    )
    _store(client, uri, logged, model, source)
    client.finalize_logged_model(logged.model_id, "READY")
    with _default_store(uri):
        client.create_model_version(
            name,
            source=f"models:/{logged.model_id}",
            run_id=source,
            model_id=logged.model_id,
            tags=tags,
            description=model.description,
            await_creation_for=0,
        )


@contextmanager
def _default_store(uri: str) -> Iterator[None]:
    """Set MLflow's default store within the context: it searches models there, whichever store the client uses."""
    before = os.environ.get(_DEFAULT_STORE)
    os.environ[_DEFAULT_STORE] = uri
    try:
        yield
    finally:
        del os.environ[_DEFAULT_STORE]
        os.environ.update({} if before is None else {_DEFAULT_STORE: before})


def _is_registered(client: Any, name: str) -> bool:
    return any(registered.name == name for registered in client.search_registered_models(f"name = '{name}'"))


def _existing_run(client: Any, run_id: str | None) -> str | None:
    """Return ``run_id`` if this store has that run, else None; the encoder may have been trained with another store."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    if run_id is None:
        return None
    try:
        return str(client.get_run(run_id).info.run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def _store(client: Any, uri: str, logged: Any, model: RegisteredEncoder, run_id: str) -> None:
    folder = artifact_folder(uri, logged.artifact_location)
    if folder is not None:
        _write(folder, logged, model, run_id)
        return
    with tempfile.TemporaryDirectory() as scratch:
        _write(Path(scratch), logged, model, run_id)
        client.log_model_artifacts(logged.model_id, scratch)


def _write(folder: Path, logged: Any, model: RegisteredEncoder, run_id: str) -> None:
    from mlflow.models import Model  # noqa: PLC0415
    from mlflow.pyfunc import add_to_model  # noqa: PLC0415

    shutil.copytree(model.folder, folder / _DATA)
    description = Model(
        artifact_path=logged.artifact_location,
        run_id=run_id,
        model_id=logged.model_id,
        signature=_signature(model.dim, model.tokens),
        metadata={key: public_value(value) for key, value in public_values(model.card).items()},
    )
    add_to_model(description, loader_module=LOADER, data=_DATA)
    description.save(str(folder / "MLmodel"))
    (folder / "requirements.txt").write_text(f"mae_rad[train]=={version('mae_rad')}\n", encoding="utf-8")


def _signature(dim: int, tokens: int) -> Any:
    import numpy as np  # noqa: PLC0415
    from mlflow.models import ModelSignature  # noqa: PLC0415
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec  # noqa: PLC0415

    return ModelSignature(
        inputs=Schema([ColSpec("binary", "film"), ColSpec("string", "sidecar")]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, dim))]),
        params=ParamSchema([ParamSpec("tokens", DataType.long, tokens)]),
    )
