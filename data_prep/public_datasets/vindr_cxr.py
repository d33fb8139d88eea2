"""Read VinDr-CXR: 18,000 PA chest films, each read by three of 17 radiologists (train) or by consensus of five (test).

train/<image_id>.dicom, test/<image_id>.dicom      or .png or .jpg of the same names
annotations/annotations_train.csv, annotations_test.csv, image_labels_train.csv, image_labels_test.csv   (PhysioNet)
train.csv                                          boxes only (Kaggle)
train_meta.csv, test_meta.csv                      image_id, dim0, dim1: rows, columns of the DICOM; for resized PNG

A label is present or absent if all readers agree. Where they differ, it is present if the majority says so, with the
share of this majority as confidence, else uncertain. Each box has its reader. The label ``fracture`` is added: fracture
of clavicle or rib. Boxes are in pixels of the DICOM; for resized pictures they are scaled, which needs train_meta.csv
or the columns width and height of the table. The data set has no patient numbers; its split is by film.
"""

from collections import defaultdict
from pathlib import Path

from data_prep.annotations.csv_table import csv_table, read_csv_header
from data_prep.annotations.film_lookup import ListedFilm
from data_prep.annotations.label_collector import LabelCollector
from data_prep.annotations.label_entries import Value
from data_prep.annotations.row_problems import Place
from data_prep.errors import ArchiveError
from data_prep.shard_format.boxes import Box

_SPLITS = {"train": "train_val", "test": "test"}
_BOX_COLUMNS = ("image_id", "class_name", "x_min", "y_min", "x_max", "y_max")
_EDGES = _BOX_COLUMNS[2:]
_NO_FINDING = "No finding"
_FRACTURES = {"Clavicle fracture", "Rib fracture"}
_COLUMN_NAMES = {"Other disease": "Other diseases"}
"""Column → finding, where the two tables of labels have different names."""
_MAX_OUTSIDE_SHARE = 0.001
"""Share of the boxes that may extend beyond their films; with more the pictures are taken to be resized."""

Votes = dict[str, dict[str, bool]]
"""Finding → reader → whether it is present."""
Sizes = dict[str, tuple[int, int]]
"""Film → (width, height) of the DICOM in pixels."""


def matches_folder(root: Path) -> bool:
    """Whether the folder holds the data set."""
    return any(_find_tables(root, split)[0] is not None for split in _SPLITS)


def read(root: Path, collector: LabelCollector) -> None:
    """Read the tables of both splits.

    Args:
        root: folder of the data set.
        collector: receives entries and problems.

    Raises:
        ArchiveError: no table exists, or the size of the DICOM is unknown for boxes on resized pictures.
    """
    if not matches_folder(root):
        raise ArchiveError(f"no annotations_train.csv, annotations_test.csv or train.csv with boxes in {root}")
    for name, split in _SPLITS.items():
        boxes, labels = _find_tables(root, name)
        folder = name if (root / name).is_dir() else ""
        votes: dict[ListedFilm, Votes] = {}
        if labels is not None:
            votes = _read_labels(labels, folder, collector)
        if boxes is not None:
            from_boxes = _read_boxes(boxes, name, folder, _read_sizes(root / f"{name}_meta.csv"), collector)
            votes = votes or from_boxes
        for film, film_votes in votes.items():
            place = Place(labels or boxes or root)
            collector.add_facts(film, body_part="CHEST", view="PA")
            collector.add_split(film, split, place)
            for finding, readers in _add_fracture(film_votes).items():
                value, confidence = _majority_value(readers)
                collector.add_label(film, finding, value, place, confidence=confidence)
                if len(set(readers.values())) > 1:
                    collector.add_problem("readers_differ", place)


def _find_tables(root: Path, name: str) -> tuple[Path | None, Path | None]:
    """Tables of boxes and of labels of a split; None where there is none."""
    folders = (root, root / "annotations")
    boxes = [folder / f"annotations_{name}.csv" for folder in folders] + [root / f"{name}.csv"]
    labels = [folder / f"image_labels_{name}.csv" for folder in folders]
    return (
        next((path for path in boxes if set(_BOX_COLUMNS) <= set(read_csv_header(path))), None),
        next((path for path in labels if path.exists()), None),
    )


