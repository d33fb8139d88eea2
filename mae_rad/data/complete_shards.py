"""Refuses shard folders of which files are missing or shorter than the index says, before a training begins."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_prep.folder_url import PublicFolder
from data_prep.shard_format.appended_folders import generation_folders
from mae_rad.errors import ShardFormatError

_COLUMNS = ["shard", "sidecar_offset", "sidecar_size"]


def check_shards_complete(folders: Sequence[PublicFolder], generations: int | None = None) -> None:
    """Compare the length of every shard with the end of its last film.

    Args:
        folders: public folders; appended generations are included, those in object storage are not checked.
        generations: number of generations of each folder, from the first; None takes all.

    Raises:
        ShardFormatError: with the number of such files, and one of them.
    """
    incomplete = [
        path
        for folder in folders
        for generation in generation_folders(folder)[:generations]
        if isinstance(generation, Path)
        for path, end in _ends(generation)
        if not path.is_file() or path.stat().st_size < end
    ]
    if incomplete:
        raise ShardFormatError(
            f"{len(incomplete)} shards are missing or shorter than the index says, such as {incomplete[0].name}: the"
            " copy may have been interrupted. Copy the folder again, or check it with `mae-rad verify`."
        )


def _ends(folder: Path) -> list[tuple[Path, int]]:
    """Shards of a folder, with the end of their last sidecar in bytes."""
    table = pq.read_table(folder / "index.parquet", columns=_COLUMNS, memory_map=True)
    ends = pc.add(pc.cast(table["sidecar_offset"], "int64"), pc.cast(table["sidecar_size"], "int64"))
    last = table.select(["shard"]).append_column("end", ends).group_by("shard").aggregate([("end", "max")])
    names, bytes_needed = last.column("shard").to_pylist(), last.column("end_max").to_pylist()
    return [(folder / name, end) for name, end in zip(names, bytes_needed, strict=True)]
