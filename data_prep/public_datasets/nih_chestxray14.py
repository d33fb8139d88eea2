"""NIH ChestX-ray14: 112,120 chest films of 30,805 patients, 1024 × 1024, 8 bit, with findings mined from reports.

images_001/images/00000001_000.png … images_012/   or all below images/
Data_Entry_2017.csv or Data_Entry_2017_v2020.csv   findings, patient, age, sex, view
BBox_List_2017.csv                                 984 boxes drawn by a radiologist, in pixels of the 1024 × 1024 film
train_val_list.txt, test_list.txt                  official split, by patient
*.csv with the columns Image Index and Fracture    expert labels of Majkowska et al., Radiology 2020, if they are there

Findings are of the source ``report``; boxes and the labels of Majkowska are ``expert`` and go before them. The pixel
spacing of the table is that of the film before it was made square, so it is not taken over.
"""

from itertools import chain
from pathlib import Path

from data_prep.annotations.csv_table import csv_header, csv_rows, csv_table
from data_prep.annotations.label_collector import Label, Told, Where
from data_prep.errors import ArchiveError
from data_prep.shard_format.boxes import Box

FINDINGS = (
    *("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema", "Fibrosis", "Hernia"),
    *("Infiltration", "Mass", "Nodule", "Pleural_Thickening", "Pneumonia", "Pneumothorax"),
)
_NOTHING = "No Finding"
_OTHER_NAMES = {"Infiltrate": "Infiltration"}
"""The table of boxes calls it so."""
_EXPERT = ("Fracture", "Pneumothorax", "Airspace opacity", "Nodule or mass")
_SIDE = 1024
_SPLITS = {"train_val_list.txt": "train_val", "test_list.txt": "test"}


def is_here(root: Path) -> bool:
    """Whether the folder holds the set."""
    return bool(_tables(root, "Data_Entry_2017*.csv*"))


def read(root: Path, told: Told) -> None:
    """Read all tables."""
    tables = _tables(root, "Data_Entry_2017*.csv*")
    if len(tables) != 1:
        problem = "is missing" if not tables else "is there in several versions: keep one"
        raise ArchiveError(f"Data_Entry_2017.csv or Data_Entry_2017_v2020.csv {problem}, in {root}")
    _read_films(tables[0], told)
    for table in _tables(root, "BBox_List_2017*.csv*"):
        _read_boxes(table, told)
    for name, split in _SPLITS.items():
        if (root / name).exists():
            for line, cells in csv_rows(root / name):
                film = told.row(cells[0], Where(root / name, line))
                if film is not None:
                    told.split(film, split, Where(root / name, line))
    for table in sorted(chain(root.glob("*.csv"), root.glob("*.csv.gz"))):
        if {"Image Index", *_EXPERT} <= set(csv_header(table)):
            _read_experts(table, told)


def _tables(root: Path, pattern: str) -> list[Path]:
    return sorted(path for path in root.glob(pattern) if path.name.endswith((".csv", ".csv.gz")))


def _read_films(table: Path, told: Told) -> None:
    needed = ("Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "Patient Gender")
    for line, cells in csv_table(table, (*needed, "View Position")):
        where = Where(table, line)
        film = told.row(cells["Image Index"], where)
        if film is None:
            continue
        told.fact(
            film,
            patient=cells["Patient ID"],
            study=cells["Follow-up #"],
            age=cells["Patient Age"],
            sex=cells["Patient Gender"],
            view=cells["View Position"],
            body_part="CHEST",
        )
        found = set(cells["Finding Labels"].split("|"))
        if not found or found - {*FINDINGS, _NOTHING} or (_NOTHING in found and len(found) > 1):
            told.problem("label_unknown", where)
            continue
        told.findings(film, found, FINDINGS, where, source="report")


def _read_boxes(table: Path, told: Told) -> None:
    for line, cells in list(csv_rows(table))[1:]:
        where = Where(table, line)
        try:
            name, finding, (x, y, width, height) = cells[0], cells[1], map(float, cells[2:6])
        except (ValueError, IndexError):
            told.problem("box_not_a_number", where)
            continue
        film = told.film(name, where)
        if film is None:
            continue
        if _OTHER_NAMES.get(finding, finding) not in FINDINGS:
            told.problem("label_unknown", where)
            continue
        box = Box(x, y, x + width, y + height)
        told.box(film, _OTHER_NAMES.get(finding, finding), box, where, size=(_SIDE, _SIDE))


def _read_experts(table: Path, told: Told) -> None:
    values = {"YES": Label("present"), "NO": Label("absent")}
    for line, cells in csv_table(table):
        where = Where(table, line)
        film = told.row(cells["Image Index"], where)
        if film is None:
            continue
        for name in _EXPERT:
            if cells[name] in values:
                told.label(film, name, values[cells[name]], where)
            elif cells[name]:
                told.problem("label_unknown", where)
