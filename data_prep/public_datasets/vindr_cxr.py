"""VinDr-CXR: 18,000 PA chest films, each read by three of 17 radiologists (train) or by consensus of five (test).

train/<image_id>.dicom, test/<image_id>.dicom      or .png or .jpg of the same names
annotations/annotations_train.csv, annotations_test.csv, image_labels_train.csv, image_labels_test.csv   (PhysioNet)
train.csv                                          boxes only (Kaggle)
train_meta.csv, test_meta.csv                      image_id, dim0, dim1: rows, columns of the DICOM, for shrunk PNG

Readers who agree give present or absent. Where they differ, a majority for present gives present with its share as
confidence, else the label is uncertain. Each box keeps its reader. ``fracture`` is added: of clavicle or rib.
Boxes are in pixels of the DICOM; on shrunk pictures they are scaled, for which train_meta.csv or the columns width and
height of the table have to be there. The set names no patients: its split is by film.
"""

from collections import defaultdict
from pathlib import Path

from data_prep.annotations.csv_table import csv_header, csv_table
from data_prep.annotations.film_lookup import ListedFilm
from data_prep.annotations.label_collector import LabelCollector, Value
from data_prep.annotations.row_problems import Place
from data_prep.errors import ArchiveError
from data_prep.shard_format.boxes import Box

_SPLITS = {"train": "train_val", "test": "test"}
_BOXES = ("image_id", "class_name", "x_min", "y_min", "x_max", "y_max")
_EDGES = _BOXES[2:]
_NOTHING = "No finding"
_FRACTURES = {"Clavicle fracture", "Rib fracture"}
_ONE_NAME = {"Other disease": "Other diseases"}
"""The two tables of labels spell it differently."""
_MOST_OUTSIDE = 0.001
"""Part of the boxes that may stand over the edge; more means that the pictures are shrunk ones."""

Votes = dict[str, dict[str, bool]]
"""Finding → reader → whether present."""
Sizes = dict[str, tuple[int, int]]
"""Film → width and height of the DICOM."""


def matches_folder(root: Path) -> bool:
    """Whether the folder holds the set."""
    return any(_tables(root, split)[0] is not None for split in _SPLITS)


def read(root: Path, collector: LabelCollector) -> None:
    """Read the tables that are there.

    Raises:
        ArchiveError: none is there, or boxes of the DICOM come with pictures of another, unknown size.
    """
    if not matches_folder(root):
        raise ArchiveError(f"no annotations_train.csv, annotations_test.csv or train.csv with boxes in {root}")
    for name, split in _SPLITS.items():
        boxes, labels = _tables(root, name)
        folder = name if (root / name).is_dir() else ""
        votes: dict[ListedFilm, Votes] = {}
        if labels is not None:
            votes = _read_labels(labels, folder, collector)
        if boxes is not None:
            from_boxes = _read_boxes(boxes, name, folder, _sizes(root / f"{name}_meta.csv"), collector)
            votes = votes or from_boxes
        for film, readings in votes.items():
            place = Place(labels or boxes or root)
            collector.add_facts(film, body_part="CHEST", view="PA")
            collector.add_split(film, split, place)
            for finding, readers in _with_fracture(readings).items():
                value, confidence = _majority(readers)
                collector.add_label(film, finding, value, place, confidence=confidence)
                if len(set(readers.values())) > 1:
                    collector.problem("readers_differ", place)


def _tables(root: Path, name: str) -> tuple[Path | None, Path | None]:
    """Tables of boxes and of labels."""
    folders = (root, root / "annotations")
    boxes = [folder / f"annotations_{name}.csv" for folder in folders] + [root / f"{name}.csv"]
    labels = [folder / f"image_labels_{name}.csv" for folder in folders]
    return (
        next((path for path in boxes if set(_BOXES) <= set(csv_header(path))), None),
        next((path for path in labels if path.exists()), None),
    )