def _read_labels(table: Path, folder: str, collector: LabelCollector) -> dict[ListedFilm, Votes]:
    votes: dict[ListedFilm, Votes] = defaultdict(lambda: defaultdict(dict))
    for film, cells, place in collector.read_film_rows(table, "image_id", below=folder, once=False):
        reader = cells.get("rad_id", "consensus")
        for column, cell in cells.items():
            if column in ("image_id", "rad_id") or not cell:
                continue
            finding = _COLUMN_NAMES.get(column, column)
            if cell not in ("0", "1", "0.0", "1.0"):
                collector.add_problem("label_unknown", place)
            elif reader in votes[film][finding]:
                collector.add_problem("film_repeated", place)
                break
            else:
                votes[film][finding][reader] = cell[0] == "1"
    return votes


def _read_boxes(
    table: Path, name: str, folder: str, sizes: Sizes, collector: LabelCollector
) -> dict[ListedFilm, Votes]:
    """Read the boxes; return film → votes that they imply, of all readers of the film."""
    findings_by_film: dict[ListedFilm, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    boxes = outside = 0
    for film, cells, place in collector.read_film_rows(table, "image_id", _BOX_COLUMNS[1:], below=folder, once=False):
        reader = cells.get("rad_id", "consensus")
        findings = findings_by_film[film][reader]
        if cells["class_name"] == _NO_FINDING:
            continue
        findings.add(cells["class_name"])
        try:
            box = Box(*(float(cells[edge]) for edge in _EDGES))
        except ValueError:
            collector.add_problem("box_not_a_number", place)
            continue
        size = _size_in_row(cells) or sizes.get(cells["image_id"])
        boxes += 1
        outside += size is None and (box.x_max > film.upright_size[0] + 1 or box.y_max > film.upright_size[1] + 1)
        scaled = _scale_box(box, size, film.upright_size)
        collector.add_box(film, cells["class_name"], scaled, place, frame="upright", reader=cells.get("rad_id", ""))
    if outside > _MAX_OUTSIDE_SHARE * boxes:
        raise ArchiveError(
            f"{outside} of {boxes} boxes of {table} reach out of their films, so the pictures are shrunk; put"
            f" {name}_meta.csv (image_id, dim0, dim1: rows and columns of the DICOM) next to the table"
        )
    classes = sorted(
        {finding for readers in findings_by_film.values() for findings in readers.values() for finding in findings}
    )
    return {
        film: {finding: {reader: finding in findings for reader, findings in readers.items()} for finding in classes}
        for film, readers in findings_by_film.items()
    }


def _read_sizes(table: Path) -> Sizes:
    if not table.exists():
        return {}
    rows = csv_table(table, ("image_id", "dim0", "dim1"))
    return {cells["image_id"]: (int(cells["dim1"]), int(cells["dim0"])) for _, cells in rows if cells["dim1"].isdigit()}


def _size_in_row(cells: dict[str, str]) -> tuple[int, int] | None:
    width, height = cells.get("width", ""), cells.get("height", "")
    return (int(width), int(height)) if width.isdigit() and height.isdigit() else None


def _scale_box(box: Box, size: tuple[int, int] | None, film: tuple[int, int]) -> Box:
    if size is None or size == film:
        return box
    x_scale, y_scale = film[0] / size[0], film[1] / size[1]
    return Box(box.x_min * x_scale, box.y_min * y_scale, box.x_max * x_scale, box.y_max * y_scale)


def _add_fracture(votes: Votes) -> Votes:
    """Add ``fracture``: present for a reader if a clavicle or rib fracture is."""
    kinds = [votes[kind] for kind in sorted(_FRACTURES) if kind in votes]
    if not kinds:
        return votes
    readers = {reader for kind in kinds for reader in kind}
    return {**votes, "fracture": {reader: any(kind.get(reader, False) for kind in kinds) for reader in sorted(readers)}}


def _majority_value(readers: dict[str, bool]) -> tuple[Value, float]:
    """(value, confidence) of reader → whether present."""
    share = sum(readers.values()) / len(readers)
    if share in (0, 1):
        return "present" if share else "absent", 1.0
    return ("present", round(share, 4)) if share > 1 / 2 else ("uncertain", round(1 - share, 4))
