"""Identity of a public folder, finished or not: the settings, secret and format version of its shards."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from data_prep.bounded_reading import read_json
from data_prep.errors import ArchiveError, ShardFormatError
from data_prep.planning.known_failures import KnownFailures
from data_prep.runtime.atomic_write import canonical_json, is_temporary
from data_prep.runtime.folder_lock import LOCK_FILE
from data_prep.shard_format.sidecar import SPLITS

DATASET_FILE = "dataset.json"

UNFINISHED_FILE = ".unfinished.json"
"""Holds the identity of a folder until ``dataset.json`` is written; hidden, since readers do not need it."""

FOLDER_FILES = (DATASET_FILE, UNFINISHED_FILE)

SHARD_FILE = re.compile(rf"((?:{'|'.join(SPLITS)})-\d{{6,}})\.(?:tar|parquet|json)")

Identity = Mapping[str, Any]
"""What all shards of a folder share: format_version, key_fingerprint, config, and ``after``, the generation before."""


def check_not_nested(private: Path, public: Path) -> None:
    """Refuse a private and a public folder of which one contains the other: sharing one would share both.

    Args:
        private: folder of the scan.
        public: folder of the shards.

    Raises:
        ArchiveError: one lies inside the other.
    """
    private_path, public_path = private.resolve(), public.resolve()
    if private_path.is_relative_to(public_path) or public_path.is_relative_to(private_path):
        raise ArchiveError(
            f"the private folder {private} and the public folder {public} must not contain each other."
            " Give another folder as --out"
        )


def is_complete(public: Path) -> bool:
    """Whether the folder is finished: it has a ``dataset.json``."""
    return (public / DATASET_FILE).exists()


def is_public(public: Path) -> bool:
    """Whether the folder is a public one, finished or not."""
    return any((public / name).exists() for name in FOLDER_FILES)


def read_key_fingerprint(public: Path) -> str | None:
    """Fingerprint of the secret of the keys in a public folder, finished or not; None where it is not recorded."""
    for name in FOLDER_FILES:
        try:
            return str(read_json(public / name)["key_fingerprint"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def read_unfinished(public: Path) -> tuple[dict[str, Any], KnownFailures]:
    """Read the settings of a folder, finished or not, and the files that are known to fail.

    Raises:
        ShardFormatError: it is no public folder, or is damaged.
    """
    record = read_folder_record(public)
    if record is not None:
        return record.config, record.failures
    if any((public / name).exists() for name in FOLDER_FILES):
        raise ShardFormatError(f"{public / DATASET_FILE} is damaged. Run the same shard command again to rewrite it")
    raise ShardFormatError(f"{public} is no shard folder. Make one with: mae-rad shard")


class FolderRecord(NamedTuple):
    """What ``dataset.json``, or the file of an unfinished folder, records.

    Attributes:
        version: format version.
        fingerprint: of the secret.
        config: settings that change results.
        after: ``dataset_sha256`` of the generation before; None for the first.
        failures: files that are known to fail.
        has_retries: an earlier release added shards to those of the plan.
        keys: how the keys were made.
        source: key of the setting ``source``; empty where not recorded.
    """

    version: int
    fingerprint: str
    config: dict[str, Any]
    after: str | None
    failures: KnownFailures
    has_retries: bool
    keys: int = 1
    source: str = ""


def read_folder_record(public: Path) -> FolderRecord | None:
    """Read the record of a folder, finished or not; None where there is none, or only a damaged one."""
    for name in FOLDER_FILES:
        try:
            values = read_json(public / name)
            failures = KnownFailures.read(values)
            config, after = dict(values["config"]), values.get("after")
            version, fingerprint = values["format_version"], values["key_fingerprint"]
            keys, source = int(values.get("keys", 1)), str(values.get("source", ""))
            return FolderRecord(
                version, fingerprint, config, after, failures, bool(values.get("retries")), keys, source
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return None


def check_identity(public: Path, identity: Identity) -> None:
    """Refuse to write into a folder of another identity.

    Args:
        public: folder of the shards.
        identity: of the shards that are to be written.

    Raises:
        ShardFormatError: the folder has other settings, another secret or another format version, holds other files, or
            has shards of a former command that this release does not write.
    """
    record = read_folder_record(public)
    if record is None:
        if not _holds_shards_of(public, identity) and any(not _is_auxiliary(path) for path in public.iterdir()):
            raise ShardFormatError(
                f"{public} holds other files, or its {DATASET_FILE} is damaged and no shard in it has these settings."
                " Give a new or an empty folder as --out; for shards of release 0.1 whose splits were drawn, give"
                " splits.table=none"
            )
        return
    if record.has_retries:
        raise ShardFormatError(
            f"{public} has shards that the former command retry added, and which this release does not write. What is"
            " complete stays readable, and append adds films to it; to shard again, give a new folder as --out"
        )
    if record.after != identity.get("after"):
        raise ShardFormatError(
            f"{public} was begun after other shards than those that exist now. Remove it, then append again"
        )
    _check_config(public, record, identity)


def check_config(public: Path, identity: Identity) -> None:
    """Refuse to append to a folder with other settings, another secret or another format version.

    The table of splits may differ: rows may have been added, and ``append`` checks that no patient moves.

    Args:
        public: folder of the first generation.
        identity: of the shards that are to be appended.

    Raises:
        ShardFormatError: the folder differs, or is no shard folder.
    """
    record = read_folder_record(public)
    if record is None:
        raise ShardFormatError(f"{public} is no shard folder. Make one with: mae-rad shard")
    table = {"splits": {**record.config["splits"], "table": identity["config"]["splits"]["table"]}}
    _check_config(public, record._replace(config=record.config | table), identity)


def _check_config(public: Path, record: "FolderRecord", identity: Identity) -> None:
    if record.version != identity["format_version"]:
        raise ShardFormatError(
            f"{public} has shard format version {record.version}, this release writes version"
            f" {identity['format_version']}. Give a new folder as --out"
        )
    if record.fingerprint != identity["key_fingerprint"]:
        raise ShardFormatError(
            f"{public} was made with another secret: its keys do not match those of this private folder."
            " Give a new folder as --out, or scan again with the secret of the project"
        )
    if record.keys != identity.get("keys", record.keys):
        raise ShardFormatError(
            f"{public} was begun with keys={record.keys}: scan again with keys={record.keys}, so that a patient stays"
            " the same, or give a new folder as --out"
        )
    if record.source and record.source != identity.get("source", record.source):
        raise ShardFormatError(
            f"{public} was begun with another source, the issuer of patient numbers whose headers name none: scan again"
            " with source= as then, or give a new folder as --out"
        )
    if differences := _differences(record.config, identity["config"]):
        raise ShardFormatError(
            f"{public} was begun with other settings ({'; '.join(differences)})."
            " Give the settings of the folder, or a new folder as --out"
        )


def config_sha256(identity: Identity) -> str:
    """SHA-256 of the settings that change results, as in the cards of shards."""
    return hashlib.sha256(canonical_json(identity["config"])).hexdigest()


def _holds_shards_of(public: Path, identity: Identity) -> bool:
    """Whether a shard card has these settings: then only the record of the folder is lost.

    Cards hold the hash of their settings and of their inputs, keys included: shards that differ are rewritten.
    """
    expected = config_sha256(identity).encode()
    cards = (path for path in public.glob("*.json") if SHARD_FILE.fullmatch(path.name))
    return any(expected in path.read_bytes() for path in cards)


def _is_auxiliary(path: Path) -> bool:
    """Whether a file is a temporary or lock file of this project."""
    return is_temporary(path) or path.name == LOCK_FILE


def _differences(recorded: Mapping[str, Any], given: Mapping[str, Any], prefix: str = "") -> list[str]:
    lines = []
    for name in sorted({*recorded, *given}):
        old, new = recorded.get(name), given.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            lines += _differences(old, new, f"{prefix}{name}.")
        elif old != new:
            lines.append(f"{prefix}{name}: {json.dumps(old)} in the folder, {json.dumps(new)} given")
    return lines
