"""Small folders in the layouts of public data sets, and the results of their scans."""

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from data_prep.archive.manifest import LINKAGE_FILE, MANIFEST_FILE
from data_prep.labels.write_labels import LabelSummary, write_labels
from data_prep.runtime.secret_environment import SECRET_VARIABLE
from data_prep.scan.scan import scan
from data_prep.scan.scan_summary import ScanSummary
from data_prep.scan.settings import ScanSettings
from data_prep.sharding.shard import shard
from tests.builders.private_builder import SECRET, settings

Edges = tuple[float, float, float, float]


def film(name: object, rows: int = 60, columns: int = 48, bright: Edges | None = None) -> NDArray[np.uint8]:
    """Dark noise, different for every name, with a bright rectangle where one is wanted."""
    values = np.random.default_rng(sum(repr(name).encode())).integers(10, 60, (rows, columns), dtype=np.uint8)
    if bright is not None:
        x_min, y_min, x_max, y_max = map(int, bright)
        values[y_min:y_max, x_min:x_max] = 220
    return values


def save(path: Path, values: NDArray[Any] | None = None, orientation: int = 1) -> None:
    """Write a PNG or JPEG from upright ``values``, stored as its EXIF orientation requires."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = film(str(path)) if values is None else values
    exif = Image.Exif()
    if orientation != 1:
        exif[0x0112] = orientation
    stored = turned(values, orientation)
    picture = Image.fromarray(stored)
    if path.suffix == ".png":
        picture.save(path)
    else:
        picture.save(path, "JPEG", quality=95, exif=exif)


def turned(values: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The stored raster of which a viewer makes ``values`` (EXIF 2.32, figure of tag 0x0112), written out by hand."""
    stored = {
        1: values,
        2: values[:, ::-1],
        3: values[::-1, ::-1],
        4: values[::-1],
        5: values.T,
        6: np.rot90(values, 1),  # the viewer turns it clockwise
        7: values[::-1, ::-1].T,
        8: np.rot90(values, -1),
    }[orientation]
    return np.ascontiguousarray(stored)


def write(path: Path, lines: str | Sequence[str]) -> None:
    """Write a text file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(lines if isinstance(lines, str) else "\n".join(lines) + "\n", encoding="utf-8")


class Scanned:
    """A scanned set.

    Attributes:
        summary: as the command prints it.
        facts: path below the archive → row of the manifest, with the patient's number.
        labels: (path below the archive, label) → (value or number, source, confidence), the expert's first.
        boxes: (path below the archive, label) → (edges, reader).
        splits: patient → split.
        problems: problem → how often.
    """

    def __init__(self, archive: Path, monkeypatch: pytest.MonkeyPatch, **chosen: object) -> None:
        monkeypatch.setenv(SECRET_VARIABLE, SECRET)
        self.archive, self.private = archive, archive.parent / "private"
        self.summary: ScanSummary = scan([archive], self.private, ScanSettings.model_validate({"workers": 1, **chosen}))
        linkage = pq.read_table(self.private / LINKAGE_FILE).to_pylist()
        manifest = pq.read_table(self.private / MANIFEST_FILE).to_pylist()
        self.facts = {
            self._below(place["path"]): row | {"patient_id": place["patient_id"]}
            for place, row in zip(linkage, manifest, strict=True)
            if row["reason"] is None
        }
        self.labels: dict[tuple[str, str], tuple[str, str, float]] = {
            (self._below(row["path"]), row["label"]): (
                row["value"] or row["number"],
                row["source"],
                float(row["confidence"]),
            )
            for row in reversed(self._table("labels.csv"))  # the expert stands before the report
        }
        self.boxes: dict[tuple[str, str], list[tuple[Edges, str]]] = {}
        for row in self._table("boxes.csv"):
            x_min, y_min, x_max, y_max = (float(row[edge]) for edge in ("x_min", "y_min", "x_max", "y_max"))
            found = self.boxes.setdefault((self._below(row["path"]), row["label"]), [])
            found.append(((x_min, y_min, x_max, y_max), row["reader"]))
        self.splits = {row["patient"]: row["split"] for row in self._table("splits.csv")}
        self.problems = Counter(row["problem"] for row in self._table("problems.csv"))

    def value(self, below: str, label: str) -> str:
        """The value of a label."""
        return self.labels[below, label][0]

    def edges(self, below: str, label: str) -> list[Edges]:
        """The boxes of a label."""
        return [edges for edges, _ in self.boxes[below, label]]

    def told(self, below: str, *names: str) -> tuple[object, ...]:
        """Facts of a film."""
        return tuple(self.facts[below][name] for name in names)

    def shards(self, **chosen: object) -> Path:
        """The public folder without labels."""
        public = self.private.parent / "public"
        shard(self.private, public, settings(**{"max_side": "native", "min_side": 16, "films_per_shard": 50, **chosen}))
        return public

    def sharded(self, **chosen: object) -> tuple[Path, LabelSummary]:
        """The public folder with the labels of the set's tables."""
        public = self.shards(**chosen)
        return public, write_labels(self.private, public)

    def index(self, public: Path) -> pa.Table:
        """The public index."""
        return pq.read_table(public / "index.parquet")

    def _below(self, path: str) -> str:
        return Path(path).relative_to(self.archive.resolve()).as_posix()

    def _table(self, name: str) -> list[dict[str, str]]:
        path = self.private / name
        if not path.exists():
            return []
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
