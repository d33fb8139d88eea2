"""Public folders with tables only, as a comparison reads them."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from data_prep.shard_format.folder_layout import FORMAT_VERSION
from data_prep.shard_format.index_schema import INDEX_SCHEMA
from data_prep.shard_format.label_schema import LABELS_SCHEMA
from mae_rad.data.shard_reader import ShardIndex


def hexed(*names: object) -> str:
    """A pseudonym of 32 hex digits."""
    return hashlib.sha256(repr(names).encode()).hexdigest()[:32]


def film(name: object, patient: object, split: str, **fields: Any) -> dict[str, Any]:
    """One row of index.parquet."""
    row: dict[str, Any] = dict.fromkeys(INDEX_SCHEMA.names)
    numbers = dict.fromkeys(("film_offset", "film_size", "sidecar_offset", "sidecar_size"), 0)
    keys = {"key": hexed("film", name), "patient": hexed("patient", patient), "study": hexed("study", patient)}
    keys["pixel_sha256"] = 2 * hexed("pixels", name)
    return row | numbers | keys | {"shard": f"{split}-000000.tar", "split": split, "patient_known": True} | fields


def write_public(folder: Path, films: list[dict[str, Any]], labels: Iterable[tuple[Any, ...]] = ()) -> Path:
    """Write index.parquet, labels.parquet (key, label, value, source, number where given) and dataset.json."""
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(films, schema=INDEX_SCHEMA), folder / "index.parquet")
    rows = [dict(zip(("key", "label", "value", "source", "number"), label, strict=False)) for label in labels]
    if rows:
        pq.write_table(pa.Table.from_pylist(rows, schema=LABELS_SCHEMA), folder / "labels.parquet")
    per_split = {split: sum(row["split"] == split for row in films) for split in ("train", "val", "test")}
    card = {
        "format_version": FORMAT_VERSION, "dataset_sha256": hexed(*(row["key"] for row in films)) * 2, "config": {},
        "config_sha256": "0" * 64, "key_fingerprint": "0" * 32, "reasons": {}, "films": per_split,
        "files": {"written": len(films), "rejected": 0, "dropped": 0}, "patients": per_split, "shards": {},
        "deidentification": {},
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(card))
    return folder


def write_run(folder: Path, shards: Sequence[Path], **config: Any) -> Path:
    """A run folder as far as it tells what was trained on."""
    folder.mkdir(parents=True, exist_ok=True)
    data = {"shards": [str(path) for path in shards], **config.pop("data", {})}
    (folder / "config.yaml").write_text(yaml.safe_dump({"data": data, **config}))
    sha256 = ShardIndex(shards, split=None, generations=data.get("generations")).dataset_sha256
    (folder / "run.json").write_text(json.dumps({"dataset_sha256": sha256}))
    return folder
