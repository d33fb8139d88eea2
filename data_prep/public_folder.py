"""Who may write a public folder: one command at a time, always with the same settings, secret and format."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.atomic import canonical_json, is_leftover, published, sync_folder
from data_prep.errors import ArchiveError, FolderBusyError, ShardFormatError
from data_prep.folder_lock import LOCK_FILE, locked
from data_prep.history import History
from data_prep.shard_format import SPLITS, read_dataset_card

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


@contextmanager
def claimed(public: Path, identity: Identity, *, shared: bool = False) -> Iterator[None]:
    """Make or take over the folder, alone, and clear away what an interruption left.

    ``shared`` lets commands that write parts of it work at the same time; nothing is cleared away then.

    Raises:
        FolderBusyError: the folder is in use.
        ShardFormatError: it was begun in another way, holds other files, or cannot be written.
    """
    try:
        public.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ShardFormatError(f"the public folder {public} cannot be made ({error.strerror})") from None
    with held(public, shared):
        check_identity(public, identity)
        if not shared:
            _clear(public)
        if folder_record(public) is None:
            reopen(public, identity, History())
        try:
            yield
        finally:
            if not shared:
                _clear(public)


def reopen(public: Path, identity: Identity, history: History) -> None:
    """Mark the folder as unfinished."""
    with published(public / UNFINISHED_FILE) as file:
        file.write(canonical_json({**identity, **history.values()}))
    if is_complete(public):
        (public / DATASET_FILE).unlink()
        sync_folder(public)


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


def follows(public: Path) -> str | None:
    """``dataset_sha256`` of the generation that the folder was begun after; None for the first, or if nothing tells."""
    found = folder_record(public)
    return found.after if found else None


def is_whole(public: Path) -> bool:
    """Whether the folder is complete, with a card for every shard and both tables; their bytes are not checked."""
    if (public / UNFINISHED_FILE).exists():
        return False
    try:
        card = read_dataset_card(public)
        for name in ("index.parquet", "rejects.parquet"):
            pq.read_metadata(public / name)
    except (ShardFormatError, OSError, pa.ArrowException):
        return False
    return all((public / f"{Path(name).stem}.json").exists() for name in card.shards)


def finish(public: Path, card: bytes) -> None:
    """Mark the folder as complete."""
    with published(public / DATASET_FILE) as file:
        file.write(card)
    remove_unfinished(public)


def remove_unfinished(public: Path) -> None:
    """Remove the mark of an unfinished folder; an interruption can leave it beside ``dataset.json``, which counts."""
    if (public / UNFINISHED_FILE).exists():
        (public / UNFINISHED_FILE).unlink()


def remove_other_shards(public: Path, names: set[str]) -> None:
    """Delete the shards that are not among ``names``: the archive has changed, and they are no longer planned."""
    found = [path for path in public.iterdir() if (match := SHARD_FILE.fullmatch(path.name)) and match[1] not in names]
    for path in sorted(found, key=lambda path: path.suffix != ".json"):  # the cards, which say "done", go first
        path.unlink()


def withdraw(public: Path, problems: Iterable[str]) -> list[str]:
    """Take the cards of damaged shards away, so that the same shard command writes them anew.

    Args:
        public: the folder.
        problems: as ``verify`` tells them, each beginning with the name of the file that it is about.

    Returns:
        Names of the shards.

    Raises:
        ShardFormatError: another command is writing to the folder: what was read is out of date.
        OSError: the folder cannot be written.
    """
    told = [SHARD_FILE.match(problem) for problem in problems]
    names = sorted({match[1] for match in told if match})
    with held(public):
        for name in names:
            (public / f"{name}.json").unlink(missing_ok=True)
    return names


def _clear(public: Path) -> None:
    for path in public.iterdir():
        if is_leftover(path):
            path.unlink()


@contextmanager
def writable(public: Path) -> Iterator[None]:
    """Tell a user what went wrong with writing; trouble with reading films leaves a shard unfinished.

    Raises:
        ShardFormatError: the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise ShardFormatError(
            f"{public} cannot be written ({error.strerror or type(error).__name__}); mend that, then run the same"
            " command again: finished shards are kept"
        ) from None


@contextmanager
def held(public: Path, shared: bool = False) -> Iterator[None]:
    """Keep other commands from writing to an existing folder.

    Raises:
        FolderBusyError: it is in use.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(public, shared=shared))
        except BlockingIOError:
            raise FolderBusyError(f"another shard command is writing to {public}; wait until it has ended") from None
        yield


class FolderRecord(NamedTuple):
    version: int
    fingerprint: str
    config: dict[str, Any]
    after: str | None
    history: History


def folder_record(public: Path) -> FolderRecord | None:
    """How the folder was begun; None where nothing, or nothing whole, says so."""
    for name in FOLDER_FILES:
        try:
            found = json.loads((public / name).read_text(encoding="utf-8"))
            history = History.read(found)
            config, after = dict(found["config"]), found.get("after")
            return FolderRecord(found["format_version"], found["key_fingerprint"], config, after, history)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return None


def check_identity(public: Path, identity: Identity) -> None:
    """Refuse a folder that was begun in another way.

    Raises:
        ShardFormatError: with other settings, another secret or another format version, or it holds other files.
    """
    found = folder_record(public)
    if found is None:
        if not _holds_shards_of(public, identity) and any(not _is_ours(path) for path in public.iterdir()):
            raise ShardFormatError(
                f"{public} holds other files, or its {DATASET_FILE} is damaged and no shard in it is of these settings;"
                " give a new or an empty folder as --out"
            )
        return
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
    return is_leftover(path) or path.name == LOCK_FILE


def _differences(there: Mapping[str, Any], here: Mapping[str, Any], prefix: str = "") -> list[str]:
    lines = []
    for name in sorted({*there, *here}):
        old, new = there.get(name), here.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            lines += _differences(old, new, f"{prefix}{name}.")
        elif old != new:
            lines.append(f"{prefix}{name}: {json.dumps(old)} there, {json.dumps(new)} here")
    return lines
