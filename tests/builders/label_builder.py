"""A private and a public folder of four films, with the tables that labelling reads but without pixels."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.archive.manifest import LINKAGE_SCHEMA, MANIFEST_SCHEMA, with_fingerprint, write_manifest
from data_prep.labels.settings import LabelSettings
from data_prep.labels.write_labels import LabelFiles, LabelSummary, write_labels
from data_prep.settings import load
from data_prep.shard_format.dataset_card import DatasetCard, FileCounts
from data_prep.shard_format.folder_layout import FORMAT_VERSION
from data_prep.shard_format.index_schema import INDEX_SCHEMA

FILMS = {
    # sop_instance_uid: (path, key, in the shards)
    "1.2.826.111": ("/archive/MARNOSCH_A/s1/IM0001", "aaaa", True),
    "1.2.826.222": ("/archive/MARNOSCH_A/s2/IM0001", "bbbb", True),
    "1.2.826.333": ("/archive/TORVARK_B/s1/IM0007.dcm", "cccc", False),
    "1.2.826.444": ("/archive/TORVARK_B/s1/broken", None, False),
}
ROWS, COLUMNS = 300, 200
PATIENTS = {"aaaa": "p1", "bbbb": "p2"}


class Folders:
    """Both folders, and the command.

    Attributes:
        private, public: the folders.
        here: where tables are written.
    """

    def __init__(self, here: Path) -> None:
        self.here, self.private, self.public = here, here / "private", here / "public"
        names = ("sop_instance_uid", "path", "key")
        linkage = [
            {"row": row} | dict(zip(names, (uid, path, key), strict=True))
            for row, (uid, (path, key, _)) in enumerate(FILMS.items())
        ]
        raster = {"rows": ROWS, "columns": COLUMNS}
        manifest = [{"row": row["row"], "source": "dicom", "key": row["key"], **raster} for row in linkage]
        write_manifest(
            self.private,
            with_fingerprint(pa.Table.from_pylist(manifest, MANIFEST_SCHEMA), "fp"),
            pa.Table.from_pylist(linkage, LINKAGE_SCHEMA),
        )
        self.public.mkdir()
        index = [
            {"key": key, "patient": PATIENTS[key], "split": "train", "body_part": "HAND"}
            | {"source_rows": ROWS, "source_columns": COLUMNS, "rows": ROWS // 2, "columns": COLUMNS // 2}
            for _, key, written in FILMS.values()
            if written
        ]
        pq.write_table(pa.Table.from_pylist(index, INDEX_SCHEMA), self.public / "index.parquet")
        self.write_card("fp")

    def write_card(self, fingerprint: str) -> None:
        """``dataset.json`` of shards that were made with the secret of ``fingerprint``."""
        card = DatasetCard(
            format_version=FORMAT_VERSION,
            dataset_sha256="0",
            config={},
            config_sha256="0",
            key_fingerprint=fingerprint,
            files=FileCounts(written=2, rejected=2, dropped=0),
            reasons={},
            films={"train": 2},
            patients={"train": 2},
            shards={},
            deidentification={},
        )
        (self.public / "dataset.json").write_text(card.model_dump_json())

    def write(self, name: str, text: str | None) -> list[Path]:
        """A file, if there is a text for it."""
        if text is None:
            return []
        path = self.here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return [path]

    def run(self, labels: str | None = None, boxes: str | None = None, *overrides: str) -> LabelSummary:
        """Label with tables of these texts."""
        return self.label(LabelFiles(self.write("labels.csv", labels), self.write("boxes.csv", boxes)), *overrides)

    def label(self, files: LabelFiles, *overrides: str) -> LabelSummary:
        """Label with files."""
        return write_labels(self.private, self.public, files, load(LabelSettings, None, overrides))

    def labels(self) -> list[tuple[object, ...]]:
        """Key, label, value and reader of all labels."""
        rows = pq.read_table(self.public / "labels.parquet").to_pylist()
        return [(row["key"], row["label"], row["value"], row["reader"]) for row in rows]

    def boxes(self) -> list[tuple[object, ...]]:
        """Key, label, edges and reader of all boxes."""
        rows = pq.read_table(self.public / "boxes.parquet").to_pylist()
        return [
            (row["key"], row["label"], *(row[edge] for edge in ("x_min", "y_min", "x_max", "y_max")), row["reader"])
            for row in rows
        ]
