"""Settings, secret and format version that a public folder was begun with, finished or not."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from data_prep.errors import ArchiveError, ShardFormatError
from data_prep.planning.known_failures import History
from data_prep.runtime.atomic_write import canonical_json, is_temporary
from data_prep.runtime.folder_lock import LOCK_FILE
from data_prep.shard_format.sidecar import SPLITS

DATASET_FILE = "dataset.json"

UNFINISHED_FILE = ".unfinished.json"
"""Says how the folder was begun until ``dataset.json`` does; hidden, since it is of no use to a reader."""

FOLDER_FILES = (DATASET_FILE, UNFINISHED_FILE)

SHARD_FILE = re.compile(rf"((?:{'|'.join(SPLITS)})-\d{{6,}})\.(?:tar|parquet|json)")

Identity = Mapping[str, Any]
"""What all shards of a folder share: format_version, key_fingerprint and config, and which generation they follow."""


def check_apart(private: Path, public: Path) -> None:
    """Refuse a public folder that is given away together with the private one, or the reverse.

    Raises:
        ArchiveError: one lies inside the other.
    """
    inner, outer = private.resolve(), public.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise ArchiveError(f"the private folder {private} and the public folder {public} must not contain each other")


def is_complete(public: Path) -> bool:
    """Whether the folder has been finished and not been opened again."""
    return (public / DATASET_FILE).exists()


def is_public(public: Path) -> bool:
    """Whether the folder is a public one, finished or not."""
    return any((public / name).exists() for name in FOLDER_FILES)


def key_fingerprint_of(public: Path) -> str | None:
    """Fingerprint of the secret that made the keys of a public folder, finished or not; None where nothing tells it."""
    for name in FOLDER_FILES:
        try:
            return str(json.loads((public / name).read_text(encoding="utf-8"))["key_fingerprint"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def read_unfinished(public: Path) -> tuple[dict[str, Any], History]:
    """With which settings the folder was begun, and what its runs have learnt.

    Raises:
        ShardFormatError: it is no public folder, or damaged.
    """
    found = folder_record(public)
    if found is not None:
        return found.config, found.history
    if any((public / name).exists() for name in FOLDER_FILES):
        raise ShardFormatError(f"{public / DATASET_FILE} is damaged; run the same shard command again to rewrite it")
    raise ShardFormatError(f"{public} is no shard folder; make one with: python -m data_prep shard")


class FolderRecord(NamedTuple):
    """What the folder records of itself: format, secret, settings, the generation it follows, files known to fail.

    ``has_retries``: an earlier release added shards beside those of the plan.
    """

    version: int
    fingerprint: str
    config: dict[str, Any]
    after: str | None
    history: History
    has_retries: bool


def folder_record(public: Path) -> FolderRecord | None:
    """How the folder was begun; None where nothing, or nothing whole, says so."""
    for name in FOLDER_FILES:
        try:
            found = json.loads((public / name).read_text(encoding="utf-8"))
            history = History.read(found)
            config, after = dict(found["config"]), found.get("after")
            version, fingerprint = found["format_version"], found["key_fingerprint"]
            return FolderRecord(version, fingerprint, config, after, history, bool(found.get("retries")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return None


def check_identity(public: Path, identity: Identity) -> None:
    """Refuse a folder that was begun in another way.

    Raises:
        ShardFormatError: with other settings, another secret or another format version, it holds other files, or an
            earlier release has added shards to it that this one does not write.
    """
    found = folder_record(public)
    if found is None:
        if not _holds_shards_of(public, identity) and any(not _is_ours(path) for path in public.iterdir()):
            raise ShardFormatError(
                f"{public} holds other files, or its {DATASET_FILE} is damaged and no shard in it is of these settings;"
                " give a new or an empty folder as --out"
            )
        return
    if found.has_retries:
        raise ShardFormatError(
            f"{public} has shards that the former command retry added, and which this release does not write. What is"
            " complete stays readable, and append adds films to it; to shard again, give a new folder as --out"
        )
    if found.after != identity.get("after"):
        raise ShardFormatError(
            f"{public} was begun after other shards than those that are there now; remove it, then append again"
        )
    _check_config(public, found, identity)


def check_config(public: Path, identity: Identity) -> None:
    """Refuse a folder that was begun with other settings, another secret or another format version.

    The table of splits may differ: it may have grown, and whoever appends checks that no patient moves.

    Raises:
        ShardFormatError: it was, or is no shard folder.
    """
    found = folder_record(public)
    if found is None:
        raise ShardFormatError(f"{public} is no shard folder; make one with: python -m data_prep shard")
    table = {"splits": {**found.config["splits"], "table": identity["config"]["splits"]["table"]}}
    _check_config(public, found._replace(config=found.config | table), identity)


def _check_config(public: Path, found: "FolderRecord", identity: Identity) -> None:
    if found.version != identity["format_version"]:
        raise ShardFormatError(
            f"{public} has shard format version {found.version}, this release writes version"
            f" {identity['format_version']}; give a new folder as --out"
        )
    if found.fingerprint != identity["key_fingerprint"]:
        raise ShardFormatError(
            f"{public} was made with another secret: its keys would not go with those of this private folder;"
            " give a new folder as --out, or scan again with the secret of the project"
        )
    if differences := _differences(found.config, identity["config"]):
        raise ShardFormatError(
            f"{public} was begun with other settings ({'; '.join(differences)});"
            " give these settings again, or a new folder as --out"
        )


def config_sha256(identity: Identity) -> str:
    """Of the settings that change results, as it stands on the cards of shards."""
    return hashlib.sha256(canonical_json(identity["config"])).hexdigest()


def _holds_shards_of(public: Path, identity: Identity) -> bool:
    """Whether a card is of these settings: then only the file that says how the folder was begun is lost.

    Cards bear the hash of their settings and of their inputs, keys included: what does not fit is written anew.
    """
    wanted = config_sha256(identity).encode()
    cards = (path for path in public.glob("*.json") if SHARD_FILE.fullmatch(path.name))
    return any(wanted in path.read_bytes() for path in cards)


def _is_ours(path: Path) -> bool:
    return is_temporary(path) or path.name == LOCK_FILE


def _differences(there: Mapping[str, Any], here: Mapping[str, Any], prefix: str = "") -> list[str]:
    lines = []
    for name in sorted({*there, *here}):
        old, new = there.get(name), here.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            lines += _differences(old, new, f"{prefix}{name}.")
        elif old != new:
            lines.append(f"{prefix}{name}: {json.dumps(old)} there, {json.dumps(new)} here")
    return lines
