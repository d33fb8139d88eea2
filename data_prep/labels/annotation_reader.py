"""Annotation files of experts: COCO JSON, folders of VOC XML or YOLO text files. Boxes, and the findings they imply.

A YAML file with the names of the classes stands for the YOLO folder that it lies in.

The readers are those of public sets (:mod:`data_prep.annotations`). A film is found by the name of its picture: a path,
the end of one, or the SOP Instance UID.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from data_prep.annotations import coco, voc, yolo
from data_prep.annotations.film_lookup import ListedFilm
from data_prep.annotations.label_collector import LabelCollector
from data_prep.annotations.row_problems import Place
from data_prep.errors import LabelError
from data_prep.labels.archive_films import ArchiveFilms
from data_prep.labels.row_counts import RowCount

Form = Literal["csv", "coco", "voc", "yolo"]

_ENDINGS: dict[str, Form] = {".json": "coco", ".xml": "voc", ".yaml": "yolo", ".yml": "yolo"}


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


def read_annotations(path: Path, films: ArchiveFilms, collector: LabelCollector, count: RowCount) -> None:
    """Read a file or folder of one reader.

    Args:
        path: of the file or folder.
        films: of the scan.
        collector: of the reader's entries, and of problems.
        count: of boxes.

    Raises:
        LabelError: no file names the classes, or the folder is of another task.
    """
    collector.reader_number()  # readers count in the order of their files
    problems, boxes = len(collector.problems), len(collector.boxes)
    {"coco": _read_coco, "voc": _read_voc, "yolo": _read_yolo}[form_of(path)](path, collector)
    codes = [problem.code for problem in collector.problems[problems:]]
    for code in codes:
        if code in ("row_without_file", "no_film"):
            count.skip("not_in_shards" if code == "no_film" else code)
    if not collector.films_named and set(codes) <= {"class_empty"}:
        collector.problem("no_images", Place(path))
    for key, film in collector.films_named.items():
        if films.count(film) > 1:
            collector.problem("several_films", collector.places[key])
        elif key not in films.sharded:
            collector.problem("not_in_shards", collector.places[key])
    for entry in collector.boxes[boxes:]:
        if entry.key in films.sharded:
            count.used += 1
        else:
            count.skip("not_in_shards")


def _read_coco(path: Path, collector: LabelCollector) -> None:
    coco.read_files([path] if path.is_file() else list(_jsons(path)), collector)


def _read_voc(path: Path, collector: LabelCollector) -> None:
    root, files = (path.parent, [path]) if path.is_file() else (path, list(_xmls(path)))
    voc.read_files(files, collector, lambda file, filename: _film(root, file, collector, filename))


def _read_yolo(path: Path, collector: LabelCollector) -> None:
    path = path.parent if path.is_file() else path
    root = _classes_of(path)
    if root is None:
        missing = f"no YAML file with 'names' and no {yolo.CLASSES_FILE}"
        raise LabelError(f"{path}: {missing}; add one of them with the names of the classes")
    if (pose := yolo.key_points(root)) is not None:
        raise LabelError(f"{pose}: describes key points, not boxes; is the folder of another task?")
    classes = yolo.class_names(root)
    if not all(name.strip() for name in classes.values()):
        collector.problem("class_without_name", Place(root))
    yolo.read_files(list(_texts(path)), collector, lambda file, _: _film(path, file, collector), classes)


def _classes_of(path: Path) -> Path | None:
    """The folder that names the classes: the one given, or the one above it."""
    return next((folder for folder in (path, path.parent) if yolo.class_names(folder)), None)


def _film(root: Path, file: Path, collector: LabelCollector, filename: str = "") -> ListedFilm | None:
    """The film of an annotation file of its own, by the name of the file or the ``filename`` inside; each once."""
    sibling = file.relative_to(root).with_suffix("").as_posix()
    pictures = "/".join("images" if part == "labels" else part for part in sibling.split("/"))
    stem = file.name.removesuffix(file.suffix)
    names = (pictures, sibling, sibling.rpartition("labels/")[2], stem, filename)
    before = len(collector.films_named)
    film = collector.film(collector.names.first_unique(names, stem), Place(file))
    if film is not None and len(collector.films_named) == before:
        collector.problem("film_repeated", Place(file))
        return None
    return film


def _files(ending: str) -> Callable[[Path], Iterator[Path]]:
    def found(root: Path) -> Iterator[Path]:
        return (path for path in sorted(root.rglob(f"*{ending}")) if not path.name.startswith("."))

    return found


def _texts(root: Path) -> Iterator[Path]:
    """Text files below folders called labels; where there is none, all but the list of classes."""
    texts = [path for path in _files(".txt")(root) if path.name != yolo.CLASSES_FILE]
    placed = [path for path in texts if "labels" in path.relative_to(root.parent).parts[:-1]]
    return iter(placed or texts)


_jsons, _xmls = _files(".json"), _files(".xml")
