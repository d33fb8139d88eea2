"""Published architectures of timm through contrastive pretraining, embedding, comparison, finetuning and detection."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from data_prep.settings import load
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.embedding.embed_run import embed_table
from mae_rad.embedding.embeddings_file import read_embeddings
from mae_rad.encoders.pooling_name import parse_pooling
from mae_rad.evaluation.comparison.compare_encoders import compare
from mae_rad.evaluation.comparison.settings import CompareSettings
from mae_rad.evaluation.load_inputs import prepare_inputs
from mae_rad.export.encoder_folder import load_encoder, read_card
from mae_rad.export.predictor_folder import load_predictor
from mae_rad.finetuning.run import finetune
from mae_rad.finetuning.task.settings import FinetuneSettings
from mae_rad.pretraining.run import pretrain
from mae_rad.pretraining.settings import PretrainSettings
from tests.builders.boxed_films import boxed, said, write_tables
from tests.builders.shard_builder import film, hexed, noise, write_public
from tests.builders.tiny_finetuning import arguments, write_labelled
from tests.references.timm_networks import TINY

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
ONE = "DINOv2, registers"
OTHERS = [name for name in TINY if name != ONE]
BLOCKS = "mean+deviation of blocks 1 3"


def pretrained(public: Path, run: Path, name: str) -> Path:
    words = [
        f"data.shards=[{public}]", "precision=f32", f"encoder={json.dumps(TINY[name])}",
        "objective={name: simclr, tokens: 16, head_hidden: 16, head_dim: 8}",
        "optimizer={steps: 2, batch: 8, base_learning_rate: 0.03}", "start_from=null",
        f"runtime={{run_dir: {run}, workers: 0, threads: 1, log_every: 1, checkpoint_every: 2, probe_every: 0}}",
    ]  # fmt: skip
    pretrain(load(PretrainSettings, None, words))
    return run


def finetuned(public: Path, run: Path, start: Path) -> Path:
    words = arguments(public, run, f"start_from={start}", "encoder=null", "optimizer.steps=2", "evaluation.every=2")
    finetune(load(FinetuneSettings, Path(words[1]), words[2:]))
    return run


def embedded(public: Path, run: Path, pool: str | None, folder: Path) -> np.ndarray:
    out = embed_table(
        run, shards=[public], out=folder / "table.parquet", tokens=None, pool=pool, precision="f32", batch_size=8,
        workers=0, processes=1,
    )  # fmt: skip
    return np.array(read_embeddings(out, ShardIndex([public], split=None), folder / "cache").vectors("none"))


def compared(public: Path, runs: list[Path], out: Path, pools: list[str]) -> list[Any]:
    words = [
        f"shards=[{public}]", f"out={out}", "repetitions=100", "random_seeds=[0]", "pixel_components=0", "subsets=[]",
        "probes=[linear, attentive]", "analyses=[]", "label_fractions=[1.0]", "tasks=[]", f"pools={json.dumps(pools)}",
        "runtime.workers=0", "runtime.batch_size=8", "min_patients=2",
    ]  # fmt: skip
    return compare(prepare_inputs(runs, load(CompareSettings, CONFIGS / "compare" / "default.yaml", words))).rows


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("shards") / "public", 48)


def check_run(public: Path, name: str, folder: Path) -> Path:
    run = pretrained(public, folder / name.replace(", ", " "), name)
    card = read_card(run / "encoder")
    width = parse_pooling(BLOCKS).width(card.encoder.shape.dim, card.encoder.block_dims)
    (folder / f"of {name}").mkdir()
    vectors = embedded(public, run, BLOCKS, folder / f"of {name}")
    assert vectors.shape == (48, width) and np.isfinite(vectors).all() and vectors.std(axis=0).max() > 0
    predictor = load_predictor(finetuned(public, folder / f"finetuned {run.name}", run))
    assert predictor.card.encoder == card.encoder
    assert load_encoder(folder / f"finetuned {run.name}" / "encoder")[1].encoder == card.encoder
    return run


def test_a_vit_with_registers_goes_through_every_stage(public: Path, tmp_path: Path) -> None:
    run = check_run(public, ONE, tmp_path)
    rows = compared(public, [run], tmp_path / "comparison", ["cls_mean", BLOCKS])
    assert {row.pool for row in rows if row.probe == "linear"} == {"cls_mean", BLOCKS}
    assert {row.probe for row in rows} >= {"linear", "attentive"}


@pytest.mark.slow
def test_every_architecture_goes_through_every_stage(public: Path, tmp_path: Path) -> None:
    runs = [check_run(public, name, tmp_path) for name in OTHERS]
    rows = compared(public, runs, tmp_path / "comparison", ["mean", BLOCKS])
    of_runs = {(row.encoder, row.pool) for row in rows if row.probe == "linear"}
    assert of_runs >= {(run.name, pool) for run in runs for pool in ("mean", BLOCKS)}
    assert len(OTHERS) + 1 >= 8


def write_eight(folder: Path) -> Path:
    """Eight training films of two shapes, each with a bright rectangle, and copies of them as val films of others."""
    made, labels, boxes = [], [], []
    for number in range(16):
        draws = np.random.default_rng(number % 8)
        shape = ((144, 112), (112, 144))[number % 2]
        values = noise(*shape, seed=number % 8) // 3
        high, wide = draws.integers(16, 40, 2)
        top, left = draws.integers(6, 60, 2)
        values[top : top + high, left : left + wide] = 4095
        name = f"f{number}"
        boxes.append(boxed(name, (left, top, left + wide, top + high)))
        labels.append(said(name, "present"))
        split = "train" if number < 8 else "val"
        made.append(film(name, values, patient=hexed("patient", number), split=split, pixel_sha256=f"{number:064x}"))
    write_public(folder, made)
    write_tables(folder, labels, boxes)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ResNet, group norm", "ConvNeXt", "DINOv2, registers"])
def test_boxes_of_eight_films_of_two_shapes_are_learned(name: str, tmp_path: Path) -> None:
    public, run = write_eight(tmp_path / "public"), tmp_path / "run"
    words = [
        "precision=f32", f"data.shards=[{public}]", "start_from=null", "film={tokens: 64}", "adaptation.layer_decay=1",
        f"encoder={json.dumps(TINY[name])}",
        "task={name: detection, labels: [{label: object}], channels: 32, convolutions: 1}",
        "optimizer={steps: 200, batch: 8, base_learning_rate: 0.096, warmup_fraction: 0.1}",
        "evaluation={every: 50, repetitions: 100}",
        f"runtime={{run_dir: {run}, workers: 0, threads: 1, log_every: 50, checkpoint_every: 200}}",
    ]  # fmt: skip
    finetune(load(FinetuneSettings, CONFIGS / "finetune" / "foreign_object_boxes.yaml", words))
    rows = pq.read_table(run / "evaluation" / "results.parquet").to_pylist()
    (ap50,) = [row["value"] for row in rows if (row["split"], row["metric"], row["subset"]) == ("val", "ap50", "all")]
    assert ap50 >= 0.9
