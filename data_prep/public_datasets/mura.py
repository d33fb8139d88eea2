"""Read MURA: 40,561 films of the upper limb in 14,863 studies, each study labelled normal or abnormal by a radiologist.

train/XR_WRIST/patient00001/study1_positive/image1.png, valid/…   PNG, 8 bit, at most 512 pixels
train_labeled_studies.csv, valid_labeled_studies.csv   study folder, 0 or 1; no header (1.0: train.csv, valid.csv)
train_image_paths.csv, valid_image_paths.csv           path of every film; no header

The one label is ``abnormal``: fractures, but also hardware, degeneration and lesions. It does not mean fracture.
The official split is by patient; its valid is val here (the test set of the competition is not published).
"""

import re
from collections import defaultdict
from pathlib import Path

from data_prep.annotations.csv_table import read_csv_rows
from data_prep.annotations.label_collector import LabelCollector
from data_prep.annotations.label_entries import Value
from data_prep.annotations.row_problems import Place

LABEL = "abnormal"
_FILM_PATH = re.compile(r"(?:^|/)(train|valid)/(XR_([A-Z]+)/patient(\d+)/(study\d+)_(positive|negative))/[^/]+$")
_STUDY_PATH = re.compile(r"(?:^|/)(train|valid)/(XR_[A-Z]+/patient\d+/study\d+_(?:positive|negative))/?$")
_VALUES: dict[str, Value] = {"1": "present", "0": "absent", "positive": "present", "negative": "absent"}
_STUDY_TABLES = ("train_labeled_studies.csv", "valid_labeled_studies.csv", "train.csv", "valid.csv")
_PATH_TABLES = ("train_image_paths.csv", "valid_image_paths.csv")

_Studies = dict[str, list[tuple[Value, Place]]]
"""Split and folder of a study → values and places in the tables."""


def matches_folder(root: Path) -> bool:
    """Whether the folder holds the data set."""
    return any(path.is_dir() for name in ("train", "valid") for path in root.glob(f"{name}/XR_*"))


def read(root: Path, collector: LabelCollector) -> None:
    """Read facts and labels from the paths of all films, and compare the tables with them.

    Args:
        root: folder of the data set.
        collector: receives entries and problems.
    """
    studies: _Studies = defaultdict(list)
    for table in (root / name for name in _STUDY_TABLES):
        if table.exists():
            _read_studies(table, collector, studies)
    film_studies = set[str]()
    for film in collector.names.films:
        match, place = _FILM_PATH.search(f"/{film.below}"), Place(root / film.below)
        if match is None:
            continue
        split, folder, body_part, patient, study, outcome = match.groups()
        film_studies.add(f"{split}/{folder}")
        collector.add_facts(film, patient=patient, study=f"XR_{body_part}/{study}", body_part=body_part)
        collector.add_split(film, split, place)
        collector.add_label(film, LABEL, _VALUES[outcome], place)
        for value, row in studies.get(f"{split}/{folder}", ()):
            collector.add_label(film, LABEL, value, row)
    for study in sorted(set(studies) - film_studies):
        collector.add_problem("row_without_file", Place(root / study))
    for table in (root / name for name in _PATH_TABLES):
        if table.exists():
            for line, cells in read_csv_rows(table):
                if _FILM_PATH.search(cells[0]):
                    collector.find_film_once(cells[0], Place(table, line))
                else:
                    collector.add_problem("path_unknown", Place(table, line))


def _read_studies(table: Path, collector: LabelCollector, studies: _Studies) -> None:
    for line, cells in read_csv_rows(table):
        match = _STUDY_PATH.search(cells[0])
        if match is None:
            collector.add_problem("path_unknown", Place(table, line))
        elif len(cells) < 2 or cells[1] not in _VALUES:
            collector.add_problem("label_unknown", Place(table, line))
        else:
            studies[f"{match[1]}/{match[2]}"].append((_VALUES[cells[1]], Place(table, line)))
