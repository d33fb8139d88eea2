"""An archive that has grown → a further generation of shards inside the folder of the first.

What is there stays as it is to the byte. The new generation is a shard folder like any other, hidden until it is
complete; films of earlier generations are told by their keys and counted as dropped, and patients keep their split.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from data_prep.atomic import sync_folder
from data_prep.earlier_films import EarlierFilms
from data_prep.engine import settings_of, shard
from data_prep.errors import ShardFormatError
from data_prep.shard_format import DatasetCard, generation_folders, generation_name
from data_prep.shard_inputs import read_inputs


def append(private: Path, public: Path, overrides: Sequence[str] = ()) -> DatasetCard | None:
    """Write the films of ``private`` that no generation of ``public`` holds; without such films nothing is added.

    The same command finishes what was interrupted.

    Args:
        private: folder of a scan of the archive as it is now, or of what has come since, made with the same secret.
        public: complete folder of shards.
        overrides: ``key=value`` for ``runtime`` and ``splits.table``; all else is as it was.

    Returns:
        The card of the new generation, or what became of the files if none is a new film; None if none was tried.

    Raises:
        ShardFormatError: ``public`` is not complete, or was made with another secret or settings.
        SettingsError: patients would change their split.
        As :func:`data_prep.engine.shard` otherwise.
    """
    generations = generation_folders(public)
    chosen = settings_of(public, overrides)
    earlier = EarlierFilms.read(generations)
    name = generation_name(len(generations))
    hidden = public / f".{name}"
    if not hidden.exists() and not read_inputs(private, public, chosen, earlier).plan.shards:
        return None
    card = shard(private, hidden, chosen, earlier)
    if not card.files.written:
        shutil.rmtree(hidden)
        return card
    if (public / name).exists():
        raise ShardFormatError(f"{public / name} has been made by another command meanwhile; append again")
    hidden.rename(public / name)
    sync_folder(public)
    return card
