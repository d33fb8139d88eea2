"""Where an MLflow store lies, and what it may be told.

The sqlite store keeps no path: artifacts have ``mlflow-artifacts:`` addresses and lie in ``mlartifacts`` beside the
database, so that a folder of runs can be moved and is served by ``mlflow server`` (see :func:`open_command`).
"""

import re
import shlex
from pathlib import Path, PurePosixPath

SQLITE = "sqlite:///"
PROXIED = "mlflow-artifacts:"


def default_uri(folder: Path) -> str:
    """The sqlite store in ``folder``, the one that holds the run folders."""
    return f"{SQLITE}{(folder.resolve() / 'mlflow.db').as_posix()}"


def open_command(uri: str) -> str:
    """What a person types to read the store, or the address that a browser opens where a server already runs."""
    if uri.startswith(("http://", "https://")):
        return uri
    command = f"MLFLOW_DISABLE_TELEMETRY=true mlflow server --backend-store-uri {shlex.quote(uri)}"
    if uri.startswith(SQLITE):
        command += f" --artifacts-destination {shlex.quote(str(_artifact_root(uri)))}"
    return f"{command} --port 5000    # then open http://127.0.0.1:5000"


def legal(name: str) -> str:
    """``name`` in the letters that MLflow allows: a path of non-empty parts, at most 250 characters."""
    parts = re.sub(r"[^\w.\- :/]", "_", name).split("/")
    return "/".join(part for part in parts if part.strip(". "))[:250] or "_"


def database(uri: str) -> Path:
    """The file of a sqlite store."""
    return Path(uri.removeprefix(SQLITE))


def _artifact_root(uri: str) -> Path:
    return database(uri).parent / "mlartifacts"


def artifact_folder(uri: str, address: str) -> Path | None:
    """Where the artifacts at ``address`` lie that belong to the sqlite store; None leaves them to MLflow."""
    if not uri.startswith(SQLITE) or not address.startswith(PROXIED):
        return None
    return _artifact_root(uri) / PurePosixPath(address.removeprefix(PROXIED).lstrip("/"))
