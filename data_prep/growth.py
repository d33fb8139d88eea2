"""An archive that has grown → a further generation of shards inside the folder of the first.

What is there stays as it is to the byte. The new generation is a shard folder like any other, hidden until it is
complete; films of earlier generations are told by their keys and counted as dropped, and patients keep their split.
"""

import shutil
from pathlib import Path
from typing import NamedTuple

from data_prep.atomic import sync_folder
from data_prep.config import ShardSettings
from data_prep.earlier_films import EarlierFilms
from data_prep.engine import shard, shard_part
from data_prep.errors import ShardFormatError
from data_prep.public_folder import check_config
from data_prep.shard_format import DatasetCard, generation_folders, generation_name
from data_prep.shard_inputs import read_inputs


def append(private: Path, public: Path, settings: ShardSettings) -> DatasetCard | None:
    """Write the films of ``private`` that no generation of ``public`` holds; without such films nothing is added.

    The same command finishes what was interrupted.

    Args:
        private: folder of a scan of the archive as it is now, or of what has come since, made with the same secret.
        public: complete folder of shards.
        settings: those of ``public``, see :func:`data_prep.engine.settings_of`; ``runtime`` and the table of splits,
            which may have grown, are free.

    Returns:
        The card of the new generation, or what became of the files if none is a new film; None if none was tried.

    Raises:
        ShardFormatError: ``public`` is not complete, or was made with another secret or settings.
        SettingsError: patients would change their split.
        As :func:`data_prep.engine.shard` otherwise.
    """
    coming = _next(private, public, settings)
    if coming is None:
        return None
    card = shard(private, coming.hidden, settings, coming.earlier)
    if not card.files.written:
        shutil.rmtree(coming.hidden)
        return card
    if coming.path.exists():
        raise ShardFormatError(f"{coming.path} has been made by another command meanwhile; append again")
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
