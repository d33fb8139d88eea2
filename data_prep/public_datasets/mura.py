"""MURA: 40,561 films of the upper limb in 14,863 studies, each study normal or abnormal by a radiologist.

train/XR_WRIST/patient00001/study1_positive/image1.png, valid/…   PNG, 8 bit, at most 512 pixels
train_labeled_studies.csv, valid_labeled_studies.csv   study folder, 0 or 1; no header (1.0: train.csv, valid.csv)
train_image_paths.csv, valid_image_paths.csv           path of every film; no header

``abnormal`` is all that is told: fractures, but also hardware, degeneration and lesions. It is no label for fracture.
The set's own split is by patient; its valid is our val (the test set of the competition was never published).
"""

import re
from pathlib import Path

from data_prep.annotations.csv_table import csv_rows
from data_prep.annotations.label_collector import Label, Told, Value, Where

_FILM = re.compile(r"(?:^|/)(train|valid)/(XR_([A-Z]+)/patient(\d+)/(study\d+)_(positive|negative))/[^/]+$")
_STUDY = re.compile(r"(?:^|/)(train|valid)/(XR_[A-Z]+/patient\d+/study\d+_(?:positive|negative))/?$")
_VALUES: dict[str, Value] = {"1": "present", "0": "absent", "positive": "present", "negative": "absent"}
_STUDY_TABLES = ("train_labeled_studies.csv", "valid_labeled_studies.csv", "train.csv", "valid.csv")
_PATH_TABLES = ("train_image_paths.csv", "valid_image_paths.csv")


def is_here(root: Path) -> bool:
    """Whether the folder holds the set."""
    return any(path.is_dir() for name in ("train", "valid") for path in root.glob(f"{name}/XR_*"))


def read(root: Path, told: Told) -> None:
    """Read the paths of all films, and compare the tables with them."""
    studies: dict[str, Value] = {}
    for table in (root / name for name in _STUDY_TABLES):
        if table.exists():
            studies |= _read_studies(table, told)
    seen = set[str]()
    for film in told.names.films:
        match = _FILM.search(f"/{film.below}")
        if match is None:
            continue
        split, folder, body_part, patient, study, word = match.groups()
        seen.add(f"{split}/{folder}")
        value = studies.get(f"{split}/{folder}", _VALUES[word])
        if value != _VALUES[word]:
            told.problem("label_conflict", Where(root / film.below))
            value = "uncertain"
        told.fact(film, patient=patient, study=f"XR_{body_part}/{study}", body_part=body_part)
        told.split(film, split, Where(root / film.below))
        told.label(film, "abnormal", Label(value), Where(root / film.below))
    for study in sorted(set(studies) - seen):
        told.problem("row_without_file", Where(root / study))
    for table in (root / name for name in _PATH_TABLES):
        if table.exists():
            for line, cells in csv_rows(table):
                if _FILM.search(cells[0]):
                    told.row(cells[0], Where(table, line))
                else:
                    told.problem("path_unknown", Where(table, line))


def _read_studies(table: Path, told: Told) -> dict[str, Value]:
    """Split and folder of a study → value."""
    studies: dict[str, Value] = {}
    for line, cells in csv_rows(table):
        match = _STUDY.search(cells[0])
        if match is None:
            told.problem("path_unknown", Where(table, line))
        elif len(cells) < 2 or cells[1] not in _VALUES:
            told.problem("label_unknown", Where(table, line))
        elif studies.setdefault(f"{match[1]}/{match[2]}", _VALUES[cells[1]]) != _VALUES[cells[1]]:
            told.problem("label_conflict", Where(table, line))
    return studies
