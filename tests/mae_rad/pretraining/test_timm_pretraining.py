"""Contrastive pretraining of a network of timm: resumed bit for bit, and its encoder embeds films."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from data_prep.settings import load
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.data.views import stack, whole_film
from mae_rad.embedding.embed_run import embed_table
from mae_rad.embedding.embeddings_file import read_embeddings
from mae_rad.embedding.film_vector import film_vectors
from mae_rad.encoders.timm_encoder import TimmEncoder, TimmSettings
from mae_rad.errors import SettingsError, WeightsError
from mae_rad.export.encoder_folder import load_encoder, read_card, save_encoder
from mae_rad.export.export_run import export
from mae_rad.export.fixed_size import FilmSize
from mae_rad.pretraining.run import pretrain
from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.pretraining.task import Pretraining
from mae_rad.training.deepspeed_engine import Engine
from tests.builders.processes.warm_python import run_ranks
from tests.builders.shard_builder import film, noise, write_public
from tests.builders.trained_run import as_embedded, films
from tests.references.timm_networks import TINY

ROOT = Path(__file__).resolve().parents[3]
CONFIG = ROOT / "configs" / "pretrain" / "simclr_natural.yaml"
ENCODER = TimmSettings(timm="tf_efficientnet_lite0", patch=8)


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = [film(f"f{i}", noise(*(60, 50) if i % 2 else (50, 60), seed=i)) for i in range(16)]
    return write_public(tmp_path_factory.mktemp("shards") / "public", made)


@pytest.fixture(scope="module")
def natural(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder folder whose weights and statistics stand for those of photographs."""
    torch.manual_seed(1)
    encoder, folder = TimmEncoder(ENCODER), tmp_path_factory.mktemp("natural") / "encoder"
    encoder.train()(as_embedded(films(32, 32), ENCODER.patch))
    save_encoder(
        encoder, ENCODER, folder, tokens=16, precision="f32", provenance={"photographs": "photographs of cats"}
    )
    return folder


def arguments(public: Path, run: Path, *more: str) -> list[str]:
    return [
        f"data.shards=[{public}]", "encoder.patch=8", "precision=f32",
        "objective={name: simclr, tokens: 16, head_hidden: 16, head_dim: 8}",
        "optimizer={steps: 4, batch: 8, base_learning_rate: 0.03, warmup_fraction: 0.2}",
        f"runtime={{run_dir: {run}, workers: 0, threads: 1, log_every: 1, checkpoint_every: 1, probe_every: 0}}",
        "start_from=null", *more,
    ]  # fmt: skip


def train(public: Path, run: Path, *more: str) -> None:
    pretrain(load(PretrainSettings, CONFIG, arguments(public, run, *more)))


@pytest.fixture(scope="module")
def finished(public: Path, natural: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    train(public, run, f"start_from={natural}")
    return run


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_resume_is_bitwise_identical_with_its_running_statistics(
    public: Path, natural: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, forward, taken = tmp_path / "interrupted", Engine.forward, []

    def interrupted(self: Engine, batch: Any) -> Any:
        if len(taken) == 2:
            raise KeyboardInterrupt
        taken.append(batch)
        return forward(self, batch)

    with monkeypatch.context() as patched:
        patched.setattr(Engine, "forward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(public, run, f"start_from={natural}")
    train(public, run, f"start_from={natural}")
    assert losses(run) == losses(finished)
    weights, expected = (load_file(folder / "encoder" / "encoder.safetensors") for folder in (run, finished))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    begun = load_file(natural / "encoder.safetensors")
    statistics = [name for name in expected if name.endswith("running_mean")]
    assert statistics
    assert all(not torch.equal(begun[name], expected[name]) for name in statistics)
    assert int(expected["network.bn1.num_batches_tracked"]) == int(begun["network.bn1.num_batches_tracked"]) + 4


def test_the_run_begins_with_the_given_weights_and_says_so(finished: Path, natural: Path) -> None:
    card = read_card(finished / "encoder")
    assert card.encoder == ENCODER
    assert card.provenance["started_from_sha256"] == read_card(natural).weights_sha256
    assert card.provenance["photographs"] == "photographs of cats"
    logged = json.loads((finished / "metrics.jsonl").read_text().splitlines()[0])
    assert "attention_logit_max" not in logged
    assert logged["flops_utilisation"] > 0


def test_whole_films_of_any_shape_are_embedded(public: Path, finished: Path, tmp_path: Path) -> None:
    out = embed_table(
        finished, shards=[public], out=tmp_path / "table.parquet", tokens=None, pool=None, precision="f32",
        batch_size=4, workers=0, processes=1,
    )  # fmt: skip
    index = ShardIndex([public], split=None)
    vectors = read_embeddings(out, index, tmp_path / "cache").vectors("none")
    encoder, card = load_encoder(finished / "encoder")
    for row in range(3):
        patches = stack([whole_film(index.film(row), card.preprocessing.tokens, card.encoder.patch)])
        np.testing.assert_allclose(vectors[row], film_vectors(encoder, patches)[0], rtol=1e-4, atol=1e-5)


def test_a_checkpoint_is_exported_with_its_statistics(public: Path, finished: Path, tmp_path: Path) -> None:
    unfinished = tmp_path / "run"
    shutil.copytree(finished, unfinished)
    shutil.rmtree(unfinished / "encoder")
    out = export(unfinished, "safetensors", None, tmp_path / "exported")
    weights, expected = (load_file(folder / "encoder.safetensors") for folder in (out, finished / "encoder"))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    with pytest.raises(WeightsError, match="exported --to safetensors only"):
        export(finished, "onnx", FilmSize(64, 64, 1), tmp_path / "onnx")


def test_several_ranks_are_refused(public: Path, tmp_path: Path) -> None:
    settings = load(PretrainSettings, CONFIG, arguments(public, tmp_path / "run"))
    with pytest.raises(SettingsError, match="trained in one process only"):
        Pretraining(settings)._refuse_ranks()
    done = run_ranks("pretrain", ["--config", str(CONFIG), *arguments(public, tmp_path / "two")], 2, tmp_path / "log")
    assert done.returncode != 0
    assert done.stderr.count("trained in one process only") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_two_ranks_train_a_network_without_batch_norm_as_one_process_does(public: Path, tmp_path: Path) -> None:
    more = [f"encoder={json.dumps(TINY['DINOv2, registers'])}", "optimizer.accumulation=1"]
    train(public, tmp_path / "one", *more)
    words = ["--config", str(CONFIG), *arguments(public, tmp_path / "two", *more)]
    done = run_ranks("pretrain", words, 2, tmp_path / "log")
    assert done.returncode == 0, done.stderr[-2000:]
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-3)
