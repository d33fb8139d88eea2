"""Read boxes in PASCAL VOC format: one XML file per film.

| file | place |
|---|---|
| annotation | Annotations/a.xml with the film in JPEGImages/a.jpg or images/a.jpg, or a.xml in the folder of a.jpg |
| split | folders train/, val/ and test/, or lists ImageSets/Main/train.txt, val.txt and test.txt |

Coordinates count from 0, as annotation programs write them (the original PASCAL devkit counts from 1, a difference of
one pixel). They refer to the upright or to the stored raster of a film with an EXIF orientation: the element ``size``
fits one of them, else the setting ``tables.box_frame`` decides. A polygon without ``bndbox`` is replaced by its
bounding box.
"""

import math
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from data_prep.annotations.annotated_film import add_annotated_film
from data_prep.annotations.file_search import files_below
from data_prep.annotations.film_lookup import ListedFilm
from data_prep.annotations.label_collector import LabelCollector
from data_prep.annotations.label_entries import AnnotatedObject
from data_prep.annotations.row_problems import Place
from data_prep.annotations.split_names import split_of_path
from data_prep.annotations.upright_boxes import bounding_box, is_incomplete_polygon
from data_prep.bounded_reading import parse_xml, read_bounded
from data_prep.shard_format.boxes import Box

_SPLIT_LISTS_FOLDERS = ("ImageSets", "Main")
_ANNOTATIONS_FOLDER = "Annotations"
_MAX_BYTES = 2**24
"""Largest file of one film."""
_IMAGE_FOLDERS = ("JPEGImages", "images")
_MAX_FILES_TRIED = 64


class Annotation(NamedTuple):
    """The content of one XML file.

    Attributes:
        filename: file name of the annotated picture; empty if the file does not state it.
        size: (width, height) of the picture in pixels; None if the file does not state it.
        objects: objects with a class.
        parts: parts of objects with a class; they say what is present, not what is absent.
        unnamed_objects: number of objects and parts without a class.
    """

    filename: str
    size: tuple[int, int] | None
    objects: list[AnnotatedObject]
    parts: list[AnnotatedObject]
    unnamed_objects: int


def matches_folder(root: Path) -> bool:
    """Whether the folder holds a data set in PASCAL VOC format: one of its first XML files is an annotation."""
    return any(read_annotation(path) is not None for path in islice(files_below(root, ".xml"), _MAX_FILES_TRIED))


def read(root: Path, collector: LabelCollector) -> None:
    """Read the annotations of a data set, and its splits from folders and lists.

    Args:
        root: folder of the data set.
        collector: receives entries and problems.
    """

    def film_of(path: Path, filename: str) -> ListedFilm | None:
        return find_film_of_file(collector, _film_name(root, path, filename, collector), Place(path), filename)

    read_files(collector.list_non_film_files(root, ".xml"), collector, film_of)
    collector.add_folder_splits(root)
    for table in collector.list_non_film_files(root, ".txt"):
        if table.parts[-3:-1] == _SPLIT_LISTS_FOLDERS and (split := split_of_path(f"{table.stem}/")) is not None:
            collector.add_split_list(table, split)


def read_files(
    files: Sequence[Path], collector: LabelCollector, find_film: Callable[[Path, str], ListedFilm | None]
) -> None:
    """Read boxes and findings from XML files; a file of another format is added to the problems.

    Args:
        files: each with the annotations of one film; the classes of all files are the vocabulary.
        collector: receives entries and problems.
        find_film: returns the film of an annotation file, given the path of the file and the name of the picture in
            it; a file for which it returns None is skipped.
    """
    annotations: dict[Path, Annotation] = {}
    for path in files:
        if (annotation := read_annotation(path)) is None:
            collector.add_problem("annotation_unreadable", Place(path))
        else:
            annotations[path] = annotation
    vocabulary = sorted({item.name for annotation in annotations.values() for item in annotation.objects})
    for path, annotation in annotations.items():
        film = find_film(path, annotation.filename)
        if film is not None:
            report_unnamed_objects(path, annotation, collector)
            add_annotated_film(
                collector,
                film,
                [*annotation.objects, *annotation.parts],
                vocabulary,
                Place(path),
                size=annotation.size,
                understood=not annotation.unnamed_objects,
            )


