"""Who may write a public folder: one command at a time, always with the same settings, secret and format."""

import fcntl
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from data_prep.atomic import canonical_json, is_leftover, published
from data_prep.errors import ArchiveError, ShardFormatError
from data_prep.history import History
from data_prep.shard_format import SPLITS

DATASET_FILE = "dataset.json"
_BEGUN_FILE = ".unfinished.json"
"""Says how the folder was begun until ``dataset.json`` does; hidden, since it is of no use to a reader."""
_SHARD_FILE = re.compile(rf"((?:{'|'.join(SPLITS)})-\d{{6,}})\.(?:tar|parquet|json)")

Identity = Mapping[str, Any]
"""What all shards of a folder share: format_version, key_fingerprint and config."""


def check_apart(private: Path, public: Path) -> None:
    """Refuse a public folder that is given away together with the private one, or the reverse.

    Raises:
        ArchiveError: one lies inside the other.
    """
    inner, outer = private.resolve(), public.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise ArchiveError(f"the private folder {private} and the public folder {public} must not contain each other")


@contextmanager
def claimed(public: Path, identity: Identity) -> Iterator[None]:
    """Make or take over the folder, alone, and clear away what an interruption left.

    Raises:
        ShardFormatError: the folder was begun in another way, holds other files, is in use, or cannot be written.
    """
    try:
        public.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ShardFormatError(f"the public folder {public} cannot be made ({error.strerror})") from None
    folder = os.open(public, os.O_RDONLY)
    try:
        _lock(folder, public)
        check_identity(public, identity)
        _clear(public)
        if not _begun(public):
            reopen(public, identity, History())
        try:
            yield
        finally:
            _clear(public)
    finally:
        os.close(folder)


def reopen(public: Path, identity: Identity, history: History) -> None:
    """Mark the folder as unfinished."""
    with published(public / _BEGUN_FILE) as file:
        file.write(canonical_json({**identity, **history.values()}))
    (public / DATASET_FILE).unlink(missing_ok=True)


def is_complete(public: Path) -> bool:
    """Whether the folder has been finished and not been opened again."""
    return (public / DATASET_FILE).exists()


def is_begun(public: Path) -> bool:
    """Whether the folder is a public one, finished or not."""
    return any((public / name).exists() for name in (DATASET_FILE, _BEGUN_FILE))


def key_fingerprint_of(public: Path) -> str | None:
    """Fingerprint of the secret that made the keys of a public folder, finished or not; None where nothing tells it."""
    for name in (DATASET_FILE, _BEGUN_FILE):
        try:
            return str(json.loads((public / name).read_text(encoding="utf-8"))["key_fingerprint"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def read_begun(public: Path) -> tuple[dict[str, Any], History]:
    """With which settings the folder was begun, and what its runs have learnt.

    Raises:
        ShardFormatError: it is no public folder, or damaged.
    """
    begun = _begun(public)
    if not begun:
        raise ShardFormatError(f"{public} is no shard folder; make one with: python -m data_prep shard")
    try:
        found = json.loads(begun[0].read_text(encoding="utf-8"))
        return dict(found["config"]), History.read(found)
    except (OSError, ValueError, KeyError, TypeError):
        raise ShardFormatError(f"{begun[0]} is damaged; give a new folder as --out") from None


def finish(public: Path, card: bytes) -> None:
    """Mark the folder as complete."""
    with published(public / DATASET_FILE) as file:
        file.write(card)
    (public / _BEGUN_FILE).unlink(missing_ok=True)


def remove_other_shards(public: Path, names: set[str]) -> None:
    """Delete the shards that are not among ``names``: the archive has changed, and they are no longer planned."""
    for path in public.iterdir():
        match = _SHARD_FILE.fullmatch(path.name)
        if match is not None and match[1] not in names:
            path.unlink()


def withdraw(public: Path, problems: Iterable[str]) -> list[str]:
    """Take the cards of damaged shards away, so that the same shard command writes them anew.

    Args:
        public: the folder.
        problems: as ``verify`` tells them, each beginning with the name of the file that it is about.

    Returns:
        Names of the shards.

    Raises:
        OSError: the folder cannot be written.
    """
    told = [_SHARD_FILE.match(problem) for problem in problems]
    names = sorted({match[1] for match in told if match})
    for name in names:
        (public / f"{name}.json").unlink(missing_ok=True)
    return names


def _clear(public: Path) -> None:
    for path in public.iterdir():
        if is_leftover(path):
            path.unlink()


def _lock(folder: int, public: Path) -> None:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ShardFormatError(f"another shard command is writing to {public}; wait until it has ended") from None
    except OSError:  # a file system without locks
        return


def _begun(public: Path) -> list[Path]:
    return [public / name for name in (DATASET_FILE, _BEGUN_FILE) if (public / name).exists()]


def check_identity(public: Path, identity: Identity) -> None:
    """Refuse a folder that was begun in another way.

    Raises:
        ShardFormatError: with other settings, another secret or another format version, or it holds other files.
    """
    begun = _begun(public)
    if not begun:
        if any(not is_leftover(path) for path in public.iterdir()):
            raise ShardFormatError(f"{public} holds other files; give a new or an empty folder as --out")
        return
    try:
        found = json.loads(begun[0].read_text(encoding="utf-8"))
        version, fingerprint, config = (found[name] for name in ("format_version", "key_fingerprint", "config"))
    except (OSError, ValueError, KeyError, TypeError):
        raise ShardFormatError(f"{begun[0]} is damaged; give a new folder as --out") from None
    if version != identity["format_version"]:
        raise ShardFormatError(
            f"{public} has shard format version {version}, this release writes version {identity['format_version']};"
            " give a new folder as --out"
        )
    if fingerprint != identity["key_fingerprint"]:
        raise ShardFormatError(
            f"{public} was made with another secret: its keys would not go with those of this private folder;"
            " give a new folder as --out, or scan again with the secret of the project"
        )
    if differences := _differences(config, identity["config"]):
        raise ShardFormatError(
            f"{public} was begun with other settings ({'; '.join(differences)});"
            " give these settings again, or a new folder as --out"
        )


def _differences(there: Mapping[str, Any], here: Mapping[str, Any], prefix: str = "") -> list[str]:
    lines = []
    for name in sorted({*there, *here}):
        old, new = there.get(name), here.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            lines += _differences(old, new, f"{prefix}{name}.")
        elif old != new:
            lines.append(f"{prefix}{name}: {json.dumps(old)} there, {json.dumps(new)} here")
    return lines
