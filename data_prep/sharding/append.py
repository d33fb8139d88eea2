"""An archive that has grown → a further generation of shards inside the folder of the first.

What is there stays as it is to the byte. The new generation is a shard folder like any other, hidden until it is
complete; films of earlier generations are told by their keys and counted as dropped, and patients keep their split.
"""

import logging
from pathlib import Path
from typing import NamedTuple

import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_prep.errors import ShardFormatError
from data_prep.planning.earlier_films import EarlierFilms
from data_prep.planning.folder_identity import FOLDER_FILES, check_config, follows, is_public, read_unfinished
from data_prep.planning.plan_inputs import read_inputs
from data_prep.planning.settings import ShardSettings
from data_prep.runtime.atomic_write import sync_folder
from data_prep.shard_format.appended_folders import GENERATIONS, generation_folders, generation_name
from data_prep.shard_format.dataset_card import DatasetCard, read_dataset_card
from data_prep.sharding.public_folder import held, is_whole, writable
from data_prep.sharding.shard import shard, shard_part

_log = logging.getLogger(__name__)


def append(private: Path, public: Path, settings: ShardSettings) -> DatasetCard | None:
    """Write the films of ``private`` that no generation of ``public`` holds; without such films nothing is added.

    The same command finishes what was interrupted. Damaged shards of a generation, which ``verify`` has found, are
    written anew where ``private`` is still the scan that they came from.

    Args:
        private: folder of a scan of the archive as it is now, or of what has come since, made with the same secret.
        public: complete folder of shards.
        settings: those of ``public``, see ``settings_of``; ``runtime`` and the table of splits, which may have
            grown, are free.

    Returns:
        The card of the new generation, or what became of the files if none is a new film; None if none was tried.

    Raises:
        ShardFormatError: ``public`` is not complete, is in use, or was made with another secret or settings.
        SettingsError: patients would change their split.
        As :func:`data_prep.sharding.shard.shard` otherwise.
    """
    read_dataset_card(public)  # refuses a folder that is none, before it is held
    with writable(public), held(public):
        _mend(private, public, settings)
        coming = _next(private, public, settings)
        if coming is None:
            return None
        _remove_stale(coming)
        card = shard(private, coming.hidden, settings, coming.earlier)
        if not card.files.written:
            _remove(coming.hidden)
            return card
        _tell_twins(coming)
        coming.hidden.rename(coming.path)
        sync_folder(public)
        return card


def append_part(private: Path, public: Path, settings: ShardSettings) -> int:
    """Write ``runtime.part`` of what :func:`append` would; ``append`` without it, after all parts, publishes.

    Returns:
        How many shards were written.

    Raises:
        As :func:`append`.
    """
    read_dataset_card(public)
    with writable(public), held(public, shared=True):
        coming = _next(private, public, settings)
        return 0 if coming is None else shard_part(private, coming.hidden, settings, coming.earlier)


class _Next(NamedTuple):
    """The generation that is to be written: in ``hidden``, then moved to ``path``."""

    hidden: Path
    path: Path
    earlier: EarlierFilms


def _next(private: Path, public: Path, settings: ShardSettings) -> _Next | None:
    """None where no file is to be tried."""
    generations = generation_folders(public)
    earlier = EarlierFilms.read(generations)
    inputs = read_inputs(private, public, settings, earlier)
    check_config(public, inputs.identity)
    name = generation_name(len(generations))
    coming = _Next(public / f".{name}", public / name, earlier)
    return coming if coming.hidden.exists() or inputs.plan.shards else None


def _mend(private: Path, public: Path, settings: ShardSettings) -> None:
    """Write the damaged shards of further generations anew.

    Raises:
        ShardFormatError: ``private`` is no longer the scan that a damaged generation came from.
        As :func:`append`.
    """
    folders = [public, *sorted(public.glob(GENERATIONS))]
    for number, folder in enumerate(folders[1:], 1):
        if is_whole(folder):
            continue
        earlier = EarlierFilms.read(folders[:number])
        _, history = read_unfinished(folder)
        if read_inputs(private, folder, settings, earlier).plan.sha256 != history.plan_sha256:
            raise ShardFormatError(
                f"shards of {folder} are damaged, and {private} is another scan than that which they came from; give"
                " that one, or remove this generation and all after it and append again"
            )
        shard(private, folder, settings, earlier)


def _remove_stale(coming: _Next) -> None:
    """Drop what was begun after shards that have changed since; keep what can be gone on with."""
    if is_public(coming.hidden) and follows(coming.hidden) != coming.earlier.dataset_sha256:
        _log.warning("the shards have changed since an interrupted append, which begins again")
        _remove(coming.hidden)


def _tell_twins(coming: _Next) -> None:
    pixels = pq.read_table(coming.hidden / "index.parquet", columns=["pixel_sha256"])["pixel_sha256"]
    again = pc.sum(pc.is_in(pixels, coming.earlier.index["pixel_sha256"].combine_chunks())).as_py()
    if again:
        _log.warning(
            "%d of the new films have the pixels of an earlier one, under another identifier: training on"
            " same_pixels_as: null takes one of each",
            again,
        )


def _remove(folder: Path) -> None:
    """Remove a generation; what says how it was begun goes last, so that an interruption can be gone on with."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name in FOLDER_FILES):
        path.unlink()
    folder.rmdir()
