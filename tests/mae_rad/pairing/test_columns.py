"""Columns of the index and of the labels of the training films, at a fraction of the patients."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.shard_format.label_schema import LABELS_SCHEMA
from data_prep.shard_format.label_tables import LABELS_FILE
from mae_rad.data.label_fraction import select_label_fraction
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.errors import SettingsError
from mae_rad.pairing.columns import PretrainingLabels, checksums, is_known, read_columns
from tests.builders.shard_builder import film, hexed, noise, write_public

FILMS = 12


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    films = [
        film(
            f"f{i}", noise(16, 16, seed=i), patient=hexed("p", i // 2), split="test" if i >= 10 else "train",
            body_part=("HAND", "FOOT", None)[i % 3], age_years=None if i == 3 else 10 * i,
        )
        for i in range(FILMS)
    ]  # fmt: skip
    folder = write_public(tmp_path_factory.mktemp("columns") / "public", films)
    values = ["present", "absent", "uncertain", "not_mentioned"]
    rows = [
        {"key": hexed("film", f"f{i}"), "label": "fracture", "value": values[i % 4], "source": "expert"}
        for i in range(FILMS)
    ]
    rows += [{"key": hexed("film", "f0"), "label": "effusion", "value": "absent", "source": "report"}]
    rows += [{"key": hexed("film", "f1"), "label": "bone_age", "number": 96.5, "source": "expert"}]
    pq.write_table(pa.Table.from_pylist(rows, LABELS_SCHEMA), folder / LABELS_FILE)
    return folder


def _read(public: Path, *names: str, **settings: object) -> dict[str, np.ndarray]:
    return read_columns(names, ShardIndex([public]), [public], PretrainingLabels.model_validate(settings))


def test_text_becomes_codes_and_numbers_stay(public: Path) -> None:
    columns = _read(public, "body_part", "age_years", "patient_known", "body_part")
    assert columns["body_part"].tolist() == [1, 0, -1, 1, 0, -1, 1, 0, -1, 1]
    assert columns["age_years"].dtype == np.float32 and np.isnan(columns["age_years"]).nonzero()[0].tolist() == [3]
    assert set(columns["patient_known"]) == {0}


def test_states_and_numbers_of_labels_are_those_of_training_films(public: Path) -> None:
    columns = _read(public, "label.fracture", "label.bone_age")
    assert columns["label.fracture"].tolist() == [1, 0, 2, -1, 1, 0, 2, -1, 1, 0]
    assert columns["label.bone_age"][1] == 96.5 and is_known(columns["label.bone_age"]).sum() == 1
    assert sorted(_read(public, "label.*")) == ["label.effusion", "label.fracture"]
    assert not is_known(_read(public, "label.effusion", policy={"merge": "expert_only"})["label.effusion"]).any()


def test_a_fraction_is_the_draw_of_a_probe_and_smaller_ones_are_parts_of_it(public: Path) -> None:
    whole = _read(public, "label.fracture")["label.fracture"]
    patients = np.array(ShardIndex([public]).table["patient"].to_pylist(), dtype=object)
    before = np.zeros(len(whole), dtype=np.bool_)
    for fraction in (0.2, 0.6, 1.0):
        found = _read(public, "label.fracture", fraction=fraction, seed=4)["label.fracture"]
        known = np.flatnonzero(whole >= 0)
        chosen = select_label_fraction(patients[known].tolist(), fraction, 4, classes=whole[known])
        assert np.flatnonzero(found >= 0).tolist() == known[chosen].tolist()
        assert (found[found >= 0] == whole[found >= 0]).all()
        assert not (before & (found < 0)).any()
        before = found >= 0


def test_a_column_that_is_not_there_is_named(public: Path) -> None:
    with pytest.raises(SettingsError, match=r"the index has no column 'bodypart'\. Choose one of key, "):
        _read(public, "bodypart")
    with pytest.raises(SettingsError, match=r"no training film has the label 'pneumonia'\. There are: bone_age, eff"):
        _read(public, "label.pneumonia")
    with pytest.raises(SettingsError, match="column 'provenance' holds neither text nor numbers"):
        _read(public, "provenance")


def test_checksums_name_the_column_that_changed(public: Path) -> None:
    first, second = _read(public, "view", "label.fracture"), _read(public, "view", "label.fracture", fraction=0.5)
    before, after = checksums(first), checksums(second)
    assert before.keys() == {"column view", "column label.fracture"}
    assert before["column label.fracture"] != after["column label.fracture"]
