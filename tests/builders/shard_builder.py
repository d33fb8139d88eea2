"""Public folders written without the shard command, from the specification of the format."""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data_prep.shard_format.content_mask_bits import pack_mask
from data_prep.shard_format.film_codec import encode_film
from data_prep.shard_format.folder_layout import FORMAT_VERSION
from data_prep.shard_format.index_schema import INDEX_SCHEMA


def hexed(*names: object) -> str:
    """A pseudonym of 32 hex digits."""
    return hashlib.sha256(repr(names).encode()).hexdigest()[:32]


def film(
    name: str, values: NDArray[np.uint16], *, mask: NDArray[np.bool_] | None = None, bits: int = 12, **fields: Any
) -> tuple[bytes, dict[str, Any]]:
    """Stream and sidecar of one film whose display is the identity over the range."""
    display = {
        "bits": bits, "value_offset": 0, "value_shift": 0, "slope": 1.0, "intercept": 0.0, "center": None,
        "width": None, "function": "LINEAR", "invert": False, "source": "declared_range", "windows": [], "table": None,
    }  # fmt: skip
    sidecar = {
        "format_version": FORMAT_VERSION, "key": hexed("film", name), "patient": hexed("patient", name),
        "study": hexed("study", name), "series": hexed("series", name), "site": None, "patient_known": True,
        "study_day": None, "split": "train", "body_part": "HAND", "view": "PA", "laterality": None, "sex": None,
        "age_years": None, "manufacturer": None, "model": None, "bits_stored": bits, "photometric": "MONOCHROME2",
        "presentation_intent": None, "rows": values.shape[0], "columns": values.shape[1],
        "source_rows": values.shape[0], "source_columns": values.shape[1], "pixel_spacing_mm": None,
        "pixel_spacing_from": None, "display": display, "content_mask": "" if mask is None else pack_mask(mask),
        "content_mask_version": 1, "pixel_sha256": hashlib.sha256(values.tobytes()).hexdigest(),
    }  # fmt: skip
    return encode_film(values), sidecar | fields


def write_public(folder: Path, films: list[tuple[bytes, dict[str, Any]]], *, per_shard: int = 8) -> Path:
    """Write a complete public folder."""
    folder.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    shards: dict[str, str] = {}
    for start in range(0, len(films), per_shard):
        name = f"train-{start // per_shard:06d}.tar"
        rows += _write_tar(folder / name, films[start : start + per_shard])
        shards[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    pq.write_table(pa.Table.from_pylist(rows, schema=INDEX_SCHEMA), folder / "index.parquet")
    splits = [row["split"] for row in rows]
    card = {
        "format_version": FORMAT_VERSION, "dataset_sha256": hexed(*shards.values()) * 2, "config": {},
        "config_sha256": "0" * 64, "key_fingerprint": "0" * 32,
        "files": {"written": len(films), "rejected": 0, "dropped": 0}, "reasons": {},
        "films": {split: splits.count(split) for split in ("train", "val", "test")},
        "patients": {"train": 0, "val": 0, "test": 0}, "shards": shards, "deidentification": {},
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(card))
    return folder


def _write_tar(path: Path, films: list[tuple[bytes, dict[str, Any]]]) -> list[dict[str, Any]]:
    rows = []
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for stream, sidecar in films:
            place: dict[str, int] = {}
            for kind, suffix, data in (("film", "j2c", stream), ("sidecar", "json", json.dumps(sidecar).encode())):
                member = tarfile.TarInfo(f"{sidecar['key']}.{suffix}")
                member.size = len(data)
                place |= {f"{kind}_offset": tar.offset + 512, f"{kind}_size": len(data)}
                tar.addfile(member, io.BytesIO(data))
            display = sidecar["display"]
            rows.append(
                {name: sidecar[name] for name in INDEX_SCHEMA.names if name in sidecar}
                | place
                | {"shard": path.name, "display_source": display["source"], "display_invert": display["invert"]}
            )
    return rows


def noise(rows: int, columns: int, seed: int = 0, bits: int = 12) -> NDArray[np.uint16]:
    """A film of smooth noise."""
    coarse = np.random.default_rng(seed).random((max(2, rows // 8), max(2, columns // 8)), dtype=np.float32)
    return (cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_LINEAR) * (2**bits - 1)).astype(np.uint16)
