"""What a sweep folder was begun with: ``sweep.json``, which a later command must share."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep.bounded_reading import read_json
from data_prep.folder_url import FolderUrl, PublicFolder
from data_prep.runtime.atomic_write import atomic_text
from mae_rad.errors import RunError, SettingsError
from mae_rad.training.run_folder import list_differences

_FILE = "sweep.json"


def refuse_signed(shards: Sequence[PublicFolder]) -> None:
    """Refuse addresses with a signature: a sweep gives its settings to other processes and to files.

    Args:
        shards: public folders.

    Raises:
        SettingsError: one has a signature.
    """
    if signed := [shard for shard in shards if isinstance(shard, FolderUrl) and shard.query]:
        raise SettingsError(f"data.shards: a sweep records its settings, and a signature is not recorded: {signed[0]}")


def check_record(out: Path, record: Mapping[str, Any]) -> None:
    """Write the record of a new sweep folder, or compare it with that of an existing one.

    Args:
        out: folder of the sweep; created if missing.
        record: all that must not change between two commands, as JSON.

    Raises:
        SettingsError: the folder was begun with something else, or is a file.
        RunError: its record is damaged.
    """
    if out.exists() and not out.is_dir():
        raise SettingsError(f"--out {out} is a file. Give a folder")
    now = json.loads(json.dumps(record))
    path = out / _FILE
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        atomic_text(path, json.dumps(now, indent=1))
        return
    try:
        before = read_json(path)
    except (OSError, ValueError):
        raise RunError(f"{path} is damaged, so the sweep cannot go on. Give a new --out") from None
    if differing := list_differences(before, now, now):
        raise SettingsError(
            f"{out} holds another sweep: {'; '.join(differing)}. Give the earlier values, or a new --out"
        )
