"""Checksums of the labels and boxes that a finetuning reads, by which a resumed run recognises its own truth."""

import hashlib
import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from data_prep.folder_url import PublicFolder
from data_prep.shard_format.label_tables import read_boxes, read_labels
from mae_rad.data.shard_reader import ShardIndex


def target_checksums(
    index: ShardIndex, folders: Sequence[PublicFolder], names: Sequence[str], *, with_boxes: bool
) -> dict[str, str]:
    """Compute SHA-256 of the entries of some labels, in any order of rows; labels that are not read do not count.

    Args:
        index: films whose entries count.
        folders: public folders.
        names: labels; none for targets that are read from the index alone.
        with_boxes: whether boxes are read, too.

    Returns:
        ``labels`` and ``boxes`` → hexadecimal digits, of the tables that are read.
    """
    tables = {"labels": [read_labels(folder) for folder in folders]} if names else {}
    if with_boxes:
        tables["boxes"] = [read_boxes(folder) for folder in folders]
    keys = index.table.column("key").combine_chunks()
    return {kind: _checksum(pa.concat_tables(parts), keys, names) for kind, parts in tables.items()}


def _checksum(table: pa.Table, keys: pa.Array, names: Sequence[str]) -> str:
    is_read = pc.and_(
        pc.is_in(table.column("label"), value_set=pa.array(names, pa.string())),
        pc.is_in(table.column("key"), value_set=keys),
    )
    entries = table.filter(is_read)
    entries = entries.sort_by([(name, "ascending") for name in entries.column_names])
    text = io.BytesIO()
    csv.write_csv(entries, text)
    return hashlib.sha256(text.getbuffer()).hexdigest()
