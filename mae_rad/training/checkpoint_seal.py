"""Seal checkpoints, whose files can run code when they are loaded, with a secret of the user.

A checkpoint is a pickle, and the checksums beside it are written by whoever wrote the pickle. Its record is
therefore sealed by HMAC-SHA256 under a secret in a file of the home folder, ``~/.mae_rad/run_secret`` (mode 0600, made
once, shared by all machines that share the home folder), or in the file that ``MAE_RAD_RUN_SECRET`` names.
"""

import contextlib
import hashlib
import hmac
import logging
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.bounded_reading import read_bounded
from data_prep.runtime.atomic_write import PRIVATE_MODE, canonical_json, synced_file
from mae_rad.errors import RunError

SEAL = "seal"
"""Key of the seal in the record of a checkpoint."""
SECRET_FILE = "MAE_RAD_RUN_SECRET"
"""Environment variable with the path of the secret."""
_BYTES = 32
_PURPOSE = b"checkpoint of mae_rad\0"

_log = logging.getLogger(__name__)


def secret_path() -> Path:
    """Path of the secret of this user."""
    return Path(os.environ.get(SECRET_FILE) or Path.home() / ".mae_rad" / "run_secret")


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """Add a seal to the record of a checkpoint; without a seal if the secret cannot be made or read.

    Args:
        record: JSON values, with names and SHA-256 of all files.

    Raises:
        RunError: other users may read the secret.
    """
    secret = _make_secret()
    return {**record, SEAL: _seal(record, secret)} if secret else dict(record)


def has_valid_seal(record: Mapping[str, Any]) -> bool:
    """Whether the record of a checkpoint bears a seal of this user.

    Raises:
        RunError: other users may read the secret.
    """
    secret, seal = _read_secret(), record.get(SEAL)
    return bool(secret) and isinstance(seal, str) and hmac.compare_digest(seal.encode(), _seal(record, secret).encode())


def _seal(record: Mapping[str, Any], secret: bytes) -> str:
    content = {name: value for name, value in record.items() if name != SEAL}
    return hmac.new(secret, _PURPOSE + canonical_json(content), hashlib.sha256).hexdigest()


def _read_secret() -> bytes:
    """The secret; empty if there is none."""
    path = secret_path()
    try:
        status = path.stat()
        secret = read_bounded(path, _BYTES)
    except OSError:
        return b""
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO) or status.st_uid != os.geteuid():
        raise RunError(
            f"{path} may be read or written by other users, who could then seal checkpoints that run their code."
            f" Give it to yourself with chmod 600 {path}, or remove it: a new one is made, and earlier runs need"
            " runtime.trust_run=true once."
        )
    return secret if len(secret) == _BYTES else b""


def _make_secret() -> bytes:
    """The secret, made if there is none; processes that make it at the same time agree on one."""
    path = secret_path()
    if not (secret := _read_secret()):
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write_secret(path)
        except OSError as error:
            _log.warning(
                "%s cannot be made (%s): checkpoints bear no seal, and resuming will need runtime.trust_run=true."
                " Set %s to a file that can be written.",
                path,
                error.strerror,
                SECRET_FILE,
            )
        secret = _read_secret()
    return secret


def _write_secret(path: Path) -> None:
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with synced_file(part, PRIVATE_MODE) as file:
            file.write(secrets.token_bytes(_BYTES))
        with contextlib.suppress(FileExistsError):
            os.link(part, path)  # unlike a rename, it keeps the secret that another process has made meanwhile
    finally:
        part.unlink(missing_ok=True)
