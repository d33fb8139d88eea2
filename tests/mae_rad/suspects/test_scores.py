"""Predictions of finished finetunings, as their tables hold them."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mae_rad.data.shard_reader import ShardIndex
from mae_rad.errors import EvaluationError
from mae_rad.suspects.scores import head_scores
from mae_rad.suspects.stated_fields import StatedField
from tests.builders.film_tables import film, write_public


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> ShardIndex:
    films = [film(place, place, "test") for place in range(6)]
    return ShardIndex([write_public(tmp_path_factory.mktemp("shards") / "public", films)], split=None)


def run_of(folder: Path, index: ShardIndex, columns: dict[str, Any], rows: list[int]) -> Path:
    """A run that predicts the films ``rows``."""
    table = {"key": [index.key(row) for row in rows], "split": ["test"] * len(rows)} | columns
    (folder / "evaluation").mkdir()
    pq.write_table(pa.table(table), folder / "evaluation" / "predictions.parquet")
    return folder


def stated(y: list[int], classes: tuple[str, ...], name: str, numbers: list[float] | None = None) -> StatedField:
    return StatedField(name, classes, np.array(y), None if numbers is None else np.array(numbers), {}, ())


def test_a_label_is_present_with_its_probability(index: ShardIndex, tmp_path: Path) -> None:
    columns = {"label": ["fracture"] * 3, "present": [True, False, None], "probability": [0.9, 0.2, 0.4]}
    run = run_of(tmp_path, index, columns, [4, 1, 2])
    scores = head_scores(run, index)(stated([-1, 0, 1, 1, 1, 0], ("absent", "present"), "fracture"))
    assert scores.rows.tolist() == [1, 2, 4]
    np.testing.assert_allclose(scores.scores, [[0.8, 0.2], [0.6, 0.4], [0.1, 0.9]])
    assert scores.without == 2


def test_numbers_are_those_that_the_head_predicted(index: ShardIndex, tmp_path: Path) -> None:
    columns = {"label": ["bone_age"] * 2, "predicted": [120.0, 90.0], "number": [118.0, None]}
    run = run_of(tmp_path, index, columns, [3, 0])
    field = stated([0, -1, -1, 0, -1, -1], ("bone_age",), "bone_age", [91, np.nan, np.nan, 118, np.nan, np.nan])
    scores = head_scores(run, index)(field)
    assert (scores.rows.tolist(), scores.scores.tolist()) == ([0, 3], [[90.0], [120.0]])
    with pytest.raises(EvaluationError, match="does not predict classes of bone_age"):
        head_scores(run, index)(stated([0] * 6, ("a", "b"), "bone_age"))


def test_films_of_a_class_that_the_head_does_not_know_are_left_out(index: ShardIndex, tmp_path: Path) -> None:
    struct = pa.struct([("HAND", pa.float64()), ("KNEE", pa.float64())])
    probability = pa.array([{"HAND": 0.7, "KNEE": 0.3}] * 3, struct)
    columns = {"label": ["region or part"] * 3, "class": ["HAND"] * 3, "probability": probability}
    run = run_of(tmp_path, index, columns, [0, 1, 2])
    field = stated([0, 1, 2, 0, 0, 0], ("HAND", "KNEE", "WRIST"), "region|part")
    scores = head_scores(run, index)(field)
    assert scores.rows.tolist() == [0, 1]
    np.testing.assert_allclose(scores.scores, [[0.7, 0.3, 0], [0.7, 0.3, 0]])


def test_other_fields_shards_and_damaged_tables_are_refused(index: ShardIndex, tmp_path: Path) -> None:
    columns = {"label": ["fracture"], "present": [True], "probability": [0.9]}
    run = run_of(tmp_path, index, columns, [0])
    with pytest.raises(EvaluationError, match="predicts fracture, not view"):
        head_scores(run, index)(stated([0] * 6, ("AP", "PA"), "view"))
    others = ShardIndex([write_public(tmp_path / "others", [film("x", "x", "test")])], split=None)
    with pytest.raises(EvaluationError, match="films that these shards do not hold"):
        head_scores(run, others)
    (run / "evaluation" / "predictions.parquet").write_bytes(b"PAR1")
    with pytest.raises(EvaluationError, match="is damaged"):
        head_scores(run, index)
