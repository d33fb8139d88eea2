import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mae_rad.errors import EvaluationError
from mae_rad.evaluation.results.rows import COMPARISON_SCHEMA, Row, read_comparison, write_comparison
from mae_rad.evaluation.statistics.intervals import Interval

ROWS = [
    Row(
        encoder="mae", method="mae", task="fracture", probe="linear", metric="auroc", interval=Interval(0.8, 0.7, 0.9),
        n_films=10, n_patients=5, n_train=20, n_train_patients=9, pretraining_seed=3,
    ),
    Row(
        encoder="mae", method="mae", task="fracture", probe="linear", metric="auroc", interval=Interval(0.8, 0.7, 0.9),
        reference="simclr", n_reference_runs=2, difference=Interval(0.1, -0.1, 0.3), p_value=0.2, p_adjusted=0.4,
        minimum_detectable_difference=0.15, verdict="too few patients", n_films=10, n_patients=5, n_train=20,
        n_train_patients=9, subset="body_part=HAND", label_fraction=0.1, probe_seed=1, note="C=1",
    ),
]  # fmt: skip


def test_rows_are_read_as_they_were_written(tmp_path):
    write_comparison(ROWS, tmp_path / "comparison.parquet")
    assert read_comparison(tmp_path / "comparison.parquet") == ROWS
    table = pq.read_table(tmp_path / "comparison.parquet")
    assert table.schema.equals(COMPARISON_SCHEMA)
    assert table["difference"].to_pylist() == [None, 0.1]
    other_columns = {
        "interval",
        "difference",
        "freedom",
        "choice",
        "relevant_unit",
    }  # in several columns, or not in the table
    assert set(Row.__dataclass_fields__) - other_columns <= set(COMPARISON_SCHEMA.names)


def test_a_value_without_interval_stays_so(tmp_path):
    bare = Row(**{**ROWS[0].__dict__, "interval": Interval(0.8, math.nan, math.nan)})
    write_comparison([bare], tmp_path / "c.parquet")
    (read,) = read_comparison(tmp_path / "c.parquet")
    assert read.interval.value == 0.8
    assert math.isnan(read.interval.low)


def test_another_table_is_an_error(tmp_path):
    pq.write_table(pa.table({"encoder": ["mae"]}), tmp_path / "other.parquet")
    (tmp_path / "text.parquet").write_text("nothing")
    for name, message in (("none", "does not exist"), ("other", "not a comparison"), ("text", "not a Parquet")):
        with pytest.raises(EvaluationError, match=message):
            read_comparison(tmp_path / f"{name}.parquet")
