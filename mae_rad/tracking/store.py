"""Addresses of an MLflow store, and the names that it accepts.

The sqlite store contains no path: artifacts have ``mlflow-artifacts:`` addresses and lie in ``mlartifacts`` in the
folder of the database, so that a folder of runs can be moved and served by ``mlflow server`` (:func:`open_command`).
"""

import re
import shlex
from pathlib import Path, PurePosixPath

SQLITE = "sqlite:///"
PROXIED = "mlflow-artifacts:"


def default_uri(folder: Path) -> str:
    """Return the address of the sqlite store in ``folder``, the parent of the run folders."""
    return f"{SQLITE}{(folder.resolve() / 'mlflow.db').as_posix()}"


def open_command(uri: str) -> str:
    """Return the shell command that serves the store, or its address if it is a server."""
    if uri.startswith(("http://", "https://")):
        return uri
    command = f"MLFLOW_DISABLE_TELEMETRY=true mlflow server --backend-store-uri {shlex.quote(uri)}"
    if uri.startswith(SQLITE):
        command += f" --artifacts-destination {shlex.quote(str(_artifact_root(uri)))}"
    return f"{command} --port 5000    # then open http://127.0.0.1:5000"


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
