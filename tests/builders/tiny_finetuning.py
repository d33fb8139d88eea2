"""The smallest finetuning: labelled films with visible findings, and the arguments of its command."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.shard_format.label_schema import LABELS_SCHEMA
from tests.builders.shard_builder import film, hexed, noise, write_public

ROOT = Path(__file__).resolve().parents[2]
SHAPES = [(120, 100), (100, 120), (110, 110)]
SPLITS = ["train"] * 4 + ["val", "test"]


def write_labelled(folder: Path, films: int = 72) -> Path:
    """Two films per patient; where ``object`` is present a bright square lies on the film, ``scratch`` a dark one."""
    made, rows = [], []
    for number in range(films):
        draws = np.random.default_rng(number)
        values = noise(*SHAPES[number % 3], seed=number) // 2 + 800
        present = {"object": bool(draws.random() < 0.5), "scratch": bool(draws.random() < 0.4)}
        for (name, there), value in zip(present.items(), (4095, 0), strict=True):
            top, left = draws.integers(10, 60, 2)
            if there:
                values[top : top + 24, left : left + 24] = value
            if name == "object" or number % 5:  # of every fifth film nobody says whether it is scratched
                said = {"label": name, "value": "present" if there else "absent", "source": "expert"}
                rows.append({"key": hexed("film", f"f{number}"), **said})
        patient = number // 2
        fields = {"patient": hexed("patient", patient), "split": SPLITS[patient % len(SPLITS)]}
        fields |= {
            "body_part": ["HAND", "CHEST"][number % 2],
            "sex": ["F", "M", None][patient % 3],
            "age_years": number % 90,
        }
        made.append(film(f"f{number}", values, **fields))
    write_public(folder, made)
    pq.write_table(pa.Table.from_pylist(rows, schema=LABELS_SCHEMA), folder / "labels.parquet")
    return folder


def arguments(public: Path, run: Path, *more: str) -> list[str]:
    """Of ``launch/finetune.py``: 8 films a step, from scratch."""
    return [
        "--config", str(ROOT / "configs" / "finetune" / "foreign_object.yaml"), "precision=f32",
        f"data.shards=[{public}]",
        "start_from=null",
        "encoder={model: vit_tiny, dim: 32, depth: 2, heads: 2, patch: 16}",
        "film={tokens: 36, window: 0.2}", "task.labels=[{label: object}, {label: scratch}]",
        "optimizer={steps: 6, batch: 8, base_learning_rate: 0.03, warmup_fraction: 0.2}",
        "evaluation={every: 2, repetitions: 100}",
        f"runtime={{run_dir: {run}, workers: 0, threads: 1, log_every: 1, checkpoint_every: 2, timeout_seconds: 60}}",
        *more,
    ]  # fmt: skip
