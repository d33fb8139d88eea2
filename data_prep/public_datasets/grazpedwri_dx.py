"""Read GRAZPEDWRI-DX: 20,327 wrist films of 6,091 children, 16-bit PNG, with boxes by paediatric radiologists.

images_part1/0001_1297860395_01_WRI-L1_M014.png … images_part4/   or all in images/
dataset.csv                              patient, study, age, sex, side, projection, fracture, metal, cast, osteopenia
folder_structure/pascalvoc/<film>.xml    boxes in pixels; without these files:
folder_structure/yolov5/labels/<film>.txt with folder_structure/yolov5/meta.yaml     (supervisely: not read)

``fracture_visible`` is the label fracture, the class foreignbody is foreign_object; metal (plates, wires) stays metal,
and a film with metal but no foreign body has no label foreign_object. The data set has no official split.
"""

from pathlib import Path

from data_prep.annotations import voc, yolo
from data_prep.annotations.annotated_film import add_objects
from data_prep.annotations.csv_table import read_csv_header
from data_prep.annotations.film_lookup import ListedFilm
from data_prep.annotations.label_collector import LabelCollector
from data_prep.annotations.label_entries import AnnotatedObject
from data_prep.annotations.row_problems import Place

_TABLE = "dataset.csv"
_FINDINGS = {
    "fracture_visible": "fracture",
    "metal": "metal",
    "cast": "cast",
    "osteopenia": "osteopenia",
    "diagnosis_uncertain": "diagnosis_uncertain",
}
_REQUIRED_COLUMNS = ("patient_id", "study_number", "gender", "age", "laterality", "projection", *_FINDINGS)
_PROJECTIONS = {"1": "AP", "2": "LATERAL", "3": "OBLIQUE"}
_CLASSES = (
    *("boneanomaly", "bonelesion", "foreignbody", "fracture", "metal", "periostealreaction", "pronatorsign"),
    *("softtissue", "text"),
)
"""Classes by their numbers in yolov5, used if meta.yaml is missing."""
_KNOWN_CLASSES = frozenset((*_CLASSES, "axis"))
_BOXES_ONLY = ("boneanomaly", "bonelesion", "periostealreaction", "pronatorsign", "softtissue", "text")
"""Classes without a column in the table; text is the side marker."""
_FOREIGN_BODY, _METAL = "foreignbody", "metal"
_LABELS = {_FOREIGN_BODY: "foreign_object"}


def matches_folder(root: Path) -> bool:
    """Whether the folder holds the data set."""
    return {"filestem", "fracture_visible"} <= set(read_csv_header(root / _TABLE))


def read(root: Path, collector: LabelCollector) -> None:
    """Read the table and the boxes.

    Args:
        root: folder of the data set.
        collector: receives entries and problems.

    Raises:
        ArchiveError: the table or one of its columns is missing.
    """
    films: dict[str, tuple[ListedFilm, bool]] = {}
    for film, cells, place in collector.read_film_rows(root / _TABLE, "filestem", _REQUIRED_COLUMNS):
        films[cells["filestem"]] = film, cells[_METAL] not in ("", "0")
        collector.add_facts(
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
                collector.add_label(film, name, "present" if cells[column] == "1" else "absent", place)
            else:
                collector.add_problem("label_unknown", place)
    _read_boxes(root / "folder_structure", films, collector)


def _read_boxes(folder: Path, films: dict[str, tuple[ListedFilm, bool]], collector: LabelCollector) -> None:
    """Read the boxes of ``films``: name without ending → (film, whether the table may state metal)."""
    paths = sorted((folder / "pascalvoc").glob("*.xml")) or sorted((folder / "yolov5" / "labels").glob("*.txt"))
    if not paths:
        collector.add_problem("boxes_missing", Place(folder))
    classes = yolo.class_names(folder / "yolov5") or dict(enumerate(_CLASSES))
    read_stems: set[str] = set()
    for path in paths:
        if path.stem not in films:
            collector.add_problem("row_without_file", Place(path))
            continue
        read_stems.add(path.stem)
        film, metal = films[path.stem]
        if path.suffix == ".txt":
            found, size = yolo.read_objects(path, film, collector, classes), None
            objects, understood = found if found is not None else (None, False)
        elif (annotation := voc.read_annotation(path)) is not None:
            voc.report_unnamed_objects(path, annotation, collector)
            objects, size = [*annotation.objects, *annotation.parts], annotation.size
            understood = not annotation.unnamed_objects
        else:
            objects, size, understood = None, None, False
            collector.add_problem("annotation_unreadable", Place(path))
        if not understood or any(item.name not in _KNOWN_CLASSES for item in objects or ()):
            collector.mark_unclear(film)
        if objects is not None:
            add_objects(
                collector, film, [item._replace(name=_LABELS.get(item.name, item.name)) for item in objects], size=size
            )
            _add_findings(film, objects, metal, collector, Place(path))
    for stem in sorted(films.keys() - read_stems) if paths else ():
        collector.add_problem("film_without_annotation", Place(folder.parent / stem))


def _add_findings(
    film: ListedFilm, objects: list[AnnotatedObject], metal: bool, collector: LabelCollector, place: Place
) -> None:
    classes = {item.name for item in objects}
    vocabulary = list(_BOXES_ONLY)
    if _FOREIGN_BODY in classes or not (metal or _METAL in classes):
        vocabulary.append(_LABELS[_FOREIGN_BODY])
    present = {_LABELS.get(name, name) for name in classes}
    collector.add_findings(film, present, vocabulary, place, implied=True)
