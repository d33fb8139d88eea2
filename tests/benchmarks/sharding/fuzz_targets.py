"""What :mod:`tests.benchmarks.sharding.fuzz_readers` mutates, and how it is read."""

import csv
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from PIL import Image

from data_prep.annotations.settings import ColumnSettings, TableSettings
from data_prep.archive.file_listing import list_files
from data_prep.archive.header_cache import HEADERS_SCHEMA
from data_prep.dataset_report.census import compute_census
from data_prep.errors import FilmReject
from data_prep.folder_url import FolderUrl
from data_prep.labels.settings import LabelSettings
from data_prep.labels.write_labels import LabelFiles, write_labels
from data_prep.object_storage.published_files import read_published
from data_prep.pages.preview_sheet import write_preview
from data_prep.planning.settings import ShardSettings
from data_prep.public_datasets.dataset_tables import layout_hint, read_tables
from data_prep.public_datasets.registry import matching_layouts
from data_prep.radiology_reports.label_reports import label_from_reports
from data_prep.settings import load
from data_prep.shard_format.label_schema import BOXES_SCHEMA, LABELS_SCHEMA
from data_prep.shard_format.label_tables import read_boxes, read_labels
from data_prep.sharding.publish import publish
from data_prep.sharding.single_film import PreparationSettings, read_films
from data_prep.verification.verify import verify
from mae_rad.data.shard_reader import FilmUnreadableError, ShardIndex
from mae_rad.errors import UserError
from mae_rad.export.encoder_folder import load_encoder
from mae_rad.export.predictor_folder import load_predictor
from tests.builders.label_builder import Folders
from tests.builders.processes.object_store import complete
from tests.builders.report_folders import write_folders
from tests.builders.set_builder import save
from tests.builders.shard_builder import film, noise, write_public
from tests.builders.small_predictor import write_predictor
from tests.builders.trained_run import train

_EDGES = "x_min,y_min,x_max,y_max"


@dataclass(frozen=True)
class Target:
    """Files of one kind.

    Attributes:
        name: of the kind.
        write: writes sound files into a new folder.
        read: reads the folder as the commands do; errors of the user are allowed.
        is_mutated: whether a file, named relative to the folder, is mutated.
    """

    name: str
    write: Callable[[Path], object]
    read: Callable[[Path], object]
    is_mutated: Callable[[str], bool] = lambda name: True


def _endings(*endings: str) -> Callable[[str], bool]:
    return lambda name: name.endswith(endings)


