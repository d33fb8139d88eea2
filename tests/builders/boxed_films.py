"""Public folders of films with bright squares, their labels and boxes."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.shard_format.label_schema import BOXES_SCHEMA, LABELS_SCHEMA
from tests.builders.shard_builder import film, hexed, noise, write_public

SHAPES = [(160, 128), (128, 176), (144, 144)]
SPLITS = ["train"] * 4 + ["val", "test"]


def said(name: str, value: str, label: str = "object", **more: Any) -> dict[str, Any]:
    return {"key": hexed("film", name), "label": label, "value": value, "source": "expert"} | more


def boxed(name: str, box: tuple[float, ...], label: str = "object", **more: Any) -> dict[str, Any]:
    edges = dict(zip(("x_min", "y_min", "x_max", "y_max"), box, strict=True))
    return {"key": hexed("film", name), "label": label, "source": "expert"} | edges | more


def write_tables(folder: Path, labels: list[dict[str, Any]], boxes: list[dict[str, Any]]) -> None:
    for name, rows, schema in (("labels", labels, LABELS_SCHEMA), ("boxes", boxes, BOXES_SCHEMA)):
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / f"{name}.parquet")


def write_boxed(folder: Path, films: int = 60) -> Path:
    """Films of two per patient, half of them with one or two bright squares of 14 to 30 source pixels."""
    made, labels, boxes = [], [], []
    for number in range(films):
        draws, name = np.random.default_rng(number), f"f{number}"
        shape = SHAPES[number % 3]
        values = noise(*shape, seed=number) // 3
        present = bool(draws.random() < 0.5)
        for _ in range(int(draws.integers(1, 3)) if present else 0):
            high, wide = draws.integers(7, 16, 2)
            top, left = draws.integers(4, 90, 2)
            values[top : top + high, left : left + wide] = 4095
            boxes.append(boxed(name, (2 * left, 2 * top, 2 * (left + wide), 2 * (top + high))))
        labels.append(said(name, "present" if present else "absent"))
        patient = number // 2
        fields = {"patient": hexed("patient", patient), "split": SPLITS[patient % len(SPLITS)]}
        fields |= {"source_rows": 2 * shape[0], "source_columns": 2 * shape[1]}
        made.append(film(name, values, body_part=["HAND", "SKULL"][number % 2], **fields))
    write_public(folder, made)
    write_tables(folder, labels, boxes)
    return folder
