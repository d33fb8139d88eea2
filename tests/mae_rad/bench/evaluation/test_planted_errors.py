import csv
from pathlib import Path

import numpy as np
import pytest

from data_prep.shard_format.label_policy import LabelPolicy
from mae_rad.bench.evaluation.planted_errors import RANDOM_ORDER, TABLE, exchange, main
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.errors import EvaluationError
from mae_rad.suspects.settings import SuspectFieldSettings
from mae_rad.suspects.stated_fields import StatedField, read_field
from tests.mae_rad.suspects.planted_folder import Planted, write_planted


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return write_planted(tmp_path_factory.mktemp("planted"), films=120, wrong=0)


@pytest.fixture(scope="module")
def field(planted: Planted) -> StatedField:
    index = ShardIndex([planted.public], split=None)
    return read_field(index, [planted.public], SuspectFieldSettings(column="body_part"), LabelPolicy())


def test_regions_are_exchanged_in_pairs_and_keep_their_films(field: StatedField) -> None:
    changed_field, changed = exchange(field, 20, seed=0)
    assert len(set(changed.tolist())) == 20
    assert (changed_field.y[changed] != field.y[changed]).all()
    others = np.setdiff1d(np.arange(len(field.y)), changed)
    assert (changed_field.y[others] == field.y[others]).all()
    assert np.bincount(changed_field.y[field.rows]).tolist() == np.bincount(field.y[field.rows]).tolist()


def test_another_seed_exchanges_other_films(field: StatedField) -> None:
    drawn = [set(exchange(field, 20, seed)[1].tolist()) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_too_many_films_are_refused(field: StatedField) -> None:
    with pytest.raises(EvaluationError, match="can be exchanged"):
        exchange(field, 200, seed=0)


def test_vectors_that_know_the_region_find_the_planted_films(
    planted: Planted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [planted.table, "--shards", planted.public, "--out", tmp_path, "--films", 8, "--seeds", 2]
    assert main([str(word) for word in words]) == 0
    rows = list(csv.DictReader((tmp_path / TABLE).read_text().splitlines()))
    first: dict[str, list[float]] = {}
    for row in rows:
        first.setdefault(row["encoder"], []).append(float(row["precision_of_first"]))
    assert np.mean(first["vectors"]) > 0.9
    assert np.mean(first["raw pixels"]) < 0.6
    assert np.mean(first[RANDOM_ORDER]) < 0.4
    found = [float(row["listed_recall"]) for row in rows if row["encoder"] == "vectors"]
    assert np.mean(found) > 0.7
    printed = capsys.readouterr().out
    assert "118 films of 3 values of body_part, 8 exchanged" in printed
