"""NIH ChestX-ray14: 112,120 chest films of 30,805 patients, 1024 × 1024, 8 bit, with findings mined from reports.

images_001/images/00000001_000.png … images_012/   or all below images/
Data_Entry_2017.csv or Data_Entry_2017_v2020.csv   findings, patient, age, sex, view
BBox_List_2017.csv                                 984 boxes drawn by a radiologist, in pixels of the 1024 × 1024 film
train_val_list.txt, test_list.txt                  official split, by patient
*.csv with the columns Image Index and Fracture    expert labels of Majkowska et al., Radiology 2020, if they are there

Findings are of the source ``report``; boxes and the labels of Majkowska are ``expert``. Both are kept. The pixel
spacing of the table is that of the film before it was made square, so it is not used.
"""

from itertools import chain
from pathlib import Path

from data_prep.annotations.csv_table import csv_header, csv_rows
from data_prep.annotations.label_collector import LabelCollector, Value
from data_prep.annotations.row_problems import Place
from data_prep.errors import ArchiveError
from data_prep.shard_format.boxes import Box

FINDINGS = (
    *("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema", "Fibrosis", "Hernia"),
    *("Infiltration", "Mass", "Nodule", "Pleural_Thickening", "Pneumonia", "Pneumothorax"),
)
_NOTHING = "No Finding"
_OTHER_NAMES = {"Infiltrate": "Infiltration"}
"""Name in the table of boxes → name in the table of films."""
_EXPERT = ("Fracture", "Pneumothorax", "Airspace opacity", "Nodule or mass")
_SIDE = 1024
_SPLITS = {"train_val_list.txt": "train_val", "test_list.txt": "test"}


def matches_folder(root: Path) -> bool:
    """Whether the folder holds the set."""
    return bool(_tables(root, "Data_Entry_2017*.csv*"))


def read(root: Path, collector: LabelCollector) -> None:
    """Read all tables."""
    tables = _tables(root, "Data_Entry_2017*.csv*")
    if len(tables) != 1:
        problem = "is missing" if not tables else "is there in several versions: keep one"
        raise ArchiveError(f"Data_Entry_2017.csv or Data_Entry_2017_v2020.csv {problem}, in {root}")
    _read_films(tables[0], collector)
    for table in _tables(root, "BBox_List_2017*.csv*"):
        _read_boxes(table, collector)
    for name, split in _SPLITS.items():
        if (root / name).exists():
            collector.add_split_list(root / name, split)
    for table in sorted(chain(root.glob("*.csv"), root.glob("*.csv.gz"))):
        if {"Image Index", *_EXPERT} <= set(csv_header(table)):
            _read_experts(table, collector)


def _tables(root: Path, pattern: str) -> list[Path]:
    return sorted(path for path in root.glob(pattern) if path.name.endswith((".csv", ".csv.gz")))


def _read_films(table: Path, collector: LabelCollector) -> None:
    needed = ("Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "Patient Gender", "View Position")
    for film, cells, place in collector.film_rows(table, "Image Index", needed):
        collector.add_facts(
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
            collector.problem("label_unknown", place)
            continue
        collector.add_findings(film, found, FINDINGS, place, source="report")


def _read_boxes(table: Path, collector: LabelCollector) -> None:
    for line, cells in list(csv_rows(table))[1:]:
        place = Place(table, line)
        try:
            name, finding, (x, y, width, height) = cells[0], cells[1], map(float, cells[2:6])
        except (ValueError, IndexError):
            collector.problem("box_not_a_number", place)
            continue
        film = collector.film(name, place)
        if film is None:
            continue
        if _OTHER_NAMES.get(finding, finding) not in FINDINGS:
            collector.problem("label_unknown", place)
            continue
        box = Box(x, y, x + width, y + height)
        collector.add_box(film, _OTHER_NAMES.get(finding, finding), box, place, size=(_SIDE, _SIDE))


def _read_experts(table: Path, collector: LabelCollector) -> None:
    values: dict[str, Value] = {"YES": "present", "NO": "absent"}
    for film, cells, place in collector.film_rows(table, "Image Index"):
        for name in _EXPERT:
            if cells[name] in values:
                collector.add_label(film, name, values[cells[name]], place)
            elif cells[name]:
                collector.problem("label_unknown", place)
