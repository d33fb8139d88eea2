"""Annotation files of experts: COCO JSON, folders of VOC XML or YOLO text files. Boxes, and the findings they imply.

A YAML file with the names of the classes stands for the YOLO folder that it lies in.

The same readers read whole public sets (``data_prep.sources``); here the films are those of an archive, and what cannot
be used is a mistake. A film is found by the name of its picture: a path, the end of one, or the SOP Instance UID.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from data_prep.annotations import coco, voc, yolo
from data_prep.annotations.film_lookup import ListedFilm
from data_prep.annotations.label_collector import Told, Where
from data_prep.errors import LabelError
from data_prep.labels.archive_films import ArchiveFilms
from data_prep.labels.label_rows import (
    EMPTY_CLASS,
    NO_FILMS,
    NOT_IN_SHARDS,
    UNKNOWN_FILM,
    BoxRow,
    LabelRow,
    Origin,
    Rows,
    Trouble,
)
from data_prep.labels.settings import LabelSettings
from data_prep.shard_format.label_schema import ADJUDICATED

Form = Literal["csv", "coco", "voc", "yolo"]

WORDS = {
    "name_fits_several": "the name fits several films; give more of the path",
    "film_repeated": "the film has been named before; keep one entry per film",
    "image_repeated": "the number of this image stands twice",
    "image_unknown": "the annotation is of an image that the file does not list",
    "class_without_name": "a class has no name or no number",
    "class_repeated": "the number of this class stands twice, with another name",
    "label_unknown": "no class, or one that the list of classes does not have",
    "label_needs_rename": "the name of the class is none that a label can have; rename={…} gives it one",
    "box_missing": "neither a box nor an outline; is the file of another task?",
    "box_not_a_number": "the numbers make no box",
    "polygon_too_short": "a polygon needs three points of two numbers each",
    "box_empty": "the box is empty",
    "box_outside": "the box lies outside of the film",
    "box_cut": "the box reaches out of the film; give pixels of the original film",
    "box_of_another_size": "drawn on a picture of another size than the film; give pixels of the original film",
    "box_repeated": "the same box stands twice; remove one of them",
    "annotation_unreadable": "cannot be read as an annotation file of this form",
    "label_conflict": "another annotation of this film says otherwise; keep one per film",
    "several_films": "the file holds several films; give their boxes as a CSV table with the column frame",
}
"""Problem of :class:`~data_prep.annotations.label_collector.Told` → what is said of it."""
_ENDINGS: dict[str, Form] = {".json": "coco", ".xml": "voc", ".yaml": "yolo", ".yml": "yolo"}
_OF_SETS = {"split_unknown", "split_conflict"}
"""Problems that are none beside an archive."""
_CLASSES = "classes.txt"


def form_of(path: Path) -> Form:
    """The form of a file or folder by what is in it.

    Raises:
        LabelError: it does not exist, or a folder holds annotations of no form, or of several.
    """
    if path.is_file():
        return _ENDINGS.get(path.suffix.lower(), "csv")
    if not path.is_dir():
        raise LabelError(f"{path} does not exist; give a CSV table, a COCO file, or a folder of VOC or YOLO files")
    found: list[Form] = ["voc"] if next(_xmls(path), None) else []
    found += ["coco"] if next(_jsons(path), None) else []
    if next(_texts(path), None) and (not found or _classes_of(path)):
        found.append("yolo")
    if not found:
        raise LabelError(f"{path} holds no annotations: neither JSON of COCO, XML of VOC, nor text files of YOLO")
    if len(found) > 1:
        forms = " and ".join(found)
        raise LabelError(
            f"{path} holds annotations of the forms {forms}; give the folder of one of them, of YOLO the YAML"
        )
    return found[0]


def read_annotations(
    path: Path, films: ArchiveFilms, rows: Rows, settings: LabelSettings, reader: str = "", *, adjudicated: bool = False
) -> None:
    """Read a file or folder of one reader into ``rows``; arguments as for a CSV table.

    Raises:
        LabelError: nothing says what the classes are called, or the folder is of another task.
    """
    told = Told(films.names, settings)
    {"coco": _read_coco, "voc": _read_voc, "yolo": _read_yolo}[form_of(path)](path, told)
    if not told.spoken and all(problem == "class_empty" for problem, _ in told.problems):
        rows.mistake(Where(path), NO_FILMS)
    for film in told.spoken.values():
        if films.count(film) > 1:
            told.problem("several_films", told.named[film.row])
        elif films.key(film) not in films.sharded:
            rows.passed_over.append(Trouble(NOT_IN_SHARDS, told.named[film.row]))
    for problem, where in told.problems:
        if problem in WORDS:
            rows.mistake(where, WORDS[problem])
        elif problem == "class_empty":
            rows.passed_over.append(Trouble(EMPTY_CLASS, where))
        elif problem not in _OF_SETS:
            rows.pass_over(where, NOT_IN_SHARDS if problem == "no_film" else UNKNOWN_FILM, rows.box_count)
    rows.renamed |= settings.rename.keys() - set(told.unused_names())
    number = ADJUDICATED if adjudicated else rows.reader(reader)
    origins = {row: Origin(f"/{film.below}", told.named[row], reader) for row, film in told.spoken.items()}
    for (row, label), (value, *_) in told.labels.items():
        key = films.key(told.spoken[row])
        rows.implied.append(LabelRow(key, label, value, None, "expert", 1.0, number, origins[row]))
    for (row, label), boxes in told.boxes.items():
        key = films.key(told.spoken[row])
        rows.boxes += [BoxRow(key, label, box, number, origins[row]) for box, _ in boxes]
        rows.box_count.used += len(boxes) if key in films.sharded else 0
        rows.box_count.not_in_shards += 0 if key in films.sharded else len(boxes)


def _read_coco(path: Path, told: Told) -> None:
    for file in [path] if path.is_file() else _jsons(path):
        content = coco.content_of(file)
        if content is None:
            told.problem("annotation_unreadable", Where(file))
            continue
        for place in coco.empty_classes(content):
            told.problem("class_empty", Where(file, place, "categories"))
        coco.read_file(file, content, told)


def _read_voc(path: Path, told: Told) -> None:
    root = path.parent if path.is_file() else path
    annotations = {}
    for file in [path] if path.is_file() else _xmls(path):
        annotation = voc.read_annotation(file)
        if annotation is None:
            told.problem("annotation_unreadable", Where(file))
        else:
            annotations[file] = annotation
    vocabulary = sorted({name for annotation in annotations.values() for name, *_ in annotation.objects})
    for file, annotation in annotations.items():
        film = _film(root, file, told, annotation.filename)
        if film is not None:
            objects = voc.objects(file, annotation, told)
            told.drawn(film, objects, vocabulary, Where(file), size=annotation.size)


def _read_yolo(path: Path, told: Told) -> None:
    path = path.parent if path.is_file() else path
    root = _classes_of(path)
    if root is None:
        raise LabelError(f"{path}: no YAML file with 'names' and no {_CLASSES}: what are the classes called?")
    if (pose := yolo.key_points(root)) is not None:
        raise LabelError(f"{pose}: describes key points, not boxes; is the folder of another task?")
    names = yolo.class_names(root)
    if not all(name.strip() for name in names.values()):
        told.problem("class_without_name", Where(root))
    for file in _texts(path):
        film = _film(path, file, told)
        objects = yolo.objects(file, film, told, names) if film is not None else None
        if film is not None and objects is not None:
            told.drawn(film, objects, list(names.values()), Where(file))


def _classes_of(path: Path) -> Path | None:
    """The folder that says what the classes are called: the one given, or the one above it."""
    return next((folder for folder in (path, path.parent) if yolo.class_names(folder)), None)


def _film(root: Path, file: Path, told: Told, filename: str = "") -> ListedFilm | None:
    """The film that an annotation file of its own is about; its name is that of the file, or told inside."""
    beside = file.relative_to(root).with_suffix("").as_posix()
    pictures = "/".join("images" if part == "labels" else part for part in beside.split("/"))
    below = beside.rpartition("labels/")[2]
    stem = file.name.removesuffix(file.suffix)
    names = (pictures, beside, below, stem, filename)
    name = next((name for name in names if len(told.names.find(name)) == 1), stem)
    there = len(told.spoken)
    film = told.film(name, Where(file))
    if film is not None and len(told.spoken) == there:
        told.problem("film_repeated", Where(file))
        return None
    return film


def _files(ending: str) -> Callable[[Path], Iterator[Path]]:
    def found(root: Path) -> Iterator[Path]:
        return (path for path in sorted(root.rglob(f"*{ending}")) if not path.name.startswith("."))

    return found


def _texts(root: Path) -> Iterator[Path]:
    """Text files below folders called labels; where there is none, all but the list of classes."""
    texts = [path for path in _files(".txt")(root) if path.name != _CLASSES]
    placed = [path for path in texts if "labels" in path.relative_to(root.parent).parts[:-1]]
    return iter(placed or texts)


_jsons, _xmls = _files(".json"), _files(".xml")
