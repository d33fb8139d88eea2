"""Finetuning: from labelled shards to a predictor that answers as it did when it was judged."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from data_prep.settings import load
from mae_rad.data.loader import whole_film_batches
from mae_rad.data.shards import ShardIndex
from mae_rad.export.predictor import load_predictor
from mae_rad.finetuning.settings import FinetuneSettings
from tests.mae_rad.tiny_finetuning import arguments, write_labelled


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("shards") / "public")


def _finetune(public: Path, run: Path, *more: str) -> None:
    from mae_rad.finetuning.run import finetune

    words = arguments(public, run, *more)
    finetune(load(FinetuneSettings, Path(words[1]), words[2:]))


@pytest.fixture(scope="module")
def finished(public: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    _finetune(public, run)
    return run


def test_the_run_folder_holds_what_the_readme_says(finished: Path) -> None:
    names = {"config.yaml", "run.json", "checkpoints", "metrics.jsonl", "mlflow_run", "samples", ".lock"}
    assert {path.name for path in finished.iterdir()} == names | {"best.safetensors", "predictor", "evaluation"}
    load(FinetuneSettings, finished / "config.yaml")


def test_a_predictor_answers_alike_when_it_is_read_again(public: Path, finished: Path) -> None:
    first, second = load_predictor(finished), load_predictor(finished / "predictor")
    index = ShardIndex([public], split="test")
    card: Any = first.card
    for _, patches in whole_film_batches(index, tokens=card.tokens, patch=card.encoder.patch, batch=4, workers=0):
        told = first.predict(patches).probabilities
        assert told is not None
        assert told.shape == (len(patches.values), 2)
        assert torch.equal(told, second.predict(patches).probabilities)  # type: ignore[arg-type]
        assert ((told > 0) & (told < 1)).all()
    assert card.labels == ("object", "scratch")
    assert set(card.calibration) == set(card.labels)
    assert card.scope.body_parts.keys() == {"HAND", "CHEST"}


def test_results_have_intervals(finished: Path) -> None:
    rows = pq.read_table(finished / "evaluation" / "results.parquet").to_pylist()
    areas = [row for row in rows if row["metric"] == "auroc"]
    assert {(row["label"], row["split"]) for row in areas} == {
        (label, split) for label in ("object", "scratch") for split in ("val", "test")
    }
    assert all(row["low"] <= row["value"] <= row["high"] or np.isnan(row["low"]) for row in areas)
