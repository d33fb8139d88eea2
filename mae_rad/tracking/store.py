"""Addresses of an MLflow store, and the names that it accepts.

The sqlite store contains no path: artifacts have ``mlflow-artifacts:`` addresses and lie in ``mlartifacts`` in the
folder of the database, so that a folder of runs can be moved and served by ``mlflow server`` (:func:`open_command`).
"""

import os
import re
import shlex
from pathlib import Path, PurePosixPath

SQLITE = "sqlite:///"
PROXIED = "mlflow-artifacts:"
_STORE, _EXPERIMENT = "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"
"""MLflow's own variables, for what the settings leave open."""
_PORT = 5000


def chosen_store(setting: str | None, folder: Path) -> str:
    """Return the address of a tracking store: the setting, else ``MLFLOW_TRACKING_URI``, else sqlite in ``folder``."""
    return setting or os.environ.get(_STORE) or default_uri(folder)


def chosen_experiment(setting: str | None, default: str) -> str:
    """Return the name of an experiment: the setting, else ``MLFLOW_EXPERIMENT_NAME``, else the default."""
    return setting or os.environ.get(_EXPERIMENT) or default


def default_uri(folder: Path) -> str:
    """Return the address of the sqlite store in ``folder``, the parent of the run folders."""
    return f"{SQLITE}{(folder.resolve() / 'mlflow.db').as_posix()}"


def open_command(uri: str, page: str = "") -> str:
    """Return the shell command that serves the store and the address to open, or the address if it is a server.

    Args:
        uri: address of the store; an account in it is left out.
        page: address of a page, relative to that of the server.
    """
    if uri.startswith(("http://", "https://")):
        return f"{without_account(uri).rstrip('/')}/{page}"
    command = f"MLFLOW_DISABLE_TELEMETRY=true mlflow server --backend-store-uri {shlex.quote(uri)}"
    if uri.startswith(SQLITE):
        command += f" --artifacts-destination {shlex.quote(str(_artifact_root(uri)))}"
    return f"{command} --port {_PORT}\n        then open http://127.0.0.1:{_PORT}/{page}"


def without_account(uri: str) -> str:
    """Return an address without user and password."""
    scheme, separator, location = uri.partition("://")
    return f"{scheme}{separator}{location.rpartition('@')[2]}"


def legal(name: str) -> str:
    """Replace characters that MLflow does not allow in a name; at most 250 characters, no empty path components."""
    parts = re.sub(r"[^\w.\- :/]", "_", name).split("/")
    return "/".join(part for part in parts if part.strip(". "))[:250] or "_"


def database(uri: str) -> Path:
    """Return the file of a sqlite store."""
    return Path(uri.removeprefix(SQLITE))


def _artifact_root(uri: str) -> Path:
    return database(uri).parent / "mlartifacts"


def artifact_folder(uri: str, address: str) -> Path | None:
    """Return the folder of artifacts of the sqlite store; None for stores whose artifacts MLflow manages.

    Args:
        uri: address of the store.
        address: ``mlflow-artifacts:`` address.
    """
    if not uri.startswith(SQLITE) or not address.startswith(PROXIED):
        return None
    return _artifact_root(uri) / PurePosixPath(address.removeprefix(PROXIED).lstrip("/"))
