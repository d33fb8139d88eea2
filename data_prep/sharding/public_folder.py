"""Who may write a public folder: one command at a time, always with the same settings, secret and format."""

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
    folder_record,
    is_complete,
)
from data_prep.planning.known_failures import History
from data_prep.runtime.atomic_write import atomic_file, canonical_json, remove_temporary, sync_folder
from data_prep.runtime.folder_lock import locked
from data_prep.shard_format.dataset_card import read_dataset_card


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
            remove_temporary(public)
        if folder_record(public) is None:
            reopen(public, identity, History())
        try:
            yield
        finally:
            if not shared:
                remove_temporary(public)


def reopen(public: Path, identity: Identity, history: History) -> None:
    """Mark the folder as unfinished."""
    with atomic_file(public / UNFINISHED_FILE) as file:
        file.write(canonical_json({**identity, **history.values()}))
    if is_complete(public):
        (public / DATASET_FILE).unlink()
        sync_folder(public)


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
    with atomic_file(public / DATASET_FILE) as file:
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
