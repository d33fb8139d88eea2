"""Parquet of unknown origin is read within bounds; what was written by this project is read as it was."""

import hashlib
import io
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.errors import ShardFormatError
from data_prep.shard_format.index import read_one_index
from data_prep.shard_format.label_tables import read_labels
from data_prep.shard_format.parquet_bytes import encode_parquet, read_parquet


def _repeated(text: str, rows: int) -> bytes:
    """A text that is stored once."""
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([text]))
    written = io.BytesIO()
    pq.write_table(pa.table({"key": column}), written, compression="zstd", store_schema=False)
    return written.getvalue()


BOMBS = {
    "a long text in every row": lambda: _repeated("a" * 2**20, 10_000),
    "a text in many rows": lambda: _repeated("a" * 1000, 10**6),
    "many rows": lambda: encode_parquet(pa.table({"x": np.zeros(10**7, np.int8)})),
    "many values in a row": lambda: encode_parquet(pa.table({"x": pa.array([np.zeros(10**7, np.int8)])})),
    "long texts in lists": lambda: encode_parquet(pa.table({"x": pa.array([["a" * 10**5] * 5000])})),
    "long bytes": lambda: encode_parquet(pa.table({"x": pa.array([b"a" * 10**5] * 5000)})),
}


@pytest.mark.parametrize("name", BOMBS)
def test_few_bytes_do_not_stand_for_much(name: str, tmp_path: Path) -> None:
    data = BOMBS[name]()
    assert len(data) < 2**19
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    with pytest.raises(pa.ArrowException, match="stand"):
        read_parquet(data)
    assert pool.bytes_allocated() - before < 2**24
    (tmp_path / "index.parquet").write_bytes(data)
    with pytest.raises(ShardFormatError, match="cannot be read"):
        read_one_index(tmp_path)


@pytest.mark.parametrize("text", ["\x1b]0;owned\x07", "a\nb", "a\x7f", "a\u202ebc", "a\u2028b", "\x9b31m"])
def test_texts_that_control_a_terminal_are_refused(text: str) -> None:
    with pytest.raises(pa.ArrowInvalid, match="control characters"):
        read_parquet(encode_parquet(pa.table({"body_part": ["HAND", text]})))
    with pytest.raises(pa.ArrowInvalid, match="control characters"):
        read_parquet(encode_parquet(pa.table({"provenance": [["HAND"], [text]]})))


def test_a_table_is_read_as_it_was_written() -> None:
    keys = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(20_000)]
    table = pa.table(
        {
            "key": keys,
            "label": ["Brücke", "fracture"] * 10_000,
            "empty": pa.nulls(20_000, pa.string()),
            "provenance": [[], ["a", "b"]] * 10_000,
            "spacing": pa.array([[0.1, 0.2], None] * 10_000, pa.list_(pa.float32())),
            "number": np.zeros(20_000),
        }
    )
    data = encode_parquet(table)
    assert read_parquet(data).equals(pq.read_table(io.BytesIO(data)))
    assert read_parquet(data, ["number", "label"]).equals(table.select(["number", "label"]))


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_only_regular_files_are_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.parquet"
    os.mkfifo(path) if kind == "pipe" else path.mkdir()
    with pytest.raises(ShardFormatError, match=r"labels\.parquet"):
        read_labels(tmp_path)
