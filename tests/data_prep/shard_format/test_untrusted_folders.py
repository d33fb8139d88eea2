"""A public folder of unknown origin points nowhere else, and unpacks to no more than a film needs."""

import base64
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.errors import ShardFormatError
from data_prep.shard_format.apply_display import pack_table, unpack_table
from data_prep.shard_format.content_mask_bits import unpack_mask
from data_prep.shard_format.dataset_card import read_dataset_card
from data_prep.shard_format.index import read_one_index
from data_prep.shard_format.index_schema import INDEX_SCHEMA


def _packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 9)).decode()


def test_a_display_table_unpacks_to_its_own_size_only() -> None:
    table = np.arange(4096, dtype=np.uint16) * 16
    assert np.array_equal(unpack_table(pack_table(table), 12), table)
    for data in (b"\0" * 2**28, b"\0" * 8190, b"\0" * 8194, b""):
        with pytest.raises(ValueError, match="does not have 4096 entries"):
            unpack_table(_packed(data), 12)
    with pytest.raises(ValueError, match="damaged"):
        unpack_table(base64.b64encode(b"no stream").decode(), 12)


def test_a_content_mask_holds_as_many_bits_as_its_film_needs() -> None:
    with pytest.raises(ValueError, match="too short"):
        unpack_mask(base64.b64encode(b"\1").decode(), 60_000, 60_000)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("shard", name) for name in ("/etc/passwd", "../x.tar", "train-000000.tar/../../x", "pipe", "")),
        *(("film_size", size) for size in (2**62, -1)),
        *(("sidecar_offset", offset) for offset in (2**62, -1)),
    ],
)
def test_an_index_points_into_its_own_shards(tmp_path: Path, column: str, value: Any) -> None:
    row = dict.fromkeys(INDEX_SCHEMA.names)
    row |= {"key": "k", "shard": "train-000000.tar", "film_offset": 512, "film_size": 9}
    row |= {"sidecar_offset": 1536, "sidecar_size": 9}
    pq.write_table(pa.Table.from_pylist([row], INDEX_SCHEMA), tmp_path / "index.parquet")
    assert read_one_index(tmp_path).num_rows == 1
    pq.write_table(pa.Table.from_pylist([row, row | {column: value}], INDEX_SCHEMA), tmp_path / "index.parquet")
    with pytest.raises(ShardFormatError, match="points out of the shards"):
        read_one_index(tmp_path)


def test_a_card_that_is_nested_too_deeply_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"config":' * 200_000)
    with pytest.raises(ShardFormatError, match="cannot be read"):
        read_dataset_card(tmp_path)
