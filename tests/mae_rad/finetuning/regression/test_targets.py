"""Numbers of films as targets of a regression: their source, their standardisation, and films without one."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.shard_format.label_policy import LabelPolicy
from data_prep.shard_format.label_schema import LABELS_SCHEMA
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.errors import EvaluationError, SettingsError
from mae_rad.finetuning.regression.targets import known_numbers, loss_weights, standardisation
from mae_rad.heads.regression import TargetNumberSettings
from tests.builders.film_tables import film, hexed, write_public

AGES = {"one": 10, "two": None, "three": 30, "four": 40}


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    films = [
        film(name, name, "train", age_years=age, body_part="HAND" if name != "four" else "KNEE")
        for name, age in AGES.items()
    ]
    folder = write_public(tmp_path_factory.mktemp("shards") / "public", films)
    entries = [("one", 120.0, 1), ("one", 132.0, 2), ("one", 180.0, 3), ("three", 60.0, None), ("four", 90.0, None)]
    rows = [
        {"key": hexed("film", name), "label": "bone_age", "number": number, "source": "expert", "reader": reader}
        for name, number, reader in entries
    ]
    rows.append({"key": hexed("film", "two"), "label": "fracture", "value": "present", "source": "expert"})
    pq.write_table(pa.Table.from_pylist(rows, schema=LABELS_SCHEMA), folder / "labels.parquet")
    return folder


def _known(public: Path, policy: LabelPolicy, **settings: object) -> tuple[list[float], list[str]]:
    number = TargetNumberSettings.model_validate(settings)
    known = known_numbers(ShardIndex([public]), [public], [number], policy)
    return known.values[:, 0].tolist(), known.reasons[:, 0].tolist()


UNKNOWN = pytest.approx(np.nan, nan_ok=True)


def test_numbers_of_labels_are_reconciled_under_the_policy(public: Path) -> None:
    reasons = ["", "not labelled", "", ""]
    assert _known(public, LabelPolicy(), label="bone_age") == ([132, UNKNOWN, 60, 90], reasons)
    assert _known(public, LabelPolicy(readers="mean"), label="bone_age") == ([144, UNKNOWN, 60, 90], reasons)
    ignored = _known(public, LabelPolicy(readers="ignore"), label="bone_age")
    assert ignored == ([UNKNOWN, UNKNOWN, 60, 90], ["labels conflict", *reasons[1:]])


def test_numbers_of_a_column_apply_to_the_films_of_where(public: Path) -> None:
    assert _known(public, LabelPolicy(), column="age_years") == ([10, UNKNOWN, 30, 40], ["", "no age_years", "", ""])
    hands = _known(public, LabelPolicy(), column="age_years", where={"body_part": "HAND"})
    assert hands == ([10, UNKNOWN, 30, UNKNOWN], ["", "no age_years", "", ""])


def test_what_has_no_numbers_is_reported(public: Path) -> None:
    with pytest.raises(EvaluationError, match=r"no numbers of the label 'fracture'\. Use one of bone_age"):
        _known(public, LabelPolicy(), label="fracture")
    with pytest.raises(SettingsError, match="the column body_part has no numbers"):
        _known(public, LabelPolicy(), column="body_part")
    with pytest.raises(SettingsError, match="no column 'age'"):
        _known(public, LabelPolicy(), column="age")


def test_the_standardisation_is_mean_and_standard_deviation_of_known_numbers() -> None:
    values = np.random.default_rng(0).normal(100, 20, size=(50, 2))
    values[::3, 1] = np.nan
    for column, line in zip(values.T, standardisation(values, ["a", "b"]), strict=True):
        assert (line.slope, line.offset) == pytest.approx((np.nanstd(column), np.nanmean(column)))
    with pytest.raises(EvaluationError, match="'b' do not have two different numbers"):
        standardisation(np.array([[1.0, 5.0], [2.0, 5.0], [3.0, np.nan]]), ["a", "b"])


def test_the_loss_is_the_weighted_mean_over_known_numbers() -> None:
    values = np.array([[1.0, np.nan], [2.0, 5.0], [3.0, 7.0]])
    numbers = [TargetNumberSettings(label="a"), TargetNumberSettings(label="b", weight=3)]
    weights = loss_weights(values, numbers)
    np.testing.assert_allclose(weights / weights[0, 0], [[1, 0], [1, 3], [1, 3]])
    assert weights.sum(axis=1).mean() == pytest.approx(1)
