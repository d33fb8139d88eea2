"""A resumed finetuning recognises the labels and boxes with which it began."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.settings import load
from data_prep.shard_format.label_schema import BOXES_SCHEMA, LABELS_SCHEMA
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.errors import RunError
from mae_rad.finetuning.run import finetune
from mae_rad.finetuning.task.settings import FinetuneSettings
from mae_rad.finetuning.task.target_checksums import target_checksums
from tests.builders.tiny_finetuning import arguments, write_labelled


def _turn_round(public: Path) -> None:
    table = pq.read_table(public / "labels.parquet")
    turned = ["absent" if value == "present" else "present" for value in table.column("value").to_pylist()]
    values = pa.array(turned, table.schema.field("value").type)
    pq.write_table(table.set_column(table.column_names.index("value"), "value", values), public / "labels.parquet")


def _checksums(public: Path, *names: str, with_boxes: bool = False) -> dict[str, str]:
    return target_checksums(ShardIndex([public], split=None), [public], names, with_boxes=with_boxes)


def test_only_what_the_task_reads_counts_in_any_order(tmp_path: Path) -> None:
    public = write_labelled(tmp_path / "public", films=12)
    began = _checksums(public, "object")
    table = pq.read_table(public / "labels.parquet")
    entry = {"key": table.column("key")[0].as_py(), "label": "other", "value": "present", "source": "report"}
    more = pa.concat_tables([table, pa.Table.from_pylist([entry], schema=LABELS_SCHEMA)])
    pq.write_table(more.take(np.arange(len(more))[::-1]), public / "labels.parquet")
    assert _checksums(public, "object") == began
    assert set(began) == {"labels"}
    _turn_round(public)
    assert _checksums(public, "object") != began


def test_boxes_count_where_the_task_reads_them(tmp_path: Path) -> None:
    public = write_labelled(tmp_path / "public", films=12)
    began = _checksums(public, "object", with_boxes=True)
    key = pq.read_table(public / "labels.parquet").column("key")[0].as_py()
    box = {"key": key, "label": "object", "x_min": 1.0, "y_min": 2.0, "x_max": 3.0, "y_max": 4.0, "source": "expert"}
    pq.write_table(pa.Table.from_pylist([box], schema=BOXES_SCHEMA), public / "boxes.parquet")
    now = _checksums(public, "object", with_boxes=True)
    assert now["labels"] == began["labels"]
    assert now["boxes"] != began["boxes"]


def test_a_finetuning_does_not_go_on_with_other_labels(tmp_path: Path) -> None:
    public = write_labelled(tmp_path / "public")
    words = arguments(public, tmp_path / "run", "runtime.max_minutes=1e-6")
    settings = load(FinetuneSettings, Path(words[1]), words[2:])
    with pytest.raises(SystemExit):
        finetune(settings)
    _turn_round(public)
    with pytest.raises(RunError, match="other labels"):
        finetune(settings)
