"""Digests of the pixels of films in the private folder, where the settings keep them out of the public one.

``PRIVATE/pixel_digests/`` has a folder for each settings of shards, and in it a table for each shard with the columns
key, pixel_sha256 and perceptual_hash of its films.
"""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_prep.errors import SettingsError
from data_prep.runtime.atomic_write import PRIVATE_MODE, atomic_file
from data_prep.shard_format.dataset_card import ShardCard

FOLDER = "pixel_digests"
DIGESTS_SCHEMA = pa.schema([("key", pa.string()), ("pixel_sha256", pa.string()), ("perceptual_hash", pa.uint64())])


def digests_path(private: Path, config_sha256: str, inputs_sha256: str) -> Path:
    """Return the path of the table of a shard.

    Args:
        private: private folder.
        config_sha256: of the settings of the shard.
        inputs_sha256: of its planned files.
    """
    return private / FOLDER / config_sha256 / f"{inputs_sha256}.parquet"


def write_digests(path: Path, digests: pa.Table) -> None:
    """Write the table of a shard, atomically; its folders are made, for their owner alone.

    Args:
        path: of :func:`digests_path`.
        digests: columns of DIGESTS_SCHEMA.
    """
    for folder in (path.parent.parent, path.parent):
        folder.mkdir(mode=0o700, exist_ok=True)
    with atomic_file(path, PRIVATE_MODE) as file:
        pq.write_table(digests, file)


def read_digests(private: Path, cards: Iterable[ShardCard]) -> pa.Table:
    """Read the digests of the films of shards.

    Args:
        private: private folder.
        cards: of the shards.

    Returns:
        Columns of DIGESTS_SCHEMA.

    Raises:
        SettingsError: the private folder lacks the digests of a shard: it is not the one that the shards came from.
    """
    try:
        tables = [
            pq.read_table(digests_path(private, card.config_sha256, card.inputs_sha256), schema=DIGESTS_SCHEMA)
            for card in cards
        ]
    except (OSError, pa.ArrowException):
        raise SettingsError(
            f"{private} does not hold the digests of these shards, which were written with sidecar.hashes=none. Give"
            " the private folder that they were written from"
        ) from None
    return pa.concat_tables(tables or [DIGESTS_SCHEMA.empty_table()])


def with_digests(index: pa.Table, digests: pa.Table) -> pa.Table:
    """Fill the columns ``pixel_sha256`` and ``perceptual_hash`` of an index, as far as it has them.

    Args:
        index: with a column ``key``.
        digests: of its films (DIGESTS_SCHEMA).

    Returns:
        The index; values that it has stay.
    """
    rows = pc.index_in(index["key"], digests["key"].combine_chunks())
    for name in ("pixel_sha256", "perceptual_hash"):
        if name in index.column_names:
            place = index.schema.get_field_index(name)
            filled = pc.coalesce(index[name], digests[name].take(rows))
            index = index.set_column(place, index.schema.field(name), filled)
    return index
