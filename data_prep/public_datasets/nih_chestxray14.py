"""Read NIH ChestX-ray14: 112,120 chest films of 30,805 patients, 1024 × 1024, 8 bit, with findings mined from reports.

images_001/images/00000001_000.png … images_012/   or all in images/
Data_Entry_2017.csv or Data_Entry_2017_v2020.csv   findings, patient, age, sex, view
BBox_List_2017.csv                                 984 boxes drawn by a radiologist, in pixels of the 1024 × 1024 film
train_val_list.txt, test_list.txt                  official split, by patient
*.csv with the columns Image Index and Fracture    expert labels of Majkowska et al., Radiology 2020, optional

Findings have the source ``report``; boxes and the labels of Majkowska have the source ``expert``. Both are kept. The
pixel spacing in the table is not used, since it is that of the original film, not of the square picture.
"""

from itertools import chain
from pathlib import Path

from data_prep.annotations.csv_table import read_csv_header, read_csv_rows
from data_prep.annotations.label_collector import LabelCollector
from data_prep.annotations.label_entries import Value
from data_prep.annotations.row_problems import Place
from data_prep.errors import ArchiveError
from data_prep.shard_format.boxes import Box

FINDINGS = (
    *("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema", "Fibrosis", "Hernia"),
    *("Infiltration", "Mass", "Nodule", "Pleural_Thickening", "Pneumonia", "Pneumothorax"),
)
_NO_FINDING = "No Finding"
_BOX_FINDING_NAMES = {"Infiltrate": "Infiltration"}
"""Name in the table of boxes → name in the table of films."""
_EXPERT_LABELS = ("Fracture", "Pneumothorax", "Airspace opacity", "Nodule or mass")
_IMAGE_SIDE = 1024
"""Width and height of all films, pixels."""
_SPLITS = {"train_val_list.txt": "train_val", "test_list.txt": "test"}


def matches_folder(root: Path) -> bool:
    """Whether the folder holds the data set."""
    return bool(_matching_tables(root, "Data_Entry_2017*.csv*"))


def read(root: Path, collector: LabelCollector) -> None:
    """Read all tables.

    Args:
        root: folder of the data set.
        collector: receives entries and problems.

    Raises:
        ArchiveError: the table of films is missing, or there are several.
    """
    tables = _matching_tables(root, "Data_Entry_2017*.csv*")
    if len(tables) != 1:
        problem = "is in the folder more than once; keep one of them" if tables else "is missing; add one of them"
        raise ArchiveError(f"{root}: Data_Entry_2017.csv or Data_Entry_2017_v2020.csv {problem}")
    _read_films(tables[0], collector)
    for table in _matching_tables(root, "BBox_List_2017*.csv*"):
        _read_boxes(table, collector)
    for name, split in _SPLITS.items():
        if (root / name).exists():
            collector.add_split_list(root / name, split)
    for table in sorted(chain(root.glob("*.csv"), root.glob("*.csv.gz"))):
        if {"Image Index", *_EXPERT_LABELS} <= set(read_csv_header(table)):
            _read_experts(table, collector)


def _matching_tables(root: Path, pattern: str) -> list[Path]:
    return sorted(path for path in root.glob(pattern) if path.name.endswith((".csv", ".csv.gz")))


def _read_films(table: Path, collector: LabelCollector) -> None:
    required = ("Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "Patient Gender", "View Position")
    for film, cells, place in collector.read_film_rows(table, "Image Index", required):
        collector.add_facts(
            film,
            patient=cells["Patient ID"],
            study=cells["Follow-up #"],
            age=cells["Patient Age"],
            sex=cells["Patient Gender"],
            view=cells["View Position"],
            body_part="CHEST",
        )
        findings = set(cells["Finding Labels"].split("|"))
        if not findings or findings - {*FINDINGS, _NO_FINDING} or (_NO_FINDING in findings and len(findings) > 1):
            collector.add_problem("label_unknown", place)
            continue
        collector.add_findings(film, findings, FINDINGS, place, source="report")


def _read_boxes(table: Path, collector: LabelCollector) -> None:
    for line, cells in list(read_csv_rows(table))[1:]:
        place = Place(table, line)
        if len(cells) < 2 or (film := collector.find_film(cells[0], place)) is None:
            continue
        finding = _BOX_FINDING_NAMES.get(cells[1], cells[1])
        if finding not in FINDINGS:
            collector.add_problem("label_unknown", place)
            continue
        try:
            x, y, width, height = map(float, cells[2:6])
        except ValueError:
            collector.add_problem("box_not_a_number", place)
            collector.add_finding_without_box(film, finding, place)
            continue
        box = Box(x, y, x + width, y + height)
        collector.add_box(film, finding, box, place, size=(_IMAGE_SIDE, _IMAGE_SIDE))


def _read_experts(table: Path, collector: LabelCollector) -> None:
    values: dict[str, Value] = {"YES": "present", "NO": "absent"}
    for film, cells, place in collector.read_film_rows(table, "Image Index"):
        for name in _EXPERT_LABELS:
            if cells[name] in values:
                collector.add_label(film, name, values[cells[name]], place)
            elif cells[name]:
                collector.add_problem("label_unknown", place)
