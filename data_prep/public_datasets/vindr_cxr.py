"""Read VinDr-CXR: 18,000 PA chest films, each read by three of 17 radiologists (train) or by consensus of five (test).

train/<image_id>.dicom, test/<image_id>.dicom      or .png or .jpg of the same names
annotations/annotations_train.csv, annotations_test.csv, image_labels_train.csv, image_labels_test.csv   (PhysioNet)
train.csv                                          boxes only (Kaggle)
train_meta.csv, test_meta.csv                      image_id, dim0, dim1: rows, columns of the DICOM; for resized PNG

A label is present or absent if all readers agree. Where they differ, it is present if the majority says so, with the
share of this majority as confidence, else uncertain; a vote that was not understood makes nothing absent. Each box has
its reader. The label ``fracture`` is added: fracture of clavicle or rib. Boxes are in pixels of the DICOM; for resized
pictures they are scaled, which needs train_meta.csv or the columns width and height of the table. The data set has no
patient numbers; its split is by film.
"""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from data_prep.annotations.csv_table import csv_table, read_csv_header
from data_prep.annotations.film_lookup import ListedFilm
from data_prep.annotations.label_collector import LabelCollector
from data_prep.annotations.label_entries import Value, label_name
from data_prep.annotations.row_problems import Place
from data_prep.errors import ArchiveError
from data_prep.shard_format.boxes import Box

_SPLITS = {"train": "train_val", "test": "test"}
_BOX_COLUMNS = ("image_id", "class_name", "x_min", "y_min", "x_max", "y_max")
_EDGES = _BOX_COLUMNS[2:]
_NO_FINDING, _FRACTURES = "no_finding", ("clavicle_fracture", "rib_fracture")
_NAMES = {"other_disease": "Other diseases"}
"""Name in lower snake case → finding, where the two tables of labels have different names."""
_MAX_OUTSIDE_SHARE = 0.001
"""Share of the boxes that may extend beyond their films; with more the pictures are taken to be resized."""

Votes = dict[str, dict[str, float | None]]
"""Finding → reader → 1 present, 0 absent, 1/2 where the reader says both, None where it was not understood."""
Sizes = dict[str, tuple[int, int]]
"""Film → (width, height) of the DICOM in pixels."""


class _Names:
    """Spellings of findings: votes of readers count together however they write it.

    Args:
        rename: spellings that the user renames; they are preferred.
    """

    def __init__(self, rename: Iterable[str]) -> None:
        self._spelling = dict(_NAMES) | {label_name(name) or name: name for name in rename}

    def of(self, raw: str) -> str:
        """The first spelling of a name."""
        return self._spelling.setdefault(label_name(raw) or raw, raw)


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
    names = _Names(collector.settings.rename)
    for name, split in _SPLITS.items():
        boxes, labels = _find_tables(root, name)
        folder = name if (root / name).is_dir() else ""
        votes: dict[ListedFilm, Votes] = {}
        if labels is not None:
            votes = _read_labels(labels, folder, names, collector)
        if boxes is not None:
            from_boxes = _read_boxes(boxes, root / f"{name}_meta.csv", folder, names, collector)
            votes = votes or from_boxes
        for film, film_votes in votes.items():
            place = Place(labels or boxes or root)
            collector.add_facts(film, body_part="CHEST", view="PA")
            collector.add_split(film, split, place)
            for finding, readers in _add_fracture(film_votes).items():
                if (majority := _majority_value(readers)) is not None:
                    collector.add_label(film, finding, majority[0], place, confidence=majority[1])
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


def _read_labels(table: Path, folder: str, names: _Names, collector: LabelCollector) -> dict[ListedFilm, Votes]:
    votes: dict[ListedFilm, Votes] = defaultdict(lambda: defaultdict(dict))
    rows: set[tuple[ListedFilm, str]] = set()
    for film, cells, place in collector.read_film_rows(table, "image_id", below=folder, once=False):
        reader = cells.get("rad_id", "consensus")
        if (film, reader) in rows:
            collector.add_problem("film_repeated", place)
        rows.add((film, reader))
        for column, cell in cells.items():
            if column in ("image_id", "rad_id") or not cell:
                continue
            vote = float(cell) if cell in ("0", "1", "0.0", "1.0") else None
            if vote is None:
                collector.add_problem("label_unknown", place)
            readers = votes[film][names.of(column)]
            if readers.setdefault(reader, vote) != vote:
                collector.add_problem("label_conflict", place)
                readers[reader] = 1 / 2
        _doubt_contradiction(votes[film], reader, place, collector)
    return votes


def _doubt_contradiction(votes: Votes, reader: str, place: Place, collector: LabelCollector) -> None:
    """List a reader who says both that there is a finding and that there is none."""
    said = [finding for finding, readers in votes.items() if readers.get(reader) == 1]
    if len(said) > 1 and any(label_name(finding) == _NO_FINDING for finding in said):
        collector.add_problem("finding_against_none", place)
        for finding in said:
            votes[finding][reader] = 1 / 2


