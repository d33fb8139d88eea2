"""Generations: the folders that ``append`` adds inside a public folder."""

from pathlib import Path

from data_prep.errors import ShardFormatError
from data_prep.shard_format.dataset_card import read_dataset_card

GENERATIONS = "generation-[0-9][0-9][0-9]"


def generation_folders(public: Path) -> list[Path]:
    """The shard folders of all generations, in their order; ``public`` itself is the first.

    Raises:
        ShardFormatError: a generation is damaged, missing, or does not belong to the one before it.
    """
    folders = [public, *sorted(public.glob(GENERATIONS))]
    before: str | None = None
    for number, folder in enumerate(folders):
        card = read_dataset_card(folder)
        if number and (folder.name != generation_name(number) or card.after != before):
            raise ShardFormatError(
                f"{folder} does not follow {folders[number - 1].name}: a generation is missing or was written anew;"
                " put back what was there, or move the later generations away and append again"
            )
        before = card.dataset_sha256
    return folders


def generation_name(number: int) -> str:
    """Name of the folder of a generation after the first, counting from 1."""
    return f"generation-{number:03d}"
