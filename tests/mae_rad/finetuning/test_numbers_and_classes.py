"""Finetuning of numbers and of exclusive classes, from labelled shards to a predictor that predicts as evaluated."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.metrics import r2_score

from data_prep.settings import load
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.data.whole_films import whole_film_batches
from mae_rad.errors import EvaluationError
from mae_rad.export.predictor_folder import load_predictor
from mae_rad.finetuning.compare_heads import compare_heads
from mae_rad.finetuning.registry import build_task
from mae_rad.finetuning.task.interface import Task
from mae_rad.finetuning.task.settings import FinetuneSettings
from mae_rad.heads.interface import Prediction
from tests.builders.tiny_numbers import VIEWS, arguments, write_numbered

CLASSES = ("task.target.column=view", "task.balance=class_weight", "optimizer.steps=160", "evaluation.every=40")
NUMBERS = "task.numbers=[{label: age, unit: years, name: shown age}]"

TABLES = {"results.parquet", "results.txt", "predictions.parquet", "report.html"}


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_numbered(tmp_path_factory.mktemp("shards") / "public")


def _finetune(public: Path, run: Path, config: str, *more: str) -> Path:
    from mae_rad.finetuning.run import finetune

    words = arguments(public, run, config, *more)
    finetune(load(FinetuneSettings, Path(words[1]), words[2:]))
    return run


@pytest.fixture(scope="module")
def regression(public: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _finetune(public, tmp_path_factory.mktemp("runs") / "regression", "bone_age.yaml", NUMBERS)


@pytest.fixture(scope="module")
def multiclass(public: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "multiclass"
    return _finetune(public, run, "sex.yaml", *CLASSES)


def _lines(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "time"} for line in lines]


def _predictions(run: Path, public: Path, split: str) -> dict[str, Prediction]:
    """Key → prediction of the exported model."""
    predictor, index = load_predictor(run), ShardIndex([public], split=split)
    card = predictor.card
    batches = whole_film_batches(index, tokens=card.tokens, patch=card.encoder.patch, batch=1, workers=0)
    return {index.key(rows[0]): predictor.predict(patches) for rows, patches in batches}


def test_a_regression_learns_and_its_predictor_predicts_in_the_unit(public: Path, regression: Path) -> None:
    rows = pq.read_table(regression / "evaluation" / "predictions.parquet").to_pylist()
    test = [row for row in rows if row["split"] == "test"]
    assert {row["label"] for row in test} == {"shown age"}
    true, predicted = ([row[name] for row in test] for name in ("number", "predicted"))
    results = pq.read_table(regression / "evaluation" / "results.parquet").to_pylist()
    (r2,) = (row for row in results if (row["split"], row["subset"], row["metric"]) == ("test", "all", "r2"))
    assert r2["value"] == pytest.approx(r2_score(true, predicted))
    assert r2["value"] > 0.5
    exported = _predictions(regression, public, "test")
    for row in test:
        numbers = exported[row["key"]].numbers
        assert numbers is not None
        assert float(numbers[0, 0]) == pytest.approx(row["predicted"], abs=1e-3)


def test_the_files_of_a_regression_state_unit_and_left_out_films(public: Path, regression: Path) -> None:
    pictures = {"scatter.png", "subgroups.png", "films-shown-age.png", "learning_curves.png"}
    assert {path.name for path in (regression / "evaluation").iterdir()} == TABLES | pictures
    for name in pictures:
        with Image.open(regression / "evaluation" / name) as picture:
            assert picture.width > 300
    text = (regression / "evaluation" / "results.txt").read_text(encoding="utf-8")
    ages = dict(
        zip(*(pq.read_table(public / "labels.parquet")[name].to_pylist() for name in ("key", "number")), strict=True)
    )
    index = ShardIndex([public], split="train")
    trained = [ages[index.key(row)] for row in range(len(index)) if index.key(row) in ages]
    mean, spread = np.mean(trained), np.std(trained)
    expected = f"shown age: in years; {len(trained)} training films, mean {mean:.4g}, standard deviation {spread:.4g}."
    assert expected in text
    assert f"train shown age: left out {len(index) - len(trained)} not labelled." in text
    card = load_predictor(regression).card
    assert card.calibration["shown age"] == pytest.approx((spread, mean))
    assert any(line.startswith("shown age: mean absolute error in years (") for line in card.measured)
    assert "| shown age | years |" in (regression / "predictor" / "README.md").read_text(encoding="utf-8")


def test_the_metrics_that_early_stopping_may_name_are_those_that_are_logged(regression: Path, multiclass: Path) -> None:
    for run in (regression, multiclass):
        task = load(FinetuneSettings, run / "config.yaml").task
        logged = {name for line in _lines(run) for name in line if name.startswith("val/")}
        assert logged == {f"val/{name}" for name in task.validation_metrics}
        assert f"val/{task.selection_metric}" in logged


def test_classes_are_found_in_the_column_and_learnt(public: Path, multiclass: Path) -> None:
    card = load_predictor(multiclass).card
    assert card.labels == VIEWS
    rows = pq.read_table(multiclass / "evaluation" / "predictions.parquet").to_pylist()
    test = [row for row in rows if row["split"] == "test"]
    assert np.mean([row["class"] == row["predicted"] for row in test]) > 0.6
    exported = _predictions(multiclass, public, "test")
    assert exported.keys() == {row["key"] for row in test}
    for row in test:
        probabilities = exported[row["key"]].class_probabilities
        assert probabilities is not None
        assert probabilities[0].tolist() == pytest.approx([row["probability"][name] for name in VIEWS], abs=1e-5)
    pictures = {"confusion.png", "subgroups.png", "films-view.png", "learning_curves.png"}
    tables = TABLES | {"confusion.parquet"}
    assert {path.name for path in (multiclass / "evaluation").iterdir()} == tables | pictures
    confusion = pq.read_table(multiclass / "evaluation" / "confusion.parquet").to_pylist()
    for cell in confusion:
        of_cell = [row for row in rows if all(row[name] == cell[name] for name in ("split", "class", "predicted"))]
        assert cell["films"] == len(of_cell) >= cell["patients"] >= 1
    assert sum(cell["films"] for cell in confusion) == len(rows)
    results = pq.read_table(multiclass / "evaluation" / "results.parquet").to_pylist()
    recalls = [row["value"] for row in results if (row["split"], row["metric"]) == ("test", "recall")]
    (balanced,) = (
        row["value"] for row in results
        if (row["split"], row["subset"], row["metric"]) == ("test", "all", "balanced_accuracy")
    )  # fmt: skip
    assert len(recalls) == 3
    assert balanced == pytest.approx(np.mean(recalls))


def test_the_run_records_its_classes_and_resumes(public: Path, multiclass: Path) -> None:
    recorded = load(FinetuneSettings, multiclass / "config.yaml")
    assert recorded.task.titles == VIEWS
    before = _lines(multiclass)
    _finetune(public, multiclass, "sex.yaml", *CLASSES)
    assert _lines(multiclass) == before


def test_features_of_a_frozen_encoder_can_be_cached(public: Path, tmp_path: Path) -> None:
    frozen = [NUMBERS, "adaptation.encoder=frozen", "optimizer.steps=2", "task.pool=attentive", "task.window=4"]
    values = []
    for name, gib in (("cached", 4), ("read", 0)):
        run = _finetune(public, tmp_path / name, "bone_age.yaml", *frozen, f"runtime.cache_gib={gib}")
        rows = pq.read_table(run / "evaluation" / "predictions.parquet")
        values.append(rows["predicted"].to_pylist())
    assert values[0] == pytest.approx(values[1], rel=1e-4)


def test_finetuned_numbers_and_classes_are_compared(
    public: Path, regression: Path, multiclass: Path, tmp_path: Path
) -> None:
    few = _finetune(public, tmp_path / "few", "bone_age.yaml", NUMBERS, "optimizer.steps=2")
    rows = {
        (row.run, row.metric): row
        for row in compare_heads({"long": regression, "few": few}, "few", [public], repetitions=100)
    }
    assert {metric for _, metric in rows} == {"r2", "mean_absolute_error"}
    for metric, sign in (("r2", 1), ("mean_absolute_error", -1)):
        difference = rows["long", metric].difference
        assert difference is not None
        assert sign * difference.value > 0
    same = compare_heads({"one": multiclass, "two": multiclass}, "one", [public], repetitions=100)
    assert {row.metric for row in same} == {
        "balanced_accuracy", "macro_auroc", "accuracy", "calibration_error", "log_loss",
    }  # fmt: skip
    for row in same:
        if row.run == "two":
            assert row.difference is not None
            assert row.difference.value == 0
            assert row.difference.low <= 0 <= row.difference.high
    with pytest.raises(EvaluationError, match="no label in common"):
        compare_heads({"one": multiclass, "two": few}, "one", [public])


def _task(public: Path, config: str, *more: str) -> Task[object]:
    words = arguments(public, public.parent / "none", config, *more)
    settings = load(FinetuneSettings, Path(words[1]), words[2:])
    return build_task(settings, ShardIndex([public], split=None))


def test_splits_that_cannot_be_trained_on_or_evaluated_are_refused(public: Path) -> None:
    ages, classes = _task(public, "bone_age.yaml", NUMBERS), _task(public, "sex.yaml", "task.target.column=view")
    table = ages.index.table
    split, view = (np.array(table[name].to_pylist()) for name in ("split", "view"))
    known = ages.has_target("train")
    rows = {name: np.flatnonzero((split == name) & known) for name in ("train", "val", "test")}
    ages.check(rows)
    classes.check(rows)
    with pytest.raises(EvaluationError, match="'shown age' do not have two different numbers"):
        ages.check(rows | {"train": rows["train"][:1]})
    with pytest.raises(EvaluationError, match="1 val films do not have two different numbers"):
        ages.check(rows | {"val": rows["val"][:1]})
    with pytest.raises(EvaluationError, match="no training film is of the class 'AP'"):
        classes.check(rows | {"train": np.flatnonzero((split == "train") & (view != "AP"))})
    with pytest.raises(EvaluationError, match="val films are all of one class"):
        classes.check(rows | {"val": np.flatnonzero((split == "val") & (view == "PA"))})
