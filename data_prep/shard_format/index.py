"""The films of a public folder as one table, whatever generations it has, and which of them hold equal pixels.

Imported by ``mae_rad``.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_prep.errors import ShardFormatError
from data_prep.shard_format.appended_folders import generation_folders
from data_prep.shard_format.frame_key import frame_key
from data_prep.shard_format.sidecar import MAX_FRAMES, SPLITS

_FOR_TWINS = ["key", "split", "pixel_sha256", "same_pixels_as"]


def read_index(public: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of all generations (INDEX_SCHEMA, or ``columns`` of it), the first generation first.

    ``shard`` is relative to ``public``, and ``same_pixels_as`` holds over all generations.

    Raises:
        ShardFormatError: the folder or one of its generations is missing, unfinished, damaged or of another version.
    """
    folders = generation_folders(public)
    wanted = list(columns) if columns is not None else None
    read = wanted
    if wanted and len(folders) > 1 and "same_pixels_as" in wanted:
        read = [*wanted, *(name for name in _FOR_TWINS if name not in wanted)]
    tables = [_placed(folder, public, read) for folder in folders]
    if not read or "same_pixels_as" in read:
        tables = same_pixels_across(tables)
    whole = pa.concat_tables(tables)
    return whole.select(wanted) if wanted else whole


def read_one_index(folder: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of one generation as they stand.

    Raises:
        ShardFormatError: they are not there, or damaged.
    """
    path = folder / "index.parquet"
    try:
        return pq.read_table(path, columns=None if columns is None else list(columns))
    except (OSError, pa.ArrowException):
        raise ShardFormatError(f"{path} cannot be read; run the same shard command again to rewrite it") from None


def _placed(folder: Path, public: Path, columns: list[str] | None) -> pa.Table:
    table = read_one_index(folder, columns)
    if folder == public or "shard" not in table.column_names:
        return table
    shard = pc.binary_join_element_wise(folder.name, table["shard"], "/")
    return table.set_column(table.schema.get_field_index("shard"), "shard", shard)


def same_pixels_across(tables: Sequence[pa.Table]) -> list[pa.Table]:
    """Indexes of several folders with ``same_pixels_as`` as it is for all of them together."""
    if len(tables) < 2:
        return list(tables)
    whole = same_pixels(pa.concat_tables(table.select(_FOR_TWINS) for table in tables))["same_pixels_as"]
    starts = np.cumsum([0, *(table.num_rows for table in tables)])
    return [
        _with_twins(table, whole.slice(start, table.num_rows)) for start, table in zip(starts, tables, strict=False)
    ]


def same_pixels(index: pa.Table) -> pa.Table:
    """``index`` with ``same_pixels_as`` for films that another one equals, pixel for pixel, under another identifier.

    One of them stands for all and keeps null: that of test before val before train, then the least key. So what has
    null holds no pixels twice, and loses nothing of an evaluation set.
    """
    rank = pc.index_in(index["split"], pa.array(SPLITS[::-1]))
    keys, order = index["key"], [(name, "ascending") for name in ("pixel_sha256", "rank", "key")]
    ranked = pa.table({"pixel_sha256": index["pixel_sha256"], "rank": rank, "key": keys})
    places = pc.sort_indices(ranked, order).to_numpy()
    pixels = index["pixel_sha256"].combine_chunks().dictionary_encode().indices.to_numpy()[places]
    first = np.flatnonzero(np.diff(pixels, prepend=-1))
    standing = np.empty(len(places), dtype=np.int64)
    standing[places] = np.repeat(places[first], np.diff(first, append=len(places)))
    other = pa.array(standing != np.arange(len(places)))
    return _with_twins(index, pc.if_else(other, keys.take(pa.array(standing)), pa.scalar(None, pa.string())))


def file_pixels(index: pa.Table, keys: pa.ChunkedArray) -> dict[str, str]:
    """Key → SHA-256 of the pixels of each of its frames, in their order, for the files ``keys`` that are there.

    Args:
        index: ``key``, ``frame`` and ``pixel_sha256`` of films.
        keys: of files, which are those of their first frames.
    """
    first = index.filter(pc.is_in(index["key"], keys.drop_null().combine_chunks())).select(["key", "frame"]).to_pylist()
    frames = {
        row["key"]: [frame_key(row["key"], frame) for frame in range(MAX_FRAMES)] for row in first if row["frame"] == 0
    }
    wanted = [key for row in first for key in frames.get(row["key"], [row["key"]])]
    there = index.filter(pc.is_in(index["key"], pa.array(wanted, pa.string())))
    pixels = dict(zip(there["key"].to_pylist(), there["pixel_sha256"].to_pylist(), strict=True))
    return {
        row["key"]: " ".join(pixels[key] for key in frames.get(row["key"], [row["key"]]) if key in pixels)
        for row in first
    }


def across_splits(index: pa.Table) -> int:
    """How many films have the pixels of a film of another split."""
    twins = index.filter(pc.is_valid(index["same_pixels_as"]))
    theirs = index["split"].take(pc.index_in(twins["same_pixels_as"], index["key"].combine_chunks()))
    return int(pc.sum(pc.not_equal(twins["split"], theirs)).as_py() or 0)


def _with_twins(index: pa.Table, column: pa.ChunkedArray) -> pa.Table:
    return index.set_column(index.schema.get_field_index("same_pixels_as"), "same_pixels_as", column)
