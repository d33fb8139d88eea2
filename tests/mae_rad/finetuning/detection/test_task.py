"""Detection, from shards with boxes to a predictor whose boxes equal those of its evaluation."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from data_prep.settings import load
from launch.export import main as export
from mae_rad.data.box_frames import whole_film_frame
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.data.whole_films import whole_film_batches
from mae_rad.errors import EvaluationError, WeightsError
from mae_rad.evaluation.comparison.compute_budget import read_budget
from mae_rad.evaluation.detection.detection_metrics import quick_estimates
from mae_rad.evaluation.detection.ranked_boxes import FilmDetections
from mae_rad.export.encoder_folder import load_encoder
from mae_rad.export.encoder_with_decoder_folder import load_objective
from mae_rad.export.predictor_folder import load_predictor
from mae_rad.finetuning.task.settings import FinetuneSettings
from mae_rad.heads.detection import DetectionSettings
from tests.builders.boxed_films import write_boxed, write_tables

CONFIG = Path(__file__).resolve().parents[4] / "configs" / "finetune" / "foreign_object_boxes.yaml"
VIT = ("encoder={model: vit_tiny, dim: 32, depth: 2, heads: 2, patch: 16}",)
RESNET = ("encoder={timm: test_resnet}", "optimizer.steps=2")


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_boxed(tmp_path_factory.mktemp("shards") / "public")


def words(public: Path, run: Path, *more: str) -> list[str]:
    return [
        "precision=f32", f"data.shards=[{public}]", "start_from=null", "film={tokens: 64, flip: 0.5, flip_sides: true}",
        "task={name: detection, labels: [{label: object}], channels: 32, convolutions: 1, least: 0.001}",
        "optimizer={steps: 4, batch: 8, base_learning_rate: 0.03, warmup_fraction: 0.2}",
        "evaluation={every: 2, repetitions: 100}",
        f"runtime={{run_dir: {run}, workers: 0, threads: 1, log_every: 1, checkpoint_every: 2, timeout_seconds: 60}}",
        *more,
    ]  # fmt: skip


def finetuned(public: Path, run: Path, *more: str) -> Path:
    from mae_rad.finetuning.run import finetune

    finetune(load(FinetuneSettings, CONFIG, words(public, run, *more)))
    return run


@pytest.fixture(scope="module")
def finished(public: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finetuned(public, tmp_path_factory.mktemp("runs") / "whole", *VIT)


def results(run: Path) -> dict[tuple[str, str], dict[str, float]]:
    rows = pq.read_table(run / "evaluation" / "results.parquet").to_pylist()
    return {(row["split"], row["metric"]): row for row in rows}


def test_results_have_intervals_and_pictures(finished: Path) -> None:
    metrics = results(finished)
    for metric in ("ap", "ap50", "froc", "sensitivity_at_0.125", "ap_under_10px", "film_auroc"):
        row = metrics["test", metric]
        assert np.isnan(row["value"]) or 0 <= row["value"] <= 1
        assert np.isnan(row["low"]) or row["low"] <= row["value"] <= row["high"]
        assert (row["n_films"], row["n_patients"]) == (10, 5)
    for name in ("froc.png", "films-object-wrong.png"):
        with Image.open(finished / "evaluation" / name) as picture:
            assert min(picture.size) > 100


def test_the_metrics_that_early_stopping_may_name_are_those_that_are_logged(finished: Path) -> None:
    task = load(FinetuneSettings, finished / "config.yaml").task
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert {name for line in lines for name in line if name.startswith("val/")} == {
        f"val/{name}" for name in task.validation_metrics
    }


def test_the_predictor_finds_the_boxes_of_its_evaluation(public: Path, finished: Path) -> None:
    predictor = load_predictor(finished)
    index = ShardIndex([public], split="test")
    keys = index.table.column("key").to_pylist()
    boxes = pq.read_table(public / "boxes.parquet").to_pylist()
    films: dict[int, FilmDetections] = {}
    for rows, patches in whole_film_batches(index, tokens=predictor.card.tokens, patch=16, batch=3, workers=0):
        found = predictor.predict(patches).boxes
        assert found is not None
        for row, one in zip(rows, found, strict=True):
            film = index.film(row)
            true = [
                [box[edge] for edge in ("x_min", "y_min", "x_max", "y_max")] for box in boxes if box["key"] == keys[row]
            ]
            corners = whole_film_frame(film, predictor.card.tokens, 16).to_source(one.corners.double().numpy())
            assert (corners <= np.tile((film.sidecar.source_columns, film.sidecar.source_rows), 2)).all()
            films[row] = FilmDetections(corners, one.scores.double().numpy(), np.array(true).reshape(-1, 4))
    ordered = [films[row] for row in range(len(index))]
    for name, estimate in quick_estimates(ordered).items():
        assert estimate(np.ones((1, len(ordered))))[0] == pytest.approx(results(finished)["test", name]["value"])
    assert predictor.card.labels == ("object",)


def test_a_film_has_the_same_boxes_alone_and_in_a_batch(public: Path, finished: Path) -> None:
    predictor = load_predictor(finished)
    _, patches = next(
        iter(whole_film_batches(ShardIndex([public], split=None), tokens=64, patch=16, batch=4, workers=0))
    )
    together = predictor.predict(patches).boxes
    assert together is not None
    for number, film in enumerate(together):
        (alone,) = predictor.predict(type(patches)(*(part[number : number + 1] for part in patches.parts))).boxes or []
        torch.testing.assert_close(alone.corners, film.corners, rtol=1e-3, atol=1e-2)
        torch.testing.assert_close(alone.scores, film.scores, rtol=1e-4, atol=1e-4)


def _said_otherwise(folder: Path, split: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Labels and boxes, the films of ``split`` without any object."""
    index = pq.read_table(folder / "index.parquet").to_pylist()
    keys_of_split = {row["key"] for row in index if row["split"] == split}
    labels, boxes = (pq.read_table(folder / f"{name}.parquet").to_pylist() for name in ("labels", "boxes"))
    absent = [row | {"value": "absent"} if row["key"] in keys_of_split else row for row in labels]
    return absent, [box for box in boxes if box["key"] not in keys_of_split]


