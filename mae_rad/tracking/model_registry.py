"""Register models in MLflow's model registry, with signature and preprocessing, without pickled code.

A version consists of an encoder or predictor folder (safetensors and card), an ``MLmodel`` file that names the code to
load it, and this project as a wheel, so that its requirements install where no package index has the project.
"""

import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import yaml

from mae_rad.tracking.package_wheel import write_wheel
from mae_rad.tracking.store import artifact_folder, legal
from mae_rad.tracking.values_allowed_in_mlflow import public_value, public_values

WEIGHTS_TAG = "weights_sha256"
_DEFAULT_STORE = "MLFLOW_TRACKING_URI"
_WHEELS = "wheels"
"""Folder of wheels in a model, as MLflow names it."""
_VIRTUALENV, _CONDA = "python_env.yaml", "conda.yaml"
_SERVING = ("highdicom", "safetensors", "torch", "torchvision", "timm", "mlflow")
"""What serving needs beside the requirements of the base package; deepspeed only trains."""


class RegisteredModel(NamedTuple):
    """A model for the registry.

    Attributes:
        name: name of the registered model.
        kind: what it is; also the name of its folder in the model.
        loader: module with MLflow's ``_load_pyfunc``.
        folder: encoder or predictor folder.
        card: contents of its card.
        signature: inputs, outputs and params.
        weights_sha256: checksum of its weights; a version with the same checksum is not registered again.
        training_run: id of the MLflow run that trained it, if known.
        description: Markdown.
    """

    name: str
    kind: Literal["encoder", "predictor"]
    loader: str
    folder: Path
    card: Mapping[str, object]
    signature: "ModelInterface"
    weights_sha256: str
    training_run: str | None
    description: str


class ModelInterface(NamedTuple):
    """What a served model takes and gives.

    Attributes:
        columns: column of the input table → MLflow's type.
        width: length of the vector per film; None for a model whose answers are objects.
        params: name of a param → its default.
    """

    columns: Mapping[str, Literal["binary", "string"]]
    width: int | None = None
    params: Mapping[str, int | str] = MappingProxyType({})


def register(client: Any, experiment: str, run_id: str, uri: str, model: RegisteredModel) -> None:
    """Register a model version, unless one with the same weights exists; raises any error of the store.

    Args:
        client: MLflow client.
        experiment: id of the experiment.
        run_id: id of the run that registers it.
        uri: address of the tracking store.
        model: to register.
    """
    name = re.sub(r"[/:]", "_", legal(model.name))
    if not _is_registered(client, name):
        client.create_registered_model(name, description=f"{model.kind.capitalize()} of radiographs.")
    versions = client.search_model_versions(f"name = '{name}'")
    if any(existing.tags.get(WEIGHTS_TAG) == model.weights_sha256 for existing in versions):
        return
    source = _existing_run(client, model.training_run) or run_id
    facts = {legal(key): value for key, value in public_values(model.card).items()}
    tags = {WEIGHTS_TAG: model.weights_sha256} | {
        key.removeprefix("provenance."): value
        for key, value in facts.items()
        if key in ("provenance.dataset_sha256", "provenance.config_sha256", "provenance.version")
    }
    logged = client.create_logged_model(
        experiment, name=name, source_run_id=source, params=facts, tags=tags, model_type=model.kind
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


def _store(client: Any, uri: str, logged: Any, model: RegisteredModel, run_id: str) -> None:
    folder = artifact_folder(uri, logged.artifact_location)
    if folder is not None:
        _write(folder, logged, model, run_id)
        return
    with tempfile.TemporaryDirectory() as scratch:
        _write(Path(scratch), logged, model, run_id)
        client.log_model_artifacts(logged.model_id, scratch)


def _write(folder: Path, logged: Any, model: RegisteredModel, run_id: str) -> None:
    from mlflow.models import Model  # noqa: PLC0415
    from mlflow.pyfunc import add_to_model  # noqa: PLC0415

    shutil.copytree(model.folder, folder / model.kind)
    description = Model(
        artifact_path=logged.artifact_location,
        run_id=run_id,
        model_id=logged.model_id,
        signature=_signature(model.signature),
        metadata={key: public_value(value) for key, value in public_values(model.card).items()},
    )
    add_to_model(description, loader_module=model.loader, data=model.kind, conda_env=_CONDA, python_env=_VIRTUALENV)
    description.save(str(folder / "MLmodel"))
    _write_environment(folder)


def _write_environment(folder: Path) -> None:
    """Write what MLflow installs before it serves a model: requirements, and the two files that name them."""
    (folder / _WHEELS).mkdir()
    wheel = write_wheel(folder / _WHEELS)
    requirements = [f"{_WHEELS}/{wheel.name}", *(f"{name}=={version(name)}" for name in _SERVING)]
    python, install = platform.python_version(), "-r requirements.txt"
    files = {
        "requirements.txt": "\n".join(requirements),
        _VIRTUALENV: yaml.safe_dump({"python": python, "build_dependencies": ["pip"], "dependencies": [install]}),
        _CONDA: yaml.safe_dump(
            {"channels": ["conda-forge"], "dependencies": [f"python={python}", "pip", {"pip": [install]}]}
        ),
    }
    for name, text in files.items():
        (folder / name).write_text(f"{text.rstrip()}\n", encoding="utf-8")


def _signature(interface: ModelInterface) -> Any:
    import numpy as np  # noqa: PLC0415
    from mlflow.models import ModelSignature  # noqa: PLC0415
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec  # noqa: PLC0415

    width = interface.width
    params = [
        ParamSpec(name, DataType.long if isinstance(default, int) else DataType.string, default)
        for name, default in interface.params.items()
    ]
    return ModelSignature(
        inputs=Schema([ColSpec(kind, name) for name, kind in interface.columns.items()]),
        outputs=None if width is None else Schema([TensorSpec(np.dtype(np.float32), (-1, width))]),
        params=ParamSchema(params) if params else None,
    )
