"""The index of all generations of a public folder, and films with equal pixels. Imported by ``mae_rad``."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_prep.errors import ShardFormatError
from data_prep.folder_url import PublicFolder
from data_prep.object_storage.published_files import local_file
from data_prep.shard_format.appended_folders import generation_folders
from data_prep.shard_format.folder_layout import SHARD_NAME
from data_prep.shard_format.frame_key import frame_key
from data_prep.shard_format.index_schema import INDEX_SCHEMA, LATER_COLUMNS
from data_prep.shard_format.parquet_bytes import read_parquet, with_null_columns
from data_prep.shard_format.sidecar import MAX_FRAMES, SPLITS

_MAX_MEMBER_BYTES, _MAX_SHARD_BYTES = 2**31, 2**48
_PIXEL_COLUMNS = ["key", "split", "pixel_sha256", "same_pixels_as"]


def read_index(public: PublicFolder, columns: Sequence[str] | None = None) -> pa.Table:
    """Read the index of all generations of a public folder.

    Args:
        public: folder of the shards.
        columns: columns of INDEX_SCHEMA; None: all.

    Returns:
        One row per film, the first generation first; ``shard`` is relative to ``public``, and ``same_pixels_as`` is
        computed over all generations.

    Raises:
        ShardFormatError: the folder or one of its generations is missing, unfinished, damaged or of another version.
    """
    folders = generation_folders(public)
    requested = list(columns) if columns is not None else None
    needed = requested
    if requested and len(folders) > 1 and "same_pixels_as" in requested:
        needed = [*requested, *(name for name in _PIXEL_COLUMNS if name not in requested)]
    tables = [_read_generation(folder, public, needed) for folder in folders]
    if not needed or "same_pixels_as" in needed:
        tables = same_pixels_across(tables)
    index = pa.concat_tables(tables)
    return index.select(requested) if requested else index


def read_one_index(folder: PublicFolder, columns: Sequence[str] | None = None) -> pa.Table:
    """Read the index of one generation, unchanged.

    Args:
        folder: of the generation.
        columns: columns of INDEX_SCHEMA; None: all.

    Raises:
        ShardFormatError: the index is missing or damaged.
    """
    path = local_file(folder, "index.parquet")
    try:
        table = _read_columns(path, columns)
    except (OSError, pa.ArrowException):
        raise ShardFormatError(
            f"index.parquet of {folder} cannot be read. Run the same shard command again to rewrite it"
        ) from None
    check_locations(table, path)
    return table


def _read_columns(path: Path, columns: Sequence[str] | None) -> pa.Table:
    """Read columns of an index; those that an earlier release did not write are null."""
    if columns is None:
        table = read_parquet(path)
        return with_null_columns(table, INDEX_SCHEMA) if set(LATER_COLUMNS) - set(table.column_names) else table
    later = set(LATER_COLUMNS) & set(columns)
    if not later or later <= set(pq.read_schema(path).names):
        return read_parquet(path, columns)
    table = read_parquet(path, [name for name in columns if name not in later] or ["key"])
    schema = pa.schema([INDEX_SCHEMA.field(name) for name in columns if name in later])
    return with_null_columns(table, schema).select(list(columns))


def check_locations(index: pa.Table, path: Path) -> None:
    """Refuse an index whose shards or offsets lead elsewhere than into the shards of its folder.

    Args:
        index: of one generation; columns may be missing.
        path: of the index, for the message.

    Raises:
        ShardFormatError: a name is not that of a shard, or an offset or size is negative or too large.
    """
    names = pc.unique(index["shard"]).to_pylist() if "shard" in index.column_names else []
    sound = all(isinstance(name, str) and SHARD_NAME.fullmatch(name) for name in names)
    for name in {"film_offset", "film_size", "sidecar_offset", "sidecar_size"} & set(index.column_names):
        low, high = (pc.min_max(index[name])[end].as_py() for end in ("min", "max"))
        most = _MAX_MEMBER_BYTES if name.endswith("size") else _MAX_SHARD_BYTES
        sound = sound and (low is None or (low >= 0 and high <= most))
    if not sound:
        raise ShardFormatError(f"{path} is damaged: it points out of the shards. Do not use this folder")


def _read_generation(folder: PublicFolder, public: PublicFolder, columns: list[str] | None) -> pa.Table:
    table = read_one_index(folder, columns)
    if folder == public or "shard" not in table.column_names:
        return table
    shard = pc.binary_join_element_wise(folder.name, table["shard"], "/")
    return table.set_column(table.schema.get_field_index("shard"), "shard", shard)


def same_pixels_across(tables: Sequence[pa.Table]) -> list[pa.Table]:
    """Recompute ``same_pixels_as`` of the indexes of several folders, over all of their films."""
    if len(tables) < 2:
        return list(tables)
    column = same_pixels(pa.concat_tables(table.select(_PIXEL_COLUMNS) for table in tables))["same_pixels_as"]
    starts = np.cumsum([0, *(table.num_rows for table in tables)])
    return [
        _set_same_pixels_as(table, column.slice(start, table.num_rows))
        for start, table in zip(starts, tables, strict=False)
    ]


def same_pixels(index: pa.Table) -> pa.Table:
    """Fill ``same_pixels_as`` for films whose pixels equal those of a film with another identifier.

    One film of each group represents it and has null: that of test before val before train, then the smallest key. So
    the films with null contain no pixels twice, and evaluation sets stay complete.

    Args:
        index: columns key, split, pixel_sha256 and same_pixels_as.

    Returns:
        The index; where it has no checksums, its column ``same_pixels_as`` tells which films have equal pixels.
    """
    groups = equal_pixels(index)
    rank = pc.index_in(index["split"], pa.array(SPLITS[::-1]))
    keys, order = index["key"], [(name, "ascending") for name in ("pixels", "rank", "key")]
    ranked = pa.table({"pixels": groups, "rank": rank, "key": keys})
    rows = pc.sort_indices(ranked, order).to_numpy()
    pixels = groups.combine_chunks().dictionary_encode().indices.to_numpy()[rows]
    first = np.flatnonzero(np.diff(pixels, prepend=-1))
    representative = np.empty(len(rows), dtype=np.int64)  # row of the film that represents each film
    representative[rows] = np.repeat(rows[first], np.diff(first, append=len(rows)))
    is_repeated = pa.array(representative != np.arange(len(rows)))
    null = pa.scalar(None, pa.string())
    return _set_same_pixels_as(index, pc.if_else(is_repeated, keys.take(pa.array(representative)), null))


def equal_pixels(index: pa.Table) -> pa.ChunkedArray:
    """Name the pixels of films: two films have equal pixels where they have the same name.

    Args:
        index: columns key, pixel_sha256 and same_pixels_as, as written.

    Returns:
        [films] the checksum of the pixels; where it is not published, the key of the film that represents them.
    """
    return pc.coalesce(index["pixel_sha256"], index["same_pixels_as"], index["key"])


def fill_same_pixels(index: pa.Table, pixels: pa.ChunkedArray, earlier: dict[str, str]) -> pa.Table:
    """Fill ``same_pixels_as`` of an index without checksums, from names that are not published.

    Args:
        index: columns key, split, pixel_sha256 and same_pixels_as.
        pixels: [films] equal for films of equal pixels.
        earlier: such name → film of an earlier generation that represents it; those of this one are added.

    Returns:
        The index; where an earlier generation has the pixels, their film there represents them.
    """
    place = index.schema.get_field_index("pixel_sha256")
    named = index.set_column(place, "pixel_sha256", pixels)
    own = pc.coalesce(same_pixels(named)["same_pixels_as"], index["key"]).to_pylist()
    names, keys = pixels.to_pylist(), index["key"].to_pylist()
    for name, representative in zip(names, own, strict=True):
        earlier.setdefault(name, representative)
    found = [None if earlier[name] == key else earlier[name] for name, key in zip(names, keys, strict=True)]
    return _set_same_pixels_as(index, pa.chunked_array([found], pa.string()))


def file_pixels(index: pa.Table, keys: pa.ChunkedArray) -> dict[str, str]:
    """Collect the pixel hashes of all frames of files.

    Args:
        index: ``key``, ``frame`` and ``pixel_sha256`` of films.
        keys: keys of files, which are those of their first frames.

    Returns:
        Key → SHA-256 of the pixels of each frame in order, separated by spaces, for the files that ``index`` holds.
    """
    first = index.filter(pc.is_in(index["key"], keys.drop_null().combine_chunks())).select(["key", "frame"]).to_pylist()
    frames = {
        row["key"]: [frame_key(row["key"], frame) for frame in range(MAX_FRAMES)] for row in first if row["frame"] == 0
    }
    frame_keys = [key for row in first for key in frames.get(row["key"], [row["key"]])]
    films = index.filter(pc.is_in(index["key"], pa.array(frame_keys, pa.string())))
    pixels = dict(zip(films["key"].to_pylist(), films["pixel_sha256"].to_pylist(), strict=True))
    return {
        row["key"]: " ".join(pixels[key] for key in frames.get(row["key"], [row["key"]]) if key in pixels)
        for row in first
    }


def count_across_splits(index: pa.Table) -> int:
    """Count the films whose pixels equal those of a film in another split."""
    repeated = index.filter(pc.is_valid(index["same_pixels_as"]))
    other_split = index["split"].take(pc.index_in(repeated["same_pixels_as"], index["key"].combine_chunks()))
    return int(pc.sum(pc.not_equal(repeated["split"], other_split)).as_py() or 0)


def _set_same_pixels_as(index: pa.Table, column: pa.ChunkedArray) -> pa.Table:
    return index.set_column(index.schema.get_field_index("same_pixels_as"), "same_pixels_as", column)