def _read_boxes(
    table: Path, meta: Path, folder: str, names: _Names, collector: LabelCollector
) -> dict[ListedFilm, Votes]:
    """Read the boxes; return film → votes that they imply, of all readers of the film."""
    findings_by_film: dict[ListedFilm, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    unclear: set[tuple[ListedFilm, str]] = set()
    nothing: set[tuple[ListedFilm, str]] = set()
    sizes, boxes, outside = _read_sizes(meta), 0, 0
    for film, cells, place in collector.read_film_rows(table, "image_id", _BOX_COLUMNS[1:], below=folder, once=False):
        reader, finding = cells.get("rad_id", "consensus"), names.of(cells["class_name"])
        findings = findings_by_film[film][reader]
        if label_name(finding) == _NO_FINDING:
            nothing.add((film, reader))
            continue
        if not finding:
            collector.add_problem("label_unknown", place)
            unclear.add((film, reader))
            continue
        findings.add(finding)
        if label_name(finding) in _FRACTURES:  # against a table that says there is none
            collector.add_finding_without_box(film, "fracture", place)
        try:
            box = Box(*(float(cells[edge]) for edge in _EDGES))
        except ValueError:
            collector.add_problem("box_not_a_number", place)
            collector.add_finding_without_box(film, finding, place, reader=cells.get("rad_id", ""))
            continue
        size = _size_in_row(cells) or sizes.get(cells["image_id"])
        if size is None and film.source != "dicom" and (meta.exists() or {"width", "height"} <= cells.keys()):
            collector.add_problem("box_size_unknown", place)
            collector.add_finding_without_box(film, finding, place, reader=cells.get("rad_id", ""))
            continue
        boxes += 1
        outside += size is None and (box.x_max > film.upright_size[0] + 1 or box.y_max > film.upright_size[1] + 1)
        scaled = _scale_box(box, size, film.upright_size)
        collector.add_box(film, finding, scaled, place, frame="upright", reader=cells.get("rad_id", ""))
    if outside > _MAX_OUTSIDE_SHARE * boxes:
        raise ArchiveError(
            f"{outside} of {boxes} boxes of {table} reach out of their films, so the pictures are shrunk; put"
            f" {meta.name} (image_id, dim0, dim1: rows and columns of the DICOM) next to the table"
        )
    return _votes_of_boxes(findings_by_film, unclear, nothing, Place(table), collector)


def _votes_of_boxes(
    findings_by_film: dict[ListedFilm, dict[str, set[str]]],
    unclear: set[tuple[ListedFilm, str]],
    nothing: set[tuple[ListedFilm, str]],
    place: Place,
    collector: LabelCollector,
) -> dict[ListedFilm, Votes]:
    """Votes for the findings that occur in the table; readers with a box without a class vote for no absence."""
    classes = sorted(
        {finding for readers in findings_by_film.values() for findings in readers.values() for finding in findings}
    )

    def vote(film: ListedFilm, reader: str, *, drawn: bool) -> float | None:
        if drawn:
            return 1 / 2 if (film, reader) in nothing else 1
        return None if (film, reader) in unclear else 0

    for film, reader in sorted(nothing):
        if findings_by_film[film][reader]:
            collector.add_problem("finding_against_none", place)
    return {
        film: {
            finding: {reader: vote(film, reader, drawn=finding in findings) for reader, findings in readers.items()}
            for finding in classes
        }
        for film, readers in findings_by_film.items()
    }


def _read_sizes(table: Path) -> Sizes:
    if not table.exists():
        return {}
    sizes = (
        (cells["image_id"], _size(cells["dim1"], cells["dim0"]))
        for _, cells in csv_table(table, ("image_id", "dim0", "dim1"))
    )
    return {film: size for film, size in sizes if size is not None}


def _size_in_row(cells: dict[str, str]) -> tuple[int, int] | None:
    return _size(cells.get("width", ""), cells.get("height", ""))


def _size(width: str, height: str) -> tuple[int, int] | None:
    """(width, height) of two cells, as 240 or 240.0; None if they are no size."""
    sides = [side.removesuffix(".0") for side in (width, height)]
    return (int(sides[0]), int(sides[1])) if all(side.isdecimal() and int(side) for side in sides) else None


def _scale_box(box: Box, size: tuple[int, int] | None, film: tuple[int, int]) -> Box:
    if size is None or size == film:
        return box
    x_scale, y_scale = film[0] / size[0], film[1] / size[1]
    return Box(box.x_min * x_scale, box.y_min * y_scale, box.x_max * x_scale, box.y_max * y_scale)


def _add_fracture(votes: Votes) -> Votes:
    """Add ``fracture``: present for a reader if a clavicle or rib fracture is, absent if both are absent."""
    kinds = {label_name(finding): readers for finding, readers in votes.items() if label_name(finding) in _FRACTURES}
    if not kinds:
        return votes
    readers = sorted({reader for kind in kinds.values() for reader in kind})
    by_reader = {reader: [kinds.get(kind, {}).get(reader) for kind in _FRACTURES] for reader in readers}
    return {**votes, "fracture": {reader: _either(kind_votes) for reader, kind_votes in by_reader.items()}}


def _either(votes: list[float | None]) -> float | None:
    """The vote for any of several findings."""
    most = max((vote for vote in votes if vote is not None), default=0)
    return most if most or None not in votes else None


def _majority_value(readers: dict[str, float | None]) -> tuple[Value, float] | None:
    """(value, confidence) of reader → vote; None if nobody says present and a vote was not understood."""
    share = sum(vote or 0 for vote in readers.values()) / len(readers)
    if not share:
        return None if None in readers.values() else ("absent", 1.0)
    if share == 1:
        return "present", 1.0
    return ("present", round(share, 4)) if share > 1 / 2 else ("uncertain", round(1 - share, 4))