def _read_labels(table: Path, folder: str, collector: LabelCollector) -> dict[ListedFilm, Votes]:
    votes: dict[ListedFilm, Votes] = defaultdict(lambda: defaultdict(dict))
    for film, cells, place in collector.film_rows(table, "image_id", below=folder, once=False):
        reader = cells.get("rad_id", "consensus")
        for column, cell in cells.items():
            if column in ("image_id", "rad_id") or not cell:
                continue
            finding = _ONE_NAME.get(column, column)
            if cell not in ("0", "1", "0.0", "1.0"):
                collector.problem("label_unknown", place)
            elif reader in votes[film][finding]:
                collector.problem("film_repeated", place)
                break
            else:
                votes[film][finding][reader] = cell[0] == "1"
    return votes


def _read_boxes(
    table: Path, name: str, folder: str, sizes: Sizes, collector: LabelCollector
) -> dict[ListedFilm, Votes]:
    """Read the boxes; film → the votes that they imply, of all readers of the film."""
    readings: dict[ListedFilm, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    boxes = outside = 0
    for film, cells, place in collector.film_rows(table, "image_id", _BOXES[1:], below=folder, once=False):
        reader = cells.get("rad_id", "consensus")
        found = readings[film][reader]
        if cells["class_name"] == _NOTHING:
            continue
        found.add(cells["class_name"])
        try:
            box = Box(*(float(cells[edge]) for edge in _EDGES))
        except ValueError:
            collector.problem("box_not_a_number", place)
            continue
        size = _size_of(cells) or sizes.get(cells["image_id"])
        boxes += 1
        outside += size is None and (box.x_max > film.upright_size[0] + 1 or box.y_max > film.upright_size[1] + 1)
        scaled = _scaled(box, size, film.upright_size)
        collector.add_box(film, cells["class_name"], scaled, place, frame="upright", reader=cells.get("rad_id", ""))
    if outside > _MOST_OUTSIDE * boxes:
        raise ArchiveError(
            f"{outside} of {boxes} boxes of {table} reach out of their films, so the pictures are shrunk; put"
            f" {name}_meta.csv (image_id, dim0, dim1: rows and columns of the DICOM) next to the table"
        )
    classes = sorted({finding for readers in readings.values() for found in readers.values() for finding in found})
    return {
        film: {finding: {reader: finding in found for reader, found in readers.items()} for finding in classes}
        for film, readers in readings.items()
    }


def _sizes(table: Path) -> Sizes:
    if not table.exists():
        return {}
    rows = csv_table(table, ("image_id", "dim0", "dim1"))
    return {cells["image_id"]: (int(cells["dim1"]), int(cells["dim0"])) for _, cells in rows if cells["dim1"].isdigit()}


def _size_of(cells: dict[str, str]) -> tuple[int, int] | None:
    width, height = cells.get("width", ""), cells.get("height", "")
    return (int(width), int(height)) if width.isdigit() and height.isdigit() else None


def _scaled(box: Box, size: tuple[int, int] | None, film: tuple[int, int]) -> Box:
    if size is None or size == film:
        return box
    across, down = film[0] / size[0], film[1] / size[1]
    return Box(box.x_min * across, box.y_min * down, box.x_max * across, box.y_max * down)


def _with_fracture(votes: Votes) -> Votes:
    """With ``fracture``, present for a reader to whom one of its kinds is."""
    kinds = [votes[kind] for kind in sorted(_FRACTURES) if kind in votes]
    if not kinds:
        return votes
    readers = {reader for kind in kinds for reader in kind}
    return {**votes, "fracture": {reader: any(kind.get(reader, False) for kind in kinds) for reader in sorted(readers)}}


def _majority(readers: dict[str, bool]) -> tuple[Value, float]:
    """Value and confidence of several readers together."""
    share = sum(readers.values()) / len(readers)
    if share in (0, 1):
        return "present" if share else "absent", 1.0
    return ("present", round(share, 4)) if share > 1 / 2 else ("uncertain", round(1 - share, 4))
