"""Films that show a number by their brightness and a view by its third, and a finetuning of them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.shard_format.label_schema import LABELS_SCHEMA
from tests.builders.shard_builder import film, hexed, noise, write_public
from tests.builders.tiny_finetuning import SHAPES, SPLITS

ROOT = Path(__file__).resolve().parents[2]
VIEWS = ("AP", "LATERAL", "PA")


def write_numbered(folder: Path, films: int = 96) -> Path:
    """Two films per patient: ``age`` of labels.parquet, 0 to 89, unknown of every ninth; ``view`` by thirds of it."""
    made, rows = [], []
    for number in range(films):
        draws = np.random.default_rng(number)
        age = float(draws.integers(0, 90))
        view = VIEWS[int(age // 30)]
        values = noise(*SHAPES[number % 3], seed=number) // 8 + 500 + round(30 * age)
        if number % 9:
            rows.append({"key": hexed("film", f"f{number}"), "label": "age", "number": age, "source": "expert"})
        patient = number // 2
        fields = {"patient": hexed("patient", patient), "split": SPLITS[patient % len(SPLITS)]}
        made.append(film(f"f{number}", values.astype(np.uint16), **fields | {"view": view, "age_years": int(age)}))
    write_public(folder, made)
    pq.write_table(pa.Table.from_pylist(rows, schema=LABELS_SCHEMA), folder / "labels.parquet")
    return folder


def arguments(public: Path, run: Path, config: str, *more: str) -> list[str]:
    """Of ``launch/finetune.py`` with a config of configs/finetune: 8 films a step, from scratch."""
    return [
        "--config", str(ROOT / "configs" / "finetune" / config), "precision=f32", f"data.shards=[{public}]",
        "start_from=null", "encoder={model: vit_tiny, dim: 32, depth: 1, heads: 2, patch: 16}",
        "film={tokens: 36}", "adaptation={encoder: finetuned, layer_decay: 1}",
        "optimizer={steps: 20, batch: 8, base_learning_rate: 0.1, warmup_fraction: 0.5}",
        "evaluation={every: 10, repetitions: 100}",
        f"runtime={{run_dir: {run}, workers: 0, threads: 1, log_every: 1, checkpoint_every: 10, timeout_seconds: 60}}",
        *more,
    ]  # fmt: skip