def find_film_of_file(collector: LabelCollector, name: str, place: Place, filename: str) -> ListedFilm | None:
    """Find the film of an annotation file.

    Args:
        collector: receives problems.
        name: of the film, by the name of the file.
        place: of the file.
        filename: name of the picture inside the file.

    Returns:
        The film; None if there is none or several, or ``filename`` is another film, which is listed.
    """
    film = collector.find_film(name, place)
    others = collector.names.find(filename) if film is not None else []
    if film is not None and any(others) and film not in others:
        collector.add_problem("filename_differs", place)
        collector.mark_unclear(film)
        return None
    return film


def report_unnamed_objects(path: Path, annotation: Annotation, collector: LabelCollector) -> None:
    """Add a problem for each object of a file that has no class.

    Args:
        path: annotation file.
        annotation: content of the file.
        collector: receives the problems.
    """
    for _ in range(annotation.unnamed_objects):
        collector.add_problem("label_unknown", Place(path))


def read_annotation(path: Path) -> Annotation | None:
    """Read an annotation file; returns None if it is not valid XML, or not in PASCAL VOC format."""
    try:
        tree = parse_xml(read_bounded(path, _MAX_BYTES))
    except (OSError, ValueError):
        return None
    if tree.tag != "annotation":
        return None
    objects, parts = (_parse_objects(tree, path, kind) for kind in ("object", "object//part"))
    width, height = (_parse_number(tree, f"size/{name}") for name in ("width", "height"))
    size = (round(width), round(height)) if width and height else None
    unnamed = sum(not item.name for item in (*objects, *parts))
    named, named_parts = ([item for item in items if item.name] for items in (objects, parts))
    return Annotation((tree.findtext("filename") or "").strip(), size, named, named_parts, unnamed)


def _film_name(root: Path, path: Path, filename: str, collector: LabelCollector) -> str:
    """Name by which the film of an annotation file is found.

    For a file in Annotations/ it is the path in the picture folder, without suffix; where that folder has subfolders,
    that of the only film below it with this stem. Otherwise it is the first of these
    that matches exactly one film: path of the file without suffix, its stem, ``filename``; the stem if none does.
    """
    annotation_name = path.relative_to(root).with_suffix("")
    for folder in _IMAGE_FOLDERS:
        image_folder = annotation_name.parent.parent / folder
        if annotation_name.parent.name == _ANNOTATIONS_FOLDER and (root / image_folder).is_dir():
            return collector.names.name_below(image_folder.as_posix(), annotation_name.name)
    return collector.names.first_unique(
        [annotation_name.as_posix(), annotation_name.name, filename], annotation_name.name
    )


def _parse_objects(tree: ElementTree.Element, path: Path, element_path: str) -> list[AnnotatedObject]:
    elements = enumerate(tree.findall(element_path))
    return [_parse_object(element, Place(path, line, "object")) for line, element in elements]


def _parse_object(element: ElementTree.Element, place: Place) -> AnnotatedObject:
    name = (element.findtext("name") or "").strip()
    coordinates = [_parse_number(element, f"bndbox/{edge}") for edge in ("xmin", "ymin", "xmax", "ymax")]
    numbers = [coordinate for coordinate in coordinates if coordinate is not None]
    box = Box(*numbers) if len(numbers) == len(coordinates) else None
    if (polygon := element.find("polygon")) is None:
        return AnnotatedObject(name, box, place, "" if box or numbers else "box_missing")
    points = [_parse_float(point.text) for point in polygon.iter() if point.tag[:1] in ("x", "y")]
    if is_incomplete_polygon(points):
        return AnnotatedObject(name, box, place, "polygon_too_short")
    return AnnotatedObject(name, box or bounding_box(points), place)


def _parse_number(element: ElementTree.Element, element_path: str) -> float | None:
    """Number at an element path; None if it is missing, no number or not finite."""
    number = _parse_float(element.findtext(element_path))
    return number if math.isfinite(number) else None


def _parse_float(text: str | None) -> float:
    """Number in a text; NaN if it is not a number."""
    try:
        return float(text or "")
    except ValueError:
        return math.nan
