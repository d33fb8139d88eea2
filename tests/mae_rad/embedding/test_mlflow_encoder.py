"""An encoder that MLflow serves gives the vectors of our own path, and is no pickle."""

import json
import logging
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from data_prep.runtime.decode_pool import DecodeLimits
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.data.whole_films import whole_film_batches
from mae_rad.embedding import mlflow_encoder
from mae_rad.embedding.mlflow_encoder import LOADER, _load_pyfunc
from mae_rad.errors import EvaluationError
from mae_rad.export.encoder_folder import load_encoder
from mae_rad.objectives import MAESettings
from mae_rad.tracking import ModelInterface, RegisteredModel, Tracker, default_uri
from tests.builders.shard_builder import film, noise, write_public
from tests.builders.trained_run import train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "mae"
    train(folder, MAESettings())
    return folder


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Films of several shapes, as a shard holds them: bytes, JSON, and the index."""
    films = [film(f"film {n}", noise(40 + 24 * n, 64, n)) for n in range(3)]
    public = write_public(tmp_path_factory.mktemp("data") / "public", films)
    return {"film": [stream for stream, _ in films], "sidecar": [json.dumps(sidecar) for _, sidecar in films]}, public


@torch.no_grad()
def ours(run, public, tokens):
    encoder, _ = load_encoder(run / "encoder")
    vectors = np.empty((3, encoder.dim), np.float32)
    for rows, patches in whole_film_batches(
        ShardIndex([public]), tokens=tokens, patch=encoder.patch, batch=1, workers=0
    ):
        vectors[rows] = encoder(patches).pooled.numpy()
    return vectors


def test_a_served_encoder_gives_the_vectors_of_embedding(run, samples):
    table, public = samples
    served = _load_pyfunc(str(run / "encoder"))
    np.testing.assert_array_equal(served.predict(table), ours(run, public, 196))
    np.testing.assert_array_equal(served.predict(table, {"tokens": 64}), ours(run, public, 64))


def test_a_film_that_cannot_be_decoded_costs_its_request_alone(run, samples, monkeypatch):
    table, _ = samples
    monkeypatch.setattr(mlflow_encoder, "DecodeLimits", lambda workers: DecodeLimits(workers, memory_gib=0.5))
    served = _load_pyfunc(str(run / "encoder"))
    bomb = json.dumps(json.loads(table["sidecar"][1]) | {"content_mask": ""})
    for stream, sidecar in ((table["film"][1][:60], bomb), (b"", bomb), (table["film"][1], "{}")):
        with pytest.raises(EvaluationError, match=r"row 1 holds no film of a shard with its sidecar"):
            served.predict({"film": [table["film"][0], stream], "sidecar": [table["sidecar"][0], sidecar]})
    monkeypatch.setattr(mlflow_encoder, "_patches", _hangs)
    monkeypatch.setattr(mlflow_encoder, "DecodeLimits", lambda workers: DecodeLimits(workers, file_timeout_seconds=0.5))
    slow = _load_pyfunc(str(run / "encoder"))
    with pytest.raises(EvaluationError, match="decoder_timeout"):
        slow.predict(table)
    assert served.predict(table).shape[0] == 3


def _hangs(sample):
    time.sleep(600)


def registered(run, **more):
    _, card = load_encoder(run / "encoder")
    known = {"name": "mae", "kind": "encoder", "loader": LOADER, "folder": run / "encoder",
             "card": card.model_dump(mode="json"), "weights_sha256": card.weights_sha256, "training_run": None,
             "signature": ModelInterface({"film": "binary", "sidecar": "string"}, 32, {"tokens": 196}),
             "description": "card"}  # fmt: skip
    return RegisteredModel(**(known | more))


def test_the_registry_holds_the_encoder_once_with_signature_and_without_pickle(tmp_path, run, samples, monkeypatch):
    uri = default_uri(tmp_path)
    tracker = Tracker.start(uri, "compare", "comparison")
    tracker.register(registered(run))
    tracker.register(registered(run, training_run="0" * 32))
    tracker.finish()
    connection = sqlite3.connect(tmp_path / "mlflow.db")
    versions = connection.execute("select name, version, run_id from model_versions").fetchall()
    dump = "\n".join(line for line in connection.iterdump() if line.startswith("INSERT"))
    connection.close()
    ((name, version, run_id),) = versions
    assert (name, version, run_id) == ("mae", 1, tracker.run_id)
    assert str(tmp_path) not in dump and str(run) not in dump
    (model,) = (path.parent for path in (tmp_path / "mlartifacts").rglob("MLmodel"))
    names = {path.name for path in model.rglob("*") if path.is_file()}
    assert {"MLmodel", "encoder.safetensors", "encoder.json", "python_env.yaml", "conda.yaml"} <= names
    first, *pinned = (model / "requirements.txt").read_text().splitlines()
    assert (model / first).is_file() and first.endswith(".whl")
    assert {line.partition("==")[0] for line in pinned} == {
        "highdicom",
        "safetensors",
        "torch",
        "torchvision",
        "timm",
        "mlflow",
    }
    assert not [name for name in names if Path(name).suffix in (".pkl", ".pickle", ".pt", ".pth", ".bin")]
    text = (model / "MLmodel").read_text()
    assert str(tmp_path) not in text and str(run) not in text

    import mlflow

    table, public = samples
    monkeypatch.setattr(logging.getLogger("mlflow"), "level", logging.ERROR)
    served = mlflow.pyfunc.load_model(str(model))
    assert [column.name for column in served.metadata.signature.inputs] == ["film", "sidecar"]
    import pandas as pd

    np.testing.assert_array_equal(served.predict(pd.DataFrame(table)), ours(run, public, 196))