def test_val_films_without_boxes_are_refused_before_training(tmp_path: Path) -> None:
    folder = write_boxed(tmp_path / "public", 24)
    write_tables(folder, *_said_otherwise(folder, "val"))
    with pytest.raises(EvaluationError, match=r"none of [0-9]+ val films has a box, so no weights can be chosen"):
        finetuned(folder, tmp_path / "run", *VIT)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_label_unknown_in_val_and_test_does_not_end_the_run(tmp_path: Path) -> None:
    folder = write_boxed(tmp_path / "public", 24)
    labels, boxes = (pq.read_table(folder / f"{name}.parquet").to_pylist() for name in ("labels", "boxes"))
    train = {row["key"] for row in pq.read_table(folder / "index.parquet").to_pylist() if row["split"] == "train"}
    more = [[row | {"label": "other"} for row in rows if row["key"] in train] for rows in (labels, boxes)]
    _, boxes = _said_otherwise(folder, "test")
    write_tables(folder, labels + more[0], boxes + more[1])
    two = "task={name: detection, labels: [{label: object}, {label: other}], channels: 32, convolutions: 1, least: 0}"
    run = finetuned(folder, tmp_path / "run", *VIT, two, "optimizer.steps=2")
    assert {label for of in load_predictor(run).card.operating_points.values() for label in of} == {"object"}
    text = (run / "evaluation" / "results.txt").read_text()
    assert "val other: no film has a value, so no threshold is chosen." in text
    assert re.search(r"test +all +object +ap50 +\S+", text)


def test_crops_without_a_size_are_refused() -> None:
    with pytest.raises(ValidationError, match="Give crop, its side in patches"):
        DetectionSettings.model_validate({"labels": [{"label": "object"}], "crops": 2})


@pytest.mark.parametrize(
    "more",
    [
        (*VIT, "task.crop=5", "task.crops=3", "task.window=5", "film.scale=0.3"),
        (*VIT, "adaptation.encoder=frozen", "film.transforms=finetuning"),
        pytest.param(RESNET, marks=pytest.mark.slow),
    ],
    ids=["squares and windows", "frozen", "resnet"],
)
def test_a_detection_trains_on_crops_frozen_and_with_a_resnet(
    public: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    run = finetuned(public, tmp_path / "run", *more)
    assert results(run)["test", "froc"]["n_films"] == 10
    predictor = load_predictor(run)
    assert any(name.startswith("encoder.") for name in predictor.state_dict())


def test_training_on_crops_does_not_depend_on_the_division_of_a_batch(public: Path, tmp_path: Path) -> None:
    more = (*VIT, "task.crop=4", "task.crops=3", "task.window=4", "film.scale=0.3", "optimizer.steps=2")
    runs = [
        finetuned(public, tmp_path / f"parts {parts}", *more, f"optimizer.accumulation={parts}") for parts in (1, 2)
    ]
    whole, parted = ([json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in runs)
    losses = [[line["loss"] for line in lines if "loss" in line] for lines in (whole, parted)]
    assert len(losses[0]) == 2
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_task_starts_from_the_encoder_of_another_finetuning(public: Path, finished: Path, tmp_path: Path) -> None:
    encoder, card = load_encoder(finished / "encoder")
    whole = load_predictor(finished)
    predictor, predictor_card = whole.state_dict(), whole.card
    assert all(torch.equal(value, predictor[f"encoder.{name}"]) for name, value in encoder.state_dict().items())
    assert card.provenance["labels"] == "object" and card.preprocessing.tokens == 64
    assert "Trained with labels of films: object." in (finished / "encoder" / "README.md").read_text()
    run = finetuned(public, tmp_path / "run", f"start_from={finished}", "adaptation.encoder=frozen")
    further = load_predictor(run)
    assert further.card.provenance["started_from_sha256"] == card.weights_sha256
    assert all(torch.equal(value, further.encoder.state_dict()[name]) for name, value in encoder.state_dict().items())
    assert not (run / "encoder").exists()  # it is still that of the first
    assert read_budget(finished, card.provenance) is None
    best = predictor_card.provenance["best_step"]
    assert (card.provenance["steps"], card.provenance["films_seen"]) == (best, 8 * best)
    with pytest.raises(WeightsError, match="is a finetuning, which has neither decoder nor projection"):
        load_objective(finished)
    assert export([str(finished), "--to", "timm", "--size", "64x64", f"out={tmp_path / 'timm'}"]) == 0
    assert list((tmp_path / "timm").glob("*.safetensors"))


@pytest.mark.slow
def test_bright_squares_are_found(public: Path, tmp_path: Path) -> None:
    more = ("task.crop=6", "task.window=6", "optimizer.steps=60", "optimizer.batch=16", "evaluation.every=60")
    metrics = results(finetuned(public, tmp_path / "run", *VIT, *more, "optimizer.base_learning_rate=0.03"))
    assert metrics["test", "froc"]["value"] > 0.8
    assert metrics["test", "ap50"]["value"] > 0.5
