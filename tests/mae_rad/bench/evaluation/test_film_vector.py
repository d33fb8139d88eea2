"""The table that a film vector is chosen from: its scores are those of scikit-learn, and test films are not read."""

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler

from data_prep.shard_format.label_schema import LABELS_SCHEMA
from mae_rad.bench.evaluation import film_vector
from mae_rad.bench.evaluation.film_vector import default_pools, predict_numbers
from mae_rad.data.film import Film
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.embedding.standardised_rows import vectors_of_array
from mae_rad.encoders.vit import EncoderSettings, build_encoder
from mae_rad.errors import EvaluationError
from mae_rad.export.encoder_folder import save_encoder
from tests.builders.tiny_finetuning import write_labelled

SHAPE = EncoderSettings(model="vit_tiny", dim=16, depth=4, heads=2, patch=16)


def test_r2_of_weights_is_that_of_repeated_films() -> None:
    draws = np.random.default_rng(0)
    y, predicted = draws.normal(size=50), draws.normal(size=50)
    weights = draws.integers(0, 3, (4, 50)).astype(float)
    repeated = [r2_score(np.repeat(y, row.astype(int)), np.repeat(predicted, row.astype(int))) for row in weights]
    np.testing.assert_allclose(film_vector._r2(y, predicted)(weights), repeated)


@pytest.mark.parametrize("width", [8, 100])
def test_numbers_are_predicted_by_a_ridge_regression_on_standardised_vectors(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(film_vector, "PENALTIES", (7.0,))
    draws = np.random.default_rng(0)
    x, scored = draws.normal(3, 5, (60, width)), draws.normal(3, 5, (20, width))
    y = x @ draws.normal(size=width) + 100
    ours = predict_numbers(vectors_of_array(x), y, np.arange(60), vectors_of_array(scored))
    scaler = StandardScaler().fit(x)
    expected = Ridge(alpha=7.0).fit(scaler.transform(x), y).predict(scaler.transform(scored))
    np.testing.assert_allclose(ours, expected, rtol=1e-4)


def test_default_poolings_use_four_blocks_at_equal_distance() -> None:
    assert "mean+deviation of blocks 3 6 9 12" in default_pools(12)
    assert "mean of blocks 1 2" in default_pools(2)
    assert len(set(default_pools(12))) == 8


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Films with a bright object or none, and its size as a number."""
    folder = write_labelled(tmp_path_factory.mktemp("shards") / "public", films=240)
    labels = pq.read_table(folder / "labels.parquet")
    rows = [row for row in labels.to_pylist() if row["label"] == "object"]
    numbers = [
        {"key": row["key"], "label": "size", "number": 10.0 * (row["value"] == "present"), "source": "expert"}
        for row in rows
    ]
    table = pa.concat_tables([labels, pa.Table.from_pylist(numbers, schema=LABELS_SCHEMA)])
    pq.write_table(table, folder / "labels.parquet")
    return folder


def test_every_encoder_and_pooling_is_scored_on_validation_films_only(
    public: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    save_encoder(build_encoder(SHAPE), SHAPE, tmp_path / "run" / "encoder", tokens=36, provenance={})
    read: list[str] = []
    plain = ShardIndex.film

    def recorded(index: ShardIndex, row: int) -> Film:
        read.append(index.key(row))
        return plain(index, row)

    monkeypatch.setattr(ShardIndex, "film", recorded)
    out = tmp_path / "out"
    pools = ["mean", "mean+deviation of blocks 2 4 and 2 x 2 regions"]
    words = ["--column", "body_part", "--label", "object", "--number", "size", "--equal-width", "16", "--workers", "0"]
    assert film_vector.main([
        str(tmp_path / "run"), "--shards", str(public), "--out", str(out), "--repetitions", "100", *words,
        "--pools", *pools,
    ]) == 0  # fmt: skip
    table = pq.read_table(public / "index.parquet", columns=["key", "split"]).to_pylist()
    assert set(read) == {row["key"] for row in table if row["split"] != "test"}
    with (out / "film_vector.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    reduced = f"{pools[1]} → 16 components"
    assert {(row["pool"], row["width"]) for row in rows} == {(pools[0], "16"), (pools[1], "320"), (reduced, "16")}
    assert {row["task"] for row in rows} == {"body_part, auroc", "object, auroc", "size, R²"}
    assert {row["encoder"] for row in rows} == {"run", "random floor"}
    assert len(rows) == 2 * 3 * 3
    assert all((row["difference"] == "") == (row["pool"] == "mean") for row in rows)
    assert f"{reduced:<{len(reduced)}}     16" in capsys.readouterr().out


def test_without_a_task_the_error_names_the_options(
    public: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_encoder(build_encoder(SHAPE), SHAPE, tmp_path / "run" / "encoder", tokens=36, provenance={})
    with pytest.raises(EvaluationError, match="Give --column, --label or --number"):
        film_vector.main([
            str(tmp_path / "run"), "--shards", str(public), "--out", str(tmp_path / "out"), "--workers", "0",
            "--label", "absent", "--pools", "mean",
        ])  # fmt: skip
    assert "absent is left out" in capsys.readouterr().out
