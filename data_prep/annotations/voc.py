"""Read boxes in PASCAL VOC format: one XML file per film.

Annotations/a.xml and JPEGImages/a.jpg (or images/), or a.xml next to a.jpg; splits by folders (train/, val/, test/)
or by ImageSets/Main/train.txt, val.txt, test.txt

Coordinates count from 0, as annotation programs write them (the original PASCAL devkit counts from 1, a difference of
one pixel). Their frame (upright or stored) follows from ``size``, else from ``tables.box_frame``. A polygon without
``bndbox`` is replaced by its bounding box.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from data_prep.annotations.film_lookup import ListedFilm
from data_prep.annotations.label_collector import LabelCollector
from data_prep.annotations.label_entries import AnnotatedObject
from data_prep.annotations.row_problems import Place
from data_prep.annotations.split_names import split_of_path
from data_prep.annotations.upright_boxes import bounding_box, is_too_short
from data_prep.shard_format.boxes import Box

_SPLIT_LISTS_FOLDERS = ("ImageSets", "Main")
_ANNOTATIONS_FOLDER = "Annotations"
_IMAGE_FOLDERS = ("JPEGImages", "images")


class Annotation(NamedTuple):
    """The content of one XML file.

    Attributes:
        filename: of the annotated picture.
        size: (width, height) of the picture in pixels; None where it is not stated.
        objects: with a class.
        unnamed_objects: number of objects without a class.
    """

    filename: str
    size: tuple[int, int] | None
    objects: list[AnnotatedObject]
    unnamed_objects: int


def matches_folder(root: Path) -> bool:
    """Whether the folder holds a data set of this format."""
    first = next((path for pattern in ("*.xml", "*/*.xml", "*/Annotations/*.xml") for path in root.glob(pattern)), None)
    return first is not None and read_annotation(first) is not None


def read(root: Path, collector: LabelCollector) -> None:
    """Read all XML files of a data set, and the splits of its folders and lists.

    Args:
        root: folder of the data set.
        collector: receives entries and problems.
    """
    read_files(
        collector.other_files(root, ".xml"),
        collector,
        lambda path, filename: collector.find_film(_film_name(root, path, filename, collector), Place(path)),
    )
    collector.add_folder_splits(root)
    for table in collector.other_files(root, ".txt"):
        if table.parts[-3:-1] == _SPLIT_LISTS_FOLDERS and (split := split_of_path(f"{table.stem}/")) is not None:
            collector.add_split_list(table, split)


def read_files(
    files: Sequence[Path], collector: LabelCollector, film_of: Callable[[Path, str], ListedFilm | None]
) -> None:
    """Read boxes and findings of XML files; a file of another format is listed.

    Args:
        files: each with the annotations of one film; the classes of all files are the vocabulary.
        collector: receives entries and problems.
        film_of: returns the film for the path of a file and the file name of the picture in it; None skips the file.
    """
    annotations: dict[Path, Annotation] = {}
    for path in files:
        if (annotation := read_annotation(path)) is None:
            collector.add_problem("annotation_unreadable", Place(path))
        else:
            annotations[path] = annotation
    vocabulary = sorted({found.name for annotation in annotations.values() for found in annotation.objects})
    for path, annotation in annotations.items():
        film = film_of(path, annotation.filename)
        if film is not None:
            list_unnamed_objects(path, annotation, collector)
            collector.add_annotated_film(film, annotation.objects, vocabulary, Place(path), size=annotation.size)


def list_unnamed_objects(path: Path, annotation: Annotation, collector: LabelCollector) -> None:
    """List the objects of a file that have no class as problems.

    Args:
        path: of the file.
        annotation: its content.
        collector: receives the problems.
    """
    for _ in range(annotation.unnamed_objects):
        collector.add_problem("label_unknown", Place(path))


def read_annotation(path: Path) -> Annotation | None:
    """Read an XML file; None if it is not of this format."""
    try:
        tree = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError, ValueError):
        return None
    if tree.tag != "annotation":
        return None
    elements = tree.findall("object")
    named_elements = (element for element in elements if _class_name(element))
    objects = [_parse_object(element, Place(path, line, "object")) for line, element in enumerate(named_elements)]
    width, height = (_parse_number(tree, f"size/{name}") for name in ("width", "height"))
    size = (round(width), round(height)) if width and height else None
    return Annotation((tree.findtext("filename") or "").strip(), size, objects, len(elements) - len(objects))


def _film_name(root: Path, path: Path, filename: str, collector: LabelCollector) -> str:
    """Name of the film: in the folder of pictures, next to the file, with the same name anywhere, or ``filename``."""
    annotation_name = path.relative_to(root).with_suffix("")
    for folder in _IMAGE_FOLDERS:
        image_folder = annotation_name.parent.parent / folder
        if annotation_name.parent.name == _ANNOTATIONS_FOLDER and (root / image_folder).is_dir():
            return (image_folder / annotation_name.name).as_posix()
    return collector.names.first_unique(
        [annotation_name.as_posix(), annotation_name.name, filename], annotation_name.name
    )


def _class_name(element: ElementTree.Element) -> str:
    return (element.findtext("name") or "").strip()


def _parse_object(element: ElementTree.Element, place: Place) -> AnnotatedObject:
    name = _class_name(element)
    edges = [_parse_number(element, f"bndbox/{edge}") for edge in ("xmin", "ymin", "xmax", "ymax")]
    numbers = [edge for edge in edges if edge is not None]
    box = Box(*numbers) if len(numbers) == len(edges) else None
    if (polygon := element.find("polygon")) is None:
        return AnnotatedObject(name, box, place, "" if box or numbers else "box_missing")
    points = [_parse_float(point.text) for point in polygon.iter() if point.tag[:1] in ("x", "y")]
    if is_too_short(points):
        return AnnotatedObject(name, box, place, "polygon_too_short")
    return AnnotatedObject(name, box or bounding_box(points), place)


def _parse_number(element: ElementTree.Element, path: str) -> float | None:
    number = _parse_float(element.findtext(path))
    return number if math.isfinite(number) else None


def _parse_float(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        return math.nan
