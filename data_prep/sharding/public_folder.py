"""Access to a public folder: one command writes at a time, always with the same settings, secret and format."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.errors import FolderBusyError, ShardFormatError
from data_prep.planning.folder_identity import (
    DATASET_FILE,
    SHARD_FILE,
    UNFINISHED_FILE,
    Identity,
    check_identity,
    is_complete,
    read_folder_record,
)
from data_prep.planning.known_failures import KnownFailures
from data_prep.runtime.atomic_write import atomic_file, canonical_json, remove_temporary, sync_folder
from data_prep.runtime.folder_lock import locked
from data_prep.shard_format.dataset_card import read_dataset_card


@contextmanager
def folder_writer(public: Path, identity: Identity, *, shared: bool = False) -> Iterator[None]:
    """Create or continue a public folder, lock it, and remove the temporary files of interrupted commands.

    Args:
        public: folder of the shards.
        identity: of the shards that are to be written.
        shared: let other commands that write parts of the folder run at the same time; temporary files are kept.

    Raises:
        FolderBusyError: the folder is in use.
        ShardFormatError: it has another identity, holds other files, or cannot be written.
    """
    try:
        public.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ShardFormatError(
            f"the public folder {public} cannot be created ({error.strerror}). Give another folder as --out"
        ) from None
    with locked_folder(public, shared):
        check_identity(public, identity)
        if not shared:
            remove_temporary(public)
        if read_folder_record(public) is None:
            mark_unfinished(public, identity, KnownFailures())
        try:
            yield
        finally:
            if not shared:
                remove_temporary(public)


def mark_unfinished(public: Path, identity: Identity, failures: KnownFailures) -> None:
    """Mark a folder as unfinished.

    Args:
        public: folder of the shards.
        identity: of its shards.
        failures: files that are not tried again.
    """
    with atomic_file(public / UNFINISHED_FILE) as file:
        file.write(canonical_json({**identity, **failures.values()}))
    if is_complete(public):
        (public / DATASET_FILE).unlink()
        sync_folder(public)


def is_whole(public: Path) -> bool:
    """Whether a folder is complete, with a card for every shard and both tables; their bytes are not checked."""
    if (public / UNFINISHED_FILE).exists():
        return False
    try:
        card = read_dataset_card(public)
        for name in ("index.parquet", "rejects.parquet"):
            pq.read_metadata(public / name)
    except (ShardFormatError, OSError, pa.ArrowException):
        return False
    return all((public / f"{Path(name).stem}.json").exists() for name in card.shards)


def mark_complete(public: Path, card: bytes) -> None:
    """Write ``dataset.json``, which marks the folder as complete, with the bytes ``card``."""
    with atomic_file(public / DATASET_FILE) as file:
        file.write(card)
    remove_unfinished_mark(public)


def remove_unfinished_mark(public: Path) -> None:
    """Remove the mark of an unfinished folder; where an interruption left both, ``dataset.json`` counts."""
    if (public / UNFINISHED_FILE).exists():
        (public / UNFINISHED_FILE).unlink()


def remove_other_shards(public: Path, names: set[str]) -> None:
    """Delete the shards that are not planned any more, since the archive has changed.

    Args:
        public: folder of the shards.
        names: names of the shards that stay.
    """
    files = [path for path in public.iterdir() if (match := SHARD_FILE.fullmatch(path.name)) and match[1] not in names]
    for path in sorted(files, key=lambda path: path.suffix != ".json"):  # first the cards, which mark complete shards
        path.unlink()


def mark_damaged(public: Path, problems: Iterable[str]) -> list[str]:
    """Remove the cards of damaged shards, so that the same shard command rewrites these shards.

    Args:
        public: folder of the shards.
        problems: as ``verify`` reports them, each beginning with the name of its file.

    Returns:
        Names of the damaged shards.

    Raises:
        FolderBusyError: another command is writing to the folder, so that ``problems`` are out of date.
        OSError: the folder cannot be written.
    """
    matches = [SHARD_FILE.match(problem) for problem in problems]
    names = sorted({match[1] for match in matches if match})
    with locked_folder(public):
        for name in names:
            (public / f"{name}.json").unlink(missing_ok=True)
    return names


@contextmanager
def translate_write_errors(public: Path) -> Iterator[None]:
    """Raise write errors as a UserError; errors of reading films leave a shard unfinished instead.

    Raises:
        ShardFormatError: the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise ShardFormatError(
            f"{public} cannot be written ({error.strerror or type(error).__name__}). Correct that, then run the same"
            " command again: finished shards are kept"
        ) from None


@contextmanager
def locked_folder(public: Path, shared: bool = False) -> Iterator[None]:
    """Lock an existing folder, so that no other command writes to it.

    Args:
        public: folder of the shards.
        shared: other commands may hold a shared lock at the same time.

    Raises:
        FolderBusyError: another command is writing to it.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(public, shared=shared))
        except BlockingIOError:
            raise FolderBusyError(f"another shard command is writing to {public}. Wait until it has ended") from None
        yield
