"""One encoder gives one vector of a film, whichever way it is asked for, and by default its own."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray

from data_prep.settings import load
from launch import embed as launch_embed
from mae_rad.data.film_order import StepRange
from mae_rad.data.patch_layout import film_layout
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.data.views import stack, whole_film
from mae_rad.embedding.embeddings_file import read_table_metadata
from mae_rad.embedding.film_vector import VectorSettings, film_vectors, vector_settings
from mae_rad.embedding.mlflow_encoder import _load_pyfunc
from mae_rad.encoders import precision as machine
from mae_rad.encoders.vit import EncoderSettings, build_encoder
from mae_rad.errors import EvaluationError
from mae_rad.evaluation.comparison.candidates import find_candidates
from mae_rad.evaluation.comparison.embed_candidates import embed_all_candidates
from mae_rad.evaluation.comparison.settings import CompareSettings
from mae_rad.export.encoder_card import EncoderCard
from mae_rad.export.encoder_folder import load_encoder, read_card, save_encoder
from mae_rad.finetuning.run import Finetuning
from mae_rad.finetuning.task.settings import FinetuneSettings
from mae_rad.pretraining.online_probe import online_probe
from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.training.deepspeed_engine import join_ranks
from tests.builders.tiny_finetuning import arguments, write_labelled
from tests.builders.trained_run import stir

SHAPE = {"model": "vit_tiny", "dim": 32, "depth": 2, "heads": 2, "patch": 16}
Vectors = dict[str, NDArray[np.float32]]


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("shards") / "public", films=72)


def _run(folder: Path, pool: str, tokens: int, *, precision: str = "f32", vector: str | None = None) -> Path:
    """A run folder whose encoder has weights that differ from their initial values."""
    torch.manual_seed(0)
    settings = EncoderSettings.model_validate(SHAPE | {"pool": pool, "vector": vector})
    encoder = build_encoder(settings)
    stir(encoder)
    save_encoder(encoder, settings, folder / "encoder", tokens=tokens, precision=precision, provenance={})  # type: ignore[arg-type]
    return folder


def _embed_command(run: Path, public: Path, out: Path, *more: str) -> Vectors:
    assert launch_embed.main([str(run), f"shards={public}", f"out={out}", "workers=0", "processes=1", *more]) == 0
    table = pq.read_table(out)
    keys = table.column("key").to_pylist()
    return dict(zip(keys, np.array(table.column("embedding").to_pylist(), np.float32), strict=True))


def _compared(run: Path, public: Path, out: Path) -> Vectors:
    words = [f"shards={public}", f"out={out}", "pixel_components=0", "random_seeds=[0]", "runtime.workers=0"]
    settings = load(CompareSettings, None, [*words, "runtime.processes=1"])
    index = ShardIndex([public], split=None)
    candidates = find_candidates([run], settings, index.dataset_sha256)
    rows = np.arange(len(index))
    trained, floor = embed_all_candidates(candidates, settings, index, training_rows=rows, token_rows=None)
    assert floor.tokens_and_pool(settings.choices[0]) == trained.tokens_and_pool(settings.choices[0])
    vectors = trained.vectors(settings.choices[0], rows).array()
    return {index.key(row): vectors[row] for row in rows}


def _frozen_features(run: Path, public: Path, out: Path, pool: str) -> Vectors:
    words = arguments(public, out, f"start_from={run}", "encoder=null", "film={}", "adaptation.encoder=frozen")
    settings = load(FinetuneSettings, Path(words[1]), [*words[2:], f"task.pool={pool}"])
    work, ranks = Finetuning(settings), join_ranks(1, 60)
    model = work.build_model(ranks)
    pooling = model.head.pooling
    kept = work._encode_films(StepRange(0, 1, ranks.rank, ranks.world, 1), torch.device("cpu"))
    index = ShardIndex([public], split=None)
    return {
        index.key(row): pooling(type(film)(*(part[None] for part in film)))[0].numpy() for row, film in kept.items()
    }


def _served(run: Path, public: Path) -> Vectors:
    members: dict[str, bytes] = {}
    for shard in sorted(public.glob("*.tar")):
        with tarfile.open(shard) as tar:
            members |= {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    keys = [name.removesuffix(".json") for name in members if name.endswith(".json")]
    films, sidecars = ([members[f"{key}.{kind}"] for key in keys] for kind in ("j2c", "json"))
    answer = _load_pyfunc(str(run / "encoder")).predict(
        {"film": films, "sidecar": [sidecar.decode() for sidecar in sidecars]}
    )
    return dict(zip(keys, answer, strict=True))


def _probed(run: Path, public: Path, out: Path, pool: str, tokens: int) -> Vectors:
    settings = load(PretrainSettings, None, [
        f"data.shards=[{public}]", f"encoder={SHAPE | {'pool': pool}}", "precision=f32",
        f"objective={{name: mae, tokens: {tokens}}}", "optimizer={steps: 3, batch: 2}",
        f"runtime={{run_dir: {out}, probe_every: 1}}",
    ])  # fmt: skip
    probe = online_probe(settings)
    assert probe is not None
    index = ShardIndex([public], split="val")
    order = np.concatenate([places for places, _ in probe.batches])
    assert len(order) == len(index)  # so that places are rows
    vectors = probe.vectors(load_encoder(run / "encoder")[0].train(), torch.device("cpu"), "f32")
    return {index.key(row): vectors[row] for row in range(len(index))}


@torch.no_grad()
def _expected(run: Path, public: Path, pool: str, tokens: int) -> Vectors:
    """As the definitions have it: one film at a time, the class token or the mean of the patch tokens."""
    encoder, _ = load_encoder(run / "encoder")
    index = ShardIndex([public], split=None)
    out = {}
    for row in range(len(index)):
        features = encoder(stack([whole_film(index.film(row), tokens, 16)]))
        out[index.key(row)] = (features.cls[0] if pool == "cls" else features.tokens[0].mean(0)).numpy()
    return out


@pytest.mark.parametrize("tokens", [36, 64])
@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_every_path_gives_the_same_vector_of_a_film(public: Path, tmp_path: Path, pool: str, tokens: int) -> None:
    run = _run(tmp_path / "run", pool, tokens)
    expected = _expected(run, public, pool, tokens)
    paths = {
        "embed": _embed_command(run, public, tmp_path / "embeddings.parquet"),
        "compare": _compared(run, public, tmp_path / "comparison"),
        "frozen": _frozen_features(run, public, tmp_path / "finetuning", pool),
        "served": _served(run, public),
        "probe": _probed(run, public, tmp_path / "pretraining", pool, tokens),
    }
    counts = {name: len(vectors) for name, vectors in paths.items()}
    assert counts == {"embed": 72, "compare": 72, "frozen": 60, "served": 72, "probe": 12}  # without test; val alone
    for name, vectors in paths.items():
        for key, vector in vectors.items():
            np.testing.assert_allclose(vector, expected[key], rtol=0, atol=1e-6, err_msg=name)
    settings = json.loads(read_table_metadata(tmp_path / "embeddings.parquet")["settings"])
    assert (settings["tokens"], settings["pool"], settings["precision"]) == (tokens, pool, "f32")


@torch.no_grad()
def _expected_of_blocks(run: Path, public: Path, tokens: int) -> Vectors:
    """Mean and deviation of both blocks, of the whole film and of the quarters of its content box, film by film."""
    encoder, _ = load_encoder(run / "encoder")
    index = ShardIndex([public], split=None)
    outputs: list[torch.Tensor] = []
    for block in encoder.blocks:
        block.register_forward_hook(lambda _, inputs, output: outputs.append(encoder.norm(output)[0, 1:]))
    out = {}
    for row in range(len(index)):
        film = index.film(row)
        patches = whole_film(film, tokens, 16)
        outputs.clear()
        encoder(stack([patches]))
        grid = film_layout(film.sidecar.rows, film.sidecar.columns, film.box, tokens, 16).grid
        box, (down, across) = film.box, np.indices(grid).reshape(2, -1)
        part_down = ((down + 0.5) * film.sidecar.rows / grid[0] - box.top) / box.rows * 2 // 1
        part_across = ((across + 0.5) * film.sidecar.columns / grid[1] - box.left) / box.columns * 2 // 1
        chosen = [(part_down == r) & (part_across == c) for r in range(2) for c in range(2)]
        chosen = [np.ones(len(down), dtype=np.bool_), *chosen]
        features = [output.numpy() for output in outputs]
        parts = [measure(block[rows], axis=0) for block in features for measure in (np.mean, np.std) for rows in chosen]
        out[index.key(row)] = np.concatenate(parts)
    return out


def test_every_path_gives_the_same_vector_of_several_blocks_deviations_and_regions(
    public: Path, tmp_path: Path
) -> None:
    vector = "mean+deviation of blocks 1 2 and 2 x 2 regions"
    run = _run(tmp_path / "run", "cls", 64, vector=vector)
    expected = _expected_of_blocks(run, public, 64)
    paths = {
        "embed": _embed_command(run, public, tmp_path / "embeddings.parquet"),
        "compare": _compared(run, public, tmp_path / "comparison"),
        "served": _served(run, public),
        "probe": _probed(run, public, tmp_path / "pretraining", "cls", 64),
    }
    for name, vectors in paths.items():
        for key, values in vectors.items():
            assert values.shape == (2 * 2 * 5 * 32,)
            np.testing.assert_allclose(values, expected[key], rtol=0, atol=2e-6, err_msg=name)
    settings = json.loads(read_table_metadata(tmp_path / "embeddings.parquet")["settings"])
    assert settings["pool"] == vector
    plain = _run(tmp_path / "plain", "cls", 64)
    asked = _embed_command(plain, public, tmp_path / "asked.parquet", f"pool={vector}")
    for key, values in asked.items():
        np.testing.assert_allclose(values, expected[key], rtol=0, atol=2e-6)


def test_a_pooling_with_a_block_that_the_encoder_lacks_is_refused(
    public: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = _run(tmp_path / "run", "mean", 36), tmp_path / "e.parquet"
    assert launch_embed.main([str(run), f"shards={public}", f"out={out}", "pool=mean of blocks 1 3"]) == 2
    assert "names block 3 of 2. Name blocks from 1 to 2." in capsys.readouterr().err
    settings = load(CompareSettings, None, [f"shards={public}", f"out={out}", "pools=[mean of block 3]"])
    with pytest.raises(EvaluationError, match="names block 3 of 2"):
        find_candidates([run], settings, "")


def test_given_settings_override_the_card(public: Path, tmp_path: Path) -> None:
    run = _run(tmp_path / "run", "cls", 64)
    vectors = _embed_command(run, public, tmp_path / "e.parquet", "tokens=36", "pool=mean")
    for key, vector in _expected(run, public, "mean", 36).items():
        np.testing.assert_allclose(vectors[key], vector, rtol=0, atol=1e-6)
    card = read_card(run / "encoder")
    assert vector_settings(card) == VectorSettings(64, "cls", "f32")
    assert vector_settings(card, tokens=36, pool="cls_mean", precision="bf16") == VectorSettings(36, "cls_mean", "bf16")


def test_both_pools_together_are_the_class_token_then_the_mean(public: Path, tmp_path: Path) -> None:
    encoder, _ = load_encoder(_run(tmp_path / "run", "mean", 36) / "encoder")
    patches = stack([whole_film(ShardIndex([public], split=None).film(0), 36, 16)])
    both = film_vectors(encoder, patches, "cls_mean")
    assert torch.equal(both, torch.cat([film_vectors(encoder, patches, pool) for pool in ("cls", "mean")], dim=1))
    assert torch.equal(film_vectors(encoder, patches), both[:, 32:])
    assert not both.requires_grad


@pytest.mark.parametrize("fast", ["f32", "bf16"])
def test_vectors_of_a_bf16_encoder_are_computed_in_bf16_only_if_it_is_fast(
    tmp_path: Path, fast: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {machine._FAST_BF16[0]: fast == "bf16"}, raising=False)
    for precision, expected in (("bf16", fast), ("f32", "f32")):
        run = _run(tmp_path / precision, "mean", 36, precision=precision)
        assert vector_settings(read_card(run / "encoder")).precision == expected


def test_a_card_from_before_pool_and_precision_were_stated_is_read() -> None:
    shape = {"model": "vit_tiny", "patch": 16, "mean": 0.5, "std": 0.25}
    card = EncoderCard.model_validate({
        "encoder": shape, "preprocessing": {"tokens": 256, "patch": 16, "mean": 0.5, "std": 0.25},
        "provenance": {}, "parameters": 1, "weights_sha256": "0" * 64,
    })  # fmt: skip
    assert vector_settings(card) == VectorSettings(256, "mean", machine.fast_precision())
