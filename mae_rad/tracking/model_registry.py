"""Encoders in MLflow's model registry, with signature and preprocessing; nothing is pickled.

A version is an encoder folder (safetensors and its card) beside an ``MLmodel`` file that names the code to load it
with, ``mae_rad.embedding.mlflow_encoder``. Its input is what a shard holds of a film, so its vector is that of
``launch/embed.py``.
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

from mae_rad.tracking.public_values import public_value, public_values
from mae_rad.tracking.store import artifact_folder, legal

LOADER = "mae_rad.embedding.mlflow_encoder"
WEIGHTS_TAG = "weights_sha256"
_DATA = "encoder"
_DEFAULT_STORE = "MLFLOW_TRACKING_URI"


class RegisteredEncoder(NamedTuple):
    """An encoder for the registry.

    Attributes:
        name: under which its versions stand.
        folder: encoder folder.
        card: what ``encoder.json`` says, as plain values.
        dim: length of the vector of a film.
        tokens: T where the caller gives none.
        weights_sha256: of its weights; a version that has them is the same version.
        pretraining_run: MLflow run that trained it, where it is known.
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
    """Put ``model`` into the registry unless it is there; raises whatever the store does."""
    name = re.sub(r"[/:]", "_", legal(model.name))
    if not _registered(client, name):
        client.create_registered_model(name, description="Encoder of radiographs.")
    known = client.search_model_versions(f"name = '{name}'")
    if any(one.tags.get(WEIGHTS_TAG) == model.weights_sha256 for one in known):
        return
    source = _known_run(client, model.pretraining_run) or run_id
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
    with _found_by_default(uri):
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
def _found_by_default(uri: str) -> Iterator[None]:
    """MLflow looks a model up in its default store, whatever the client's: for that moment it is ``uri``."""
    before = os.environ.get(_DEFAULT_STORE)
    os.environ[_DEFAULT_STORE] = uri
    try:
        yield
    finally:
        del os.environ[_DEFAULT_STORE]
        os.environ.update({} if before is None else {_DEFAULT_STORE: before})


def _registered(client: Any, name: str) -> bool:
    return any(one.name == name for one in client.search_registered_models(f"name = '{name}'"))


def _known_run(client: Any, run_id: str | None) -> str | None:
    """``run_id`` where this store has it: the encoder may have been trained under another one."""
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
    with tempfile.TemporaryDirectory() as made:
        _write(Path(made), logged, model, run_id)
        client.log_model_artifacts(logged.model_id, made)


def _write(folder: Path, logged: Any, model: RegisteredEncoder, run_id: str) -> None:
    from mlflow.models import Model  # noqa: PLC0415
    from mlflow.pyfunc import add_to_model  # noqa: PLC0415

    shutil.copytree(model.folder, folder / _DATA)
    described = Model(
        artifact_path=logged.artifact_location,
        run_id=run_id,
        model_id=logged.model_id,
        signature=_signature(model.dim, model.tokens),
        metadata={key: public_value(value) for key, value in public_values(model.card).items()},
    )
    add_to_model(described, loader_module=LOADER, data=_DATA)
    described.save(str(folder / "MLmodel"))
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
