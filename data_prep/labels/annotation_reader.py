"""Read annotation files of experts: COCO JSON, folders of VOC XML or YOLO text files → boxes and implied findings.

A YAML file with the names of the classes is read as the YOLO folder that contains it. A film is found by the name of
its picture: a path, the end of a path, or the SOP Instance UID. The formats are in :mod:`data_prep.annotations`.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from data_prep.annotations import coco, voc, yolo
from data_prep.annotations.film_lookup import ListedFilm
from data_prep.annotations.label_collector import LabelCollector
from data_prep.annotations.row_problems import Place
from data_prep.errors import ArchiveError, LabelError
from data_prep.labels.archive_films import ArchiveFilms
from data_prep.labels.row_counts import RowCount

Form = Literal["csv", "coco", "voc", "yolo"]

_ENDINGS: dict[str, Form] = {".json": "coco", ".xml": "voc", ".yaml": "yolo", ".yml": "yolo"}


def annotation_format(path: Path) -> Form:
    """Detect the format of a file or folder by its content.

    Raises:
        LabelError: it does not exist, or a folder holds annotations of no known format, or of several.
    """
    if path.is_file():
        return _ENDINGS.get(path.suffix.lower(), "csv")
    if not path.is_dir():
        raise LabelError(f"{path} does not exist; give a CSV table, a COCO file, or a folder of VOC or YOLO files")
    formats: list[Form] = ["voc"] if next(_xml_files(path), None) else []
    formats += ["coco"] if next(_json_files(path), None) else []
    if next(_text_files(path), None) and (not formats or _folder_with_classes(path)):
        formats.append("yolo")
    if not formats:
        raise LabelError(f"{path} holds no annotations: neither JSON of COCO, XML of VOC, nor text files of YOLO")
    if len(formats) > 1:
        forms = " and ".join(formats)
        raise LabelError(
            f"{path} holds annotations of several formats ({forms}); give the folder of one of them,"
            " or the YAML file of YOLO"
        )
    return formats[0]


def read_annotations(path: Path, films: ArchiveFilms, collector: LabelCollector, count: RowCount) -> None:
    """Read a file or folder of one reader into ``collector``.

    Args:
        path: file or folder.
        films: films of the scan.
        collector: receives the reader's entries and problems.
        count: receives the numbers of boxes used and skipped.

    Raises:
        LabelError: no file names the classes, or the folder holds key points instead of boxes.
    """
    collector.reader_number()  # readers are numbered in the order of their files
    problems, boxes = len(collector.problems), len(collector.boxes)
    {"coco": _read_coco, "voc": _read_voc, "yolo": _read_yolo}[annotation_format(path)](path, collector)
    codes = [problem.code for problem in collector.problems[problems:]]
    for code in codes:
        if code in ("row_without_file", "no_film"):
            count.skip("not_in_shards" if code == "no_film" else code)
    if not collector.films_named and set(codes) <= {"class_empty"}:
        collector.add_problem("no_images", Place(path))
    for key, film in collector.films_named.items():
        if films.frame_count(film) > 1:
            collector.add_problem("several_films", collector.places[key])
        elif key not in films.sharded:
            collector.add_problem("not_in_shards", collector.places[key])
    for entry in collector.boxes[boxes:]:
        if entry.key in films.sharded:
            count.used += 1
        else:
            count.skip("not_in_shards")


def _read_coco(path: Path, collector: LabelCollector) -> None:
    coco.read_files([path] if path.is_file() else list(_json_files(path)), collector)


def _read_voc(path: Path, collector: LabelCollector) -> None:
    root, files = (path.parent, [path]) if path.is_file() else (path, list(_xml_files(path)))
    voc.read_files(files, collector, lambda file, filename: _find_film(root, file, collector, filename))


def _read_yolo(path: Path, collector: LabelCollector) -> None:
    path = path.parent if path.is_file() else path
    root = _folder_with_classes(path)
    if root is None:
        missing = f"no YAML file with 'names' and no {yolo.CLASSES_FILE}"
        raise LabelError(f"{path}: {missing}; add one of them with the names of the classes")
    if (key_points_file := yolo.find_key_points_file(root)) is not None:
        raise LabelError(f"{key_points_file} describes key points, not boxes; give a folder of boxes")
    lists = list(_files_with_ending(yolo.CLASSES_FILE)(path))
    classes = _class_names(root, lists)
    if not all(name.strip() for name in classes.values()):
        collector.add_problem("class_without_name", Place(root))
    yolo.read_files(list(_text_files(path)), collector, lambda file, _: _find_film(path, file, collector), classes)


def _folder_with_classes(path: Path) -> Path | None:
    """The folder with the names of the classes: ``path`` or its parent; None where neither has them."""
    return next((folder for folder in (path, path.parent) if _class_names(folder)), None)


def _class_names(folder: Path, others: Sequence[Path] = ()) -> dict[int, str]:
    try:
        return yolo.class_names(folder, others)
    except ArchiveError as error:
        raise LabelError(str(error)) from None


def _find_film(root: Path, file: Path, collector: LabelCollector, filename: str = "") -> ListedFilm | None:
    """The film of an annotation file, by the name of the file or the ``filename`` inside; a repeated film is listed."""
    name_in_folder = file.relative_to(root).with_suffix("").as_posix()
    picture_name = "/".join("images" if part == "labels" else part for part in name_in_folder.split("/"))
    stem = file.name.removesuffix(file.suffix)
    names = (picture_name, name_in_folder, name_in_folder.rpartition("labels/")[2], stem, filename)
    before = len(collector.films_named)
    film = voc.find_film_of_file(collector, collector.names.first_unique(names, stem), Place(file), filename)
    if film is not None and len(collector.films_named) == before:
        collector.add_problem("film_repeated", Place(file))
        return None
    return film


def _files_with_ending(ending: str) -> Callable[[Path], Iterator[Path]]:
    def files(root: Path) -> Iterator[Path]:
        return (path for path in sorted(root.rglob(f"*{ending}")) if not path.name.startswith("."))

    return files


def _text_files(root: Path) -> Iterator[Path]:
    """Text files in folders named labels; without such a folder, all text files but the list of classes."""
    texts = [path for path in _files_with_ending(".txt")(root) if path.name != yolo.CLASSES_FILE]
    in_labels_folders = [path for path in texts if "labels" in path.relative_to(root.parent).parts[:-1]]
    return iter(in_labels_folders or texts)


_json_files, _xml_files = _files_with_ending(".json"), _files_with_ending(".xml")
