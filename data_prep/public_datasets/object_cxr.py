"""Read object-CXR: 10,000 frontal chest films of 300 hospitals, half of them with foreign objects, outlined by readers.

train/00001.jpg …, dev/…, test/…        JPEG, 8 bit
train.csv, dev.csv, test.csv            image_name (or image_path), annotation: shapes separated by ;

A shape is ``0 x1 y1 x2 y2`` (rectangle), ``1 x1 y1 x2 y2`` (ellipse, by the box around it) or ``2 x1 y1 … xn yn``
(polygon); an empty cell means no foreign object. Ellipses and polygons are replaced by their bounding boxes.
Support devices are not annotated. The data set has no patient numbers; its split is by film.
"""

from pathlib import Path

from data_prep.annotations.csv_table import csv_table, read_csv_header
from data_prep.annotations.label_collector import LabelCollector
from data_prep.annotations.upright_boxes import bounding_box
from data_prep.shard_format.boxes import Box

LABEL = "foreign_object"
_SPLITS = {"train": "train", "dev": "val", "test": "test"}
_RECTANGLE, _ELLIPSE, _POLYGON = "0", "1", "2"


def matches_folder(root: Path) -> bool:
    """Whether the folder holds the data set."""
    return any(_image_column(root / f"{name}.csv") for name in _SPLITS)


def read(root: Path, collector: LabelCollector) -> None:
    """Read the tables of all splits.

    Args:
        root: folder of the data set.
        collector: receives entries and problems.

    Raises:
        ArchiveError: no table is there, or a table lacks a column.
    """
    present = [name for name in _SPLITS if (root / f"{name}.csv").exists()]
    for name in present or ["train"]:
        table = root / f"{name}.csv"
        column = _image_column(table)
        if column is None:
            list(csv_table(table, ("image_name", "annotation")))  # raises ArchiveError
            continue
        below = name if (root / name).is_dir() else ""
        for film, cells, place in collector.read_film_rows(table, column, below=below):
            collector.add_facts(film, body_part="CHEST")
            collector.add_split(film, _SPLITS[name], place)
            shapes = [shape for shape in cells["annotation"].split(";") if shape.strip()]
            boxes = [box for box in map(_parse_shape, shapes) if box is not None]
            for _ in range(len(shapes) - len(boxes)):
                collector.add_problem("shape_unknown", place)
            for box in boxes:
                collector.add_box(film, LABEL, box, place)
            if not shapes or any(shape.split()[0] in (_RECTANGLE, _ELLIPSE, _POLYGON) for shape in shapes):
                collector.add_label(film, LABEL, "present" if shapes else "absent", place)


def _image_column(table: Path) -> str | None:
    header = read_csv_header(table) if table.exists() else []
    return next((name for name in ("image_name", "image_path") if "annotation" in header and name in header), None)


def _parse_shape(shape: str) -> Box | None:
    kind, *numbers = shape.split()
    try:
        points = [float(number) for number in numbers]
    except ValueError:
        return None
    is_complete = {_RECTANGLE: len(points) == 4, _ELLIPSE: len(points) == 4}
    if not is_complete.get(kind, kind == _POLYGON and len(points) >= 6 and len(points) % 2 == 0):
        return None
    return bounding_box(points)
