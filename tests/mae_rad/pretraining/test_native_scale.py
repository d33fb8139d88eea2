"""A masked autoencoder at native scale, patch 48: resumed bit for bit, and the same scale wherever it is used."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from data_prep.settings import load
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.data.views import stack, whole_film
from mae_rad.data.whole_films import whole_film_batches
from mae_rad.embedding.embed_run import embed_table
from mae_rad.embedding.embeddings_file import read_embeddings
from mae_rad.embedding.film_vector import film_vectors
from mae_rad.encoders.vit import EncoderSettings, build_encoder
from mae_rad.export.encoder_folder import load_encoder
from mae_rad.pretraining.run import pretrain
from mae_rad.pretraining.settings import PretrainSettings
from tests.builders.shard_builder import film, noise, write_public
from tests.builders.tiny_run import arguments

PATCH, STEPS = 48, 4
NATIVE = (
    f"encoder={{model: vit_tiny, dim: 32, depth: 2, heads: 2, patch: {PATCH}, scale: native}}",
    "objective.tokens=16", "precision=f32", "runtime.checkpoint_every=1", "runtime.keep_checkpoints=9",
)  # fmt: skip
SHAPES = [(200, 300), (500, 250), (240, 240), (300, 200), (96, 700), (200, 300), (500, 250)]


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    films = [film(f"f{number}", noise(*SHAPES[number % 7], seed=number)) for number in range(21)]
    films += [film(f"v{number}", noise(260, 310, seed=90 + number), split="val") for number in range(2)]
    return write_public(tmp_path_factory.mktemp("shards") / "public", films)


def run(public: Path, folder: Path, *more: str) -> Path:
    _, path, *overrides = arguments(public, folder, STEPS, *NATIVE, *more)
    pretrain(load(PretrainSettings, Path(path), overrides))
    return folder


@pytest.fixture(scope="module")
def whole(public: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(public, tmp_path_factory.mktemp("runs") / "whole", "runtime.pictures=1", "runtime.picture_every=4")


def test_an_interrupted_run_ends_in_the_same_weights(
    public: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mae_rad.training.deepspeed_engine import Engine

    forward, taken = Engine.forward, []

    def interrupted(self: Any, batch: Any) -> Any:
        taken.append(batch)
        if len(taken) == 3:
            raise KeyboardInterrupt
        return forward(self, batch)

    with monkeypatch.context() as patched:
        patched.setattr(Engine, "forward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(public, tmp_path / "run")
    run(public, tmp_path / "run")
    first, second = ((folder / "metrics.jsonl").read_text().splitlines() for folder in (whole, tmp_path / "run"))
    assert [json.loads(line)["loss"] for line in second] == [json.loads(line)["loss"] for line in first]
    expected, weights = (load_file(folder / "encoder" / "encoder.safetensors") for folder in (whole, tmp_path / "run"))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_the_card_states_the_scale_and_embedding_uses_it(public: Path, whole: Path, tmp_path: Path) -> None:
    encoder, card = load_encoder(whole / "encoder")
    assert card.encoder.film_scale.native
    assert "at the size of its shard" in (whole / "encoder" / "README.md").read_text()
    out = embed_table(
        whole, shards=[public], out=tmp_path / "e.parquet", tokens=None, pool=None, precision="f32", batch_size=4,
        workers=0, processes=1,
    )  # fmt: skip
    index = ShardIndex([public], split=None)
    table = read_embeddings(out, index, tmp_path / "cache").vectors("mean")
    native = index.at_scale(card.encoder.film_scale)
    for row in range(0, len(index), 5):
        patches = stack([whole_film(native.film(row), 16, PATCH)])
        assert patches.values.shape[1] == np.prod([-(-side // PATCH) for side in native.film(row).displayed().shape])
        vector = film_vectors(encoder, patches, "mean")[0].numpy()
        np.testing.assert_allclose(table[row], vector, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_features_do_not_depend_on_the_films_of_the_batch(public: Path, dtype: torch.dtype, tolerance: float) -> None:
    settings = EncoderSettings(model="vit_tiny", dim=32, depth=3, heads=2, patch=PATCH, scale="native")
    torch.manual_seed(0)
    encoder = build_encoder(settings).to(dtype).eval()
    index = ShardIndex([public], split=None).at_scale(settings.film_scale)
    groups = list(whole_film_batches(index, tokens=16, patch=PATCH, batch=6, workers=0))
    assert len({len(rows) for rows, _ in groups}) > 1
    with torch.no_grad():
        packed = encoder([patches for _, patches in groups])
        for (rows, patches), together in zip(groups, packed, strict=True):
            alike = encoder(patches)
            for place, row in enumerate(rows):
                alone = encoder(stack([whole_film(index.film(row), 16, PATCH)]))
                for features in (together, alike):
                    for name in ("tokens", "cls", "pooled"):
                        difference = getattr(features, name)[place] - getattr(alone, name)[0]
                        assert difference.abs().max() <= tolerance
