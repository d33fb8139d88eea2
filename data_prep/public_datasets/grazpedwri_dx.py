"""GRAZPEDWRI-DX: 20,327 wrist films of 6,091 children, 16-bit PNG, with boxes by paediatric radiologists.

images_part1/0001_1297860395_01_WRI-L1_M014.png … images_part4/   or all below images/
dataset.csv                              patient, study, age, sex, side, projection, fracture, metal, cast, osteopenia
folder_structure/pascalvoc/<film>.xml    boxes in pixels; where they are missing:
folder_structure/yolov5/labels/<film>.txt with folder_structure/yolov5/meta.yaml     (supervisely is not read)

``fracture_visible`` is the label fracture, the class foreignbody is foreign_object; metal (plates, wires) stays metal,
and where there is metal but no foreign body nothing is said about foreign objects. The set has no split of its own.
"""

from pathlib import Path

from data_prep.annotations import voc, yolo
from data_prep.annotations.csv_table import csv_header, csv_table
from data_prep.annotations.film_lookup import ListedFilm
from data_prep.annotations.label_collector import Drawn, Label, Told, Where

_TABLE = "dataset.csv"
_FINDINGS = {
    "fracture_visible": "fracture",
    "metal": "metal",
    "cast": "cast",
    "osteopenia": "osteopenia",
    "diagnosis_uncertain": "diagnosis_uncertain",
}
_NEEDED = ("filestem", "patient_id", "study_number", "gender", "age", "laterality", "projection", *_FINDINGS)
_PROJECTIONS = {"1": "AP", "2": "LATERAL", "3": "OBLIQUE"}
_CLASSES = (
    *("boneanomaly", "bonelesion", "foreignbody", "fracture", "metal", "periostealreaction", "pronatorsign"),
    *("softtissue", "text"),
)
"""In the order of their numbers in yolov5, where meta.yaml is missing."""
_DRAWN_ONLY = ("boneanomaly", "bonelesion", "periostealreaction", "pronatorsign", "softtissue", "text")
"""What only boxes tell; text is the marker of the side."""
_FOREIGN, _METAL = "foreignbody", "metal"
_LABELS = {_FOREIGN: "foreign_object"}


def is_here(root: Path) -> bool:
    """Whether the folder holds the set."""
    return {"filestem", "fracture_visible"} <= set(csv_header(root / _TABLE))


def read(root: Path, told: Told) -> None:
    """Read the table, then the boxes."""
    films: dict[str, ListedFilm] = {}
    for line, cells in csv_table(root / _TABLE, _NEEDED):
        where = Where(root / _TABLE, line)
        film = told.row(cells["filestem"], where)
        if film is None:
            continue
        films[cells["filestem"]] = film
        told.fact(
            film,
            patient=cells["patient_id"],
            study=cells["study_number"],
            age=cells["age"],
            sex=cells["gender"],
            laterality=cells["laterality"],
            view=_PROJECTIONS.get(cells["projection"]),
            body_part="WRIST",
        )
        for column, name in _FINDINGS.items():
            if cells[column] in ("", "0", "1"):
                told.label(film, name, Label("present" if cells[column] == "1" else "absent"), where)
            else:
                told.problem("label_unknown", where)
    _read_boxes(root / "folder_structure", films, told)


def _read_boxes(folder: Path, films: dict[str, ListedFilm], told: Told) -> None:
    written, lines = folder / "pascalvoc", folder / "yolov5" / "labels"
    paths = sorted(written.glob("*.xml")) or sorted(lines.glob("*.txt"))
    if not paths:
        told.problem("boxes_missing", Where(folder))
    names = yolo.class_names(folder / "yolov5") or dict(enumerate(_CLASSES))
    seen: set[str] = set()
    for path in paths:
        if path.stem not in films:
            told.problem("row_without_file", Where(path))
            continue
        seen.add(path.stem)
        film = films[path.stem]
        if path.suffix == ".xml":
            annotation = voc.read_annotation(path)
            if annotation is None:
                told.problem("annotation_unreadable", Where(path))
                continue
            _tell(film, voc.objects(path, annotation, told), annotation.size, told, Where(path))
        else:
            drawn = yolo.objects(path, film, told, names)
            if drawn is not None:
                _tell(film, drawn, None, told, Where(path))
    for stem in sorted(films.keys() - seen) if paths else ():
        told.problem("film_without_annotation", Where(folder.parent / stem))


def _tell(film: ListedFilm, found: list[Drawn], size: tuple[int, int] | None, told: Told, where: Where) -> None:
    told.objects(film, [one._replace(name=_LABELS.get(one.name, one.name)) for one in found], size=size)
    classes = {one.name for one in found}
    told.findings(film, classes, _DRAWN_ONLY, where)
    metal = _METAL in classes or told.value(film, _METAL) == "present"
    if _FOREIGN in classes or not metal:
        told.label(film, _LABELS[_FOREIGN], Label("present" if _FOREIGN in classes else "absent"), where)
