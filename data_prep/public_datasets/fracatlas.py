"""Read FracAtlas: 4,083 films of hand, leg, hip and shoulder, 717 of them with fractures, outlined by radiologists.

images/Fractured/IMG0000019.jpg …, images/Non_fractured/…      JPEG, 8 bit
dataset.csv                                                    image_id, fractured, hardware, body part, view
Annotations/COCO JSON/*.json, Annotations/PASCAL VOC/*.xml, Annotations/YOLO/*.txt     the same boxes; the first is read

``fractured`` is the label fracture, in the table and as a class. Frontal films have no view, since AP and PA are not
told apart. The data set has no patient numbers and no official split of all films.
"""

from pathlib import Path

from data_prep.annotations import coco, voc, yolo
from data_prep.annotations.cell_values import CELL_VALUES
from data_prep.annotations.csv_table import read_csv_header
from data_prep.annotations.label_collector import LabelCollector
from data_prep.annotations.row_problems import Place

_TABLE, _FILM = "dataset.csv", "image_id"
_FINDINGS = {"fractured": "fracture", "hardware": "hardware"}
_BODY_PARTS = {"hand": "HAND", "leg": "LEG", "hip": "HIP", "shoulder": "SHOULDER"}
_VIEWS = {"frontal": None, "lateral": "LATERAL", "oblique": "OBLIQUE"}


def matches_folder(root: Path) -> bool:
    """Whether the folder holds the data set."""
    return {_FILM, "fractured"} <= set(read_csv_header(root / _TABLE))


def read(root: Path, collector: LabelCollector) -> None:
    """Read the table, and the boxes of the first format that is there.

    Args:
        root: folder of the data set.
        collector: receives entries and problems.

    Raises:
        ArchiveError: the table or one of its columns is missing.
    """
    for film, cells, place in collector.read_film_rows(root / _TABLE, _FILM, ("fractured",)):
        collector.add_facts(film, body_part=_only(cells, _BODY_PARTS), view=_only(cells, _VIEWS))
        for column, name in _FINDINGS.items():
            cell = cells.get(column, "").lower()
            if cell not in CELL_VALUES:
                collector.add_problem("label_unknown", place)
                collector.mark_unclear(film, name)
            elif (value := CELL_VALUES[cell]) is not None:
                collector.add_label(film, name, value, place)
    rename = {"fractured": "fracture", **collector.settings.rename}
    collector.settings = collector.settings.model_copy(update={"rename": rename})
    collector.renamed.add("fractured")
    boxes = next((form for form in (coco, voc, yolo) if form.matches_folder(root)), None)
    if boxes is None:
        collector.add_problem("boxes_missing", Place(root))
    else:
        boxes.read(root, collector)


def _only(cells: dict[str, str], meanings: dict[str, str] | dict[str, str | None]) -> str | None:
    """The meaning of the only column that is 1; None if none or several are."""
    columns = [column for column in meanings if CELL_VALUES.get(cells.get(column, "").lower()) == "present"]
    return meanings[columns[0]] if len(columns) == 1 else None
