"""Refuses shard folders before a training begins: files cut short or gone, one patient in two splits."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from data_prep.folder_url import PublicFolder
from data_prep.shard_format.appended_folders import generation_folders
from data_prep.shard_format.index import read_one_index
from mae_rad.errors import EvaluationError, ShardFormatError

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


def check_patient_splits(table: pa.Table) -> None:
    """Refuse films of one patient in two splits.

    Args:
        table: rows of an index, with ``patient`` and ``split``.

    Raises:
        EvaluationError: with the number of such patients.
    """
    pairs = table.select(["patient", "split"]).group_by(["patient", "split"]).aggregate([])
    in_two_splits = len(pairs) - pc.count_distinct(table.column("patient")).as_py()
    if in_two_splits:
        raise EvaluationError(
            f"{in_two_splits} patients of these shard folders are in more than one split, which makes a test invalid."
            " Shard the archives together, or with the same secret and split settings"
        )


def _ends(folder: Path) -> list[tuple[Path, int]]:
    """Shards of a folder, with the end of their last sidecar in bytes."""
    table = read_one_index(folder, _COLUMNS)
    ends = pc.add(pc.cast(table["sidecar_offset"], "int64"), pc.cast(table["sidecar_size"], "int64"))
    last = table.select(["shard"]).append_column("end", ends).group_by("shard").aggregate([("end", "max")])
    names, bytes_needed = last.column("shard").to_pylist(), last.column("end_max").to_pylist()
    return [(folder / name, end) for name, end in zip(names, bytes_needed, strict=True)]
