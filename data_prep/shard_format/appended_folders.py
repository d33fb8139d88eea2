"""Generations: the folders that ``append`` adds inside a public folder."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar, cast

from data_prep.errors import ShardFormatError
from data_prep.folder_url import PublicFolder
from data_prep.object_storage.published_files import published_files
from data_prep.shard_format.dataset_card import read_dataset_card

GENERATIONS = "generation-[0-9][0-9][0-9]"


F = TypeVar("F", bound=PublicFolder)


def generation_folders(public: F) -> list[F]:
    """List the shard folders of all generations in order; the first is ``public`` itself.

    Raises:
        ShardFormatError: a generation is damaged, missing, or does not follow the one before it.
    """
    folders = [public, *cast(list[F], _later_generations(public))]
    previous: str | None = None
    for number, folder in enumerate(folders):
        card = read_dataset_card(folder)
        if number and (folder.name != generation_name(number) or card.after != previous):
            raise ShardFormatError(
                f"{folder} does not follow {folders[number - 1].name}: a generation is missing or was rewritten."
                " Restore it, or move the later generations to another place and append again"
            )
        previous = card.dataset_sha256
    return folders


def _later_generations(public: PublicFolder) -> Sequence[PublicFolder]:
    if isinstance(public, Path):
        return sorted(public.glob(GENERATIONS))
    names = {name.partition("/")[0] for name in published_files(public)}
    return [public.generation(name) for name in sorted(names) if fnmatchcase(name, GENERATIONS)]


def generation_name(number: int) -> str:
    """Name of the folder of a later generation; ``number`` counts from 1."""
    return f"generation-{number:03d}"
