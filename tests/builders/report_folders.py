"""A private folder of a few studies and the public folder of their films, without pixels."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.archive.manifest import LINKAGE_SCHEMA, MANIFEST_SCHEMA, with_fingerprint, write_manifest
from data_prep.shard_format.dataset_card import DatasetCard, FileCounts
from data_prep.shard_format.folder_layout import FORMAT_VERSION
from data_prep.shard_format.index_schema import INDEX_SCHEMA


class Film(NamedTuple):
    """One film; ``study`` is the letter that its identifiers are made of."""

    key: str
    study: str
    body_part: str | None = "WRIST"
    side: str | None = None
    patient: str = ""
    written: bool = True
    accession: str = ""

    def linkage(self, row: int) -> dict[str, object]:
        """Its private row."""
        return {
            "row": row,
            "path": f"/archive/MARNOSCH_{self.study}/IM{row:04d}.dcm",
            "sop_instance_uid": f"1.2.826.{row}",
            "study_uid": f"1.2.826.77.{ord(self.study)}",
            "accession": self.accession or f"ACC{self.study}",
            "patient_id": self.patient or f"MRN-{self.study}",
            "key": self.key,
        }


FILMS = (
    Film("a1", "A", "WRIST", "R"),
    Film("a2", "A", "HAND", "R"),
    Film("b1", "B", "CHEST"),
    Film("c1", "C", "KNEE", "L", patient="MRN-B"),
    Film("d1", "D", "CHEST", written=False),
    Film("e1", "E", None, accession="ACCA2"),
)


def write_folders(folder: Path, films: Sequence[Film] = FILMS) -> tuple[Path, Path]:
    """(PRIVATE, PUBLIC)."""
    private, public = folder / "private", folder / "public"
    manifest = [
        {"row": row, "source": "dicom", "key": film.key, "study": f"study{film.study}"}
        for row, film in enumerate(films)
    ]
    write_manifest(
        private,
        with_fingerprint(pa.Table.from_pylist(manifest, MANIFEST_SCHEMA), "fp"),
        pa.Table.from_pylist([film.linkage(row) for row, film in enumerate(films)], LINKAGE_SCHEMA),
    )
    public.mkdir()
    rows = [
        {"key": film.key, "study": f"study{film.study}", "body_part": film.body_part, "laterality": film.side}
        for film in films
        if film.written
    ]
    pq.write_table(pa.Table.from_pylist(rows, INDEX_SCHEMA), public / "index.parquet")
    card = DatasetCard(
        format_version=FORMAT_VERSION, dataset_sha256="0", config={}, config_sha256="0", key_fingerprint="fp",
        files=FileCounts(written=len(rows), rejected=len(films) - len(rows), dropped=0), reasons={},
        films={"train": len(rows)}, patients={"train": 4}, shards={}, deidentification={},
    )  # fmt: skip
    (public / "dataset.json").write_text(card.model_dump_json())
    return private, public