def _write_set(folder: Path) -> None:
    """Pictures with COCO, VOC, YOLO and a table of a known set side by side."""
    names = [f"f{number}" for number in range(4)]
    for name in names:
        save(folder / "images" / f"{name}.png")
    images = [{"id": n, "file_name": f"{name}.png", "width": 48, "height": 60} for n, name in enumerate(names)]
    objects = [{"id": n, "image_id": n, "category_id": 1, "bbox": [1, 2, 30, 40], "iscrowd": 0} for n in range(3)]
    coco = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "fracture"}]}
    for part in ("annotations", "labels", "Annotations"):
        (folder / part).mkdir()
    (folder / "annotations" / "instances_train.json").write_text(json.dumps(coco, indent=1))
    (folder / "data.yaml").write_text("names: [fracture, metal]\ntrain: train.txt\nval: images\n")
    for name in names:
        (folder / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.2 0.2\n1 0.4 0.4 0.1 0.1\n")
        box = "<bndbox><xmin>10</xmin><ymin>10</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>"
        text = f"<annotation><filename>{name}.png</filename><size><width>48</width><height>60</height></size>"
        (folder / "Annotations" / f"{name}.xml").write_text(
            f'<?xml version="1.0" encoding="utf-8"?>{text}<object><name>fracture</name>{box}</object></annotation>'
        )
    rows = [f"{name}.png,1,{n},M,044Y" for n, name in enumerate(names)]
    (folder / "films.csv").write_text("\n".join(["path,fracture,patient,sex,age", *rows]))
    (folder / "boxes.csv").write_text(
        "\n".join([f"path,label,{_EDGES}", *(f"{n}.png,fracture,1,2,9,9" for n in names)])
    )
    table = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age\nf0.png,Mass|Nodule,0,1,58\n"
    (folder / "Data_Entry_2017.csv.gz").write_bytes(gzip.compress(table.encode()))


def _read_set(folder: Path) -> None:
    names = sorted(path.name for path in (folder / "images").iterdir())
    facts = {"source": "png", "rows": 60, "columns": 48}
    rows = [{"path": str(folder / "images" / name), "below": f"images/{name}"} | facts for name in names]
    headers = pa.Table.from_pylist(rows, HEADERS_SCHEMA)
    layout_hint([folder], headers)
    columns: dict[str, Any] = {"films": "films.csv", "boxes": "boxes.csv", "labels": {"fracture": "fracture"}}
    columns["facts"] = {"patient": "patient", "sex": "sex", "age": "age"}
    chosen = ColumnSettings.model_validate(columns)
    for layout in [*matching_layouts(folder), "table", "coco", "voc", "yolo"]:
        try:
            read_tables(layout, folder, headers, TableSettings(), chosen)
        except UserError:
            continue


def _write_label_files(folder: Path) -> None:
    Folders(folder.absolute() if folder.mkdir() is None else folder)
    films = ["s1/IM0001", "s2/IM0001"]
    rows = [f"{name},fracture,{value},reader {value}" for name, value in zip(films, ("present", "absent"), strict=True)]
    (folder / "labels.csv").write_text("\n".join(["path,label,value,reader", *rows]))
    (folder / "wide.csv").write_text("\n".join(["path,Fracture,Bone age", *(f"{name},1,{12.5}" for name in films)]))
    (folder / "boxes.csv").write_text(
        "\n".join([f"path,label,{_EDGES}", *(f"{n},fracture,1,2,30,40.5" for n in films)])
    )
    (folder / "config.yaml").write_text(yaml.safe_dump({"numbers": ["Bone age"], "rename": {"Fracture": "fracture"}}))


def _read_label_files(folder: Path) -> None:
    settings = load(LabelSettings, folder / "config.yaml")
    files = LabelFiles([folder / "labels.csv", folder / "wide.csv"], [folder / "boxes.csv"])
    print(write_labels(folder / "private", folder / "public", files, settings))


def _write_reports(folder: Path) -> None:
    folder.mkdir()
    write_folders(folder)
    with (folder / "reports.csv").open("w", newline="") as file:
        texts = ["Indication: fall.\nFindings: no fracture (see above). 1. Plate.", "Keine Fraktur. Z. n. ORIF, Nr. 7."]
        csv.writer(file).writerows([["accession", "text"], *(["ACCA", text] for text in texts), ["ACCB", texts[0]]])
    (folder / "texts").mkdir()
    (folder / "texts" / "ACCC.txt").write_text("Befund: Kein Nachweis einer Fraktur.\nMetall in situ.")
    section = '<AbstractText Label="FINDINGS">No fracture.</AbstractText>'
    (folder / "texts" / "ACCA2.xml").write_text(f'<?xml version="1.0"?><a><Abstract>{section}</Abstract></a>')


def _read_report_files(folder: Path) -> None:
    sources = [folder / "reports.csv", folder / "texts"]
    print(label_from_reports(folder / "private", sources, folder / "public", workers=1))


def _write_pictures(folder: Path) -> None:
    folder.mkdir()
    values = np.random.default_rng(0).integers(0, 255, (80, 70), np.uint8)
    Image.fromarray(values).save(folder / "a.png")
    Image.fromarray(values.astype(np.uint16) * 200).save(folder / "b.png")
    Image.fromarray(values).convert("RGB").save(folder / "c.jpg", progressive=True, comment=b"text")
    Image.fromarray(values).convert("P").save(folder / "d.png", optimize=True)


def _read_pictures(folder: Path) -> None:
    for file in list_files([folder]):
        try:
            read_films(file, PreparationSettings(max_side=64, min_side=16))
        except FilmReject:
            continue


def _write_shards(folder: Path) -> None:
    films = [film(f"f{n}", noise(40 + n, 50, seed=n), body_part="HAND", age_years=40) for n in range(6)]
    write_public(folder, films, per_shard=6)
    keys = [sidecar["key"] for _, sidecar in films]
    labels = [
        {"key": key, "label": "fracture", "value": "present", "source": "expert", "confidence": 1} for key in keys
    ]
    boxes = [dict.fromkeys(_EDGES.split(","), 5.0) | {"key": key, "label": "metal", "source": "expert"} for key in keys]
    pq.write_table(pa.Table.from_pylist(labels, LABELS_SCHEMA), folder / "labels.parquet")
    pq.write_table(pa.Table.from_pylist(boxes, BOXES_SCHEMA), folder / "boxes.parquet")


def _read_shards(folder: Path) -> None:
    """Each command as another user calls it: one that refuses does not keep the others from reading."""
    for read in (_read_training, read_labels, read_boxes, _preview, _census, _verify):
        try:
            read(folder)
        except UserError:
            continue


def _read_training(folder: Path) -> None:
    index = ShardIndex([folder], split=None)
    for row in range(len(index)):
        try:
            one = index.film(row)
        except FilmUnreadableError:
            continue
        try:
            one.displayed(), one.mask, one.box
        except Exception as error:  # the loader counts such a film as one that cannot be loaded
            if isinstance(error, MemoryError):
                raise


def _preview(folder: Path) -> None:
    write_preview(folder, folder / "preview.png", films=3, split="train", boxes=True)


def _census(folder: Path) -> None:
    print(compute_census(folder))


def _verify(folder: Path) -> None:
    verify(folder)


def _write_models(folder: Path) -> None:
    folder.mkdir()
    from mae_rad.objectives import MAESettings

    train(folder / "run", MAESettings(tokens=36, predicted=0.5))
    write_predictor(folder / "predictor")


def _read_models(folder: Path) -> None:
    for read in (lambda: load_encoder(folder / "run" / "encoder"), lambda: load_predictor(folder / "predictor")):
        try:
            read()
        except UserError:
            continue


def _write_published(folder: Path) -> None:
    public = write_public(folder / "local", [film("a", noise(40, 50))])
    publish(complete(public), FolderUrl.parse(f"file://{folder.resolve()}/there"))


def _read_list(folder: Path) -> None:
    read_published(FolderUrl.parse(f"file://{folder.resolve()}/there"))


def _write_settings(folder: Path) -> None:
    folder.mkdir()
    (folder / "shard.yaml").write_text(yaml.safe_dump(ShardSettings().model_dump(mode="json")))


TARGETS = (
    Target("annotations", _write_set, _read_set, lambda name: not name.endswith(".png")),
    Target("labels", _write_label_files, _read_label_files, _endings(".csv", ".yaml")),
    Target("reports", _write_reports, _read_report_files, _endings(".csv", ".txt", ".xml")),
    Target("pictures", _write_pictures, _read_pictures),
    Target("shards", _write_shards, _read_shards),
    Target("models", _write_models, _read_models, _endings(".json", ".safetensors")),
    Target("published", _write_published, _read_list, _endings("published.json")),
    Target("settings", _write_settings, lambda folder: load(ShardSettings, folder / "shard.yaml")),
)
"""All kinds."""
