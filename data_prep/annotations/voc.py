"""A folder with boxes in PASCAL VOC form: one XML file per film.

Annotations/a.xml and JPEGImages/a.jpg (or images/), or a.xml next to a.jpg; splits by folders (train/, val/, test/)
or by ImageSets/Main/train.txt, val.txt, test.txt

Boxes are taken as edges that count from 0, as annotation programs write them; those of the original PASCAL devkit count
from 1, one pixel apart. Their frame follows from ``size``, else from ``tables.box_frame``. A polygon without edges
becomes the box around it; outlines are lost.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from data_prep.annotations.film_lookup import ListedFilm
from data_prep.annotations.label_collector import AnnotatedObject, LabelCollector
from data_prep.annotations.row_problems import Place
from data_prep.annotations.split_names import split_of_path
from data_prep.annotations.upright_boxes import around, too_short
from data_prep.shard_format.boxes import Box

_LISTS = ("ImageSets", "Main")
_ANNOTATIONS = "Annotations"
_IMAGE_FOLDERS = ("JPEGImages", "images")


class Annotation(NamedTuple):
    """One XML file.

    Attributes:
        filename: of the picture, as the program knew it.
        size: (width, height) of the picture in pixels; None where it is not given.
        objects: with their classes.
        nameless: how many objects have no class.
    """

    filename: str
    size: tuple[int, int] | None
    objects: list[AnnotatedObject]
    nameless: int


def matches_folder(root: Path) -> bool:
    """Whether the folder holds such a set."""
    first = next((path for pattern in ("*.xml", "*/*.xml", "*/Annotations/*.xml") for path in root.glob(pattern)), None)
    return first is not None and read_annotation(first) is not None


def read(root: Path, collector: LabelCollector) -> None:
    """Read all XML files of a set, and the splits of its folders and lists."""
    read_files(
        collector.files(root, ".xml"),
        collector,
        lambda path, filename: collector.film(_name(root, path, filename, collector), Place(path)),
    )
    collector.add_folder_splits(root)
    for table in collector.files(root, ".txt"):
        if table.parts[-3:-1] == _LISTS and (split := split_of_path(f"{table.stem}/")) is not None:
            collector.add_split_list(table, split)


def read_files(
    files: Sequence[Path], collector: LabelCollector, film_of: Callable[[Path, str], ListedFilm | None]
) -> None:
    """Read boxes and findings of XML files; one of another form is listed.

    Args:
        files: with the annotations of one film each; the classes of all of them are the vocabulary.
        collector: of entries and problems.
        film_of: film of a file, by its path and the file name of the picture inside; None skips it.
    """
    annotations: dict[Path, Annotation] = {}
    for path in files:
        if (annotation := read_annotation(path)) is None:
            collector.problem("annotation_unreadable", Place(path))
        else:
            annotations[path] = annotation
    vocabulary = sorted({found.name for annotation in annotations.values() for found in annotation.objects})
    for path, annotation in annotations.items():
        film = film_of(path, annotation.filename)
        if film is not None:
            list_nameless(path, annotation, collector)
            collector.add_annotated_film(film, annotation.objects, vocabulary, Place(path), size=annotation.size)


def list_nameless(path: Path, annotation: Annotation, collector: LabelCollector) -> None:
    """List the objects of a file that have no class."""
    for _ in range(annotation.nameless):
        collector.problem("label_unknown", Place(path))


def read_annotation(path: Path) -> Annotation | None:
    """The content of an XML file; None where it is none of this form."""
    try:
        tree = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError, ValueError):
        return None
    if tree.tag != "annotation":
        return None
    elements = tree.findall("object")
    named = (element for element in elements if _class(element))
    objects = [_object(element, Place(path, line, "object")) for line, element in enumerate(named)]
    width, height = (_number(tree, f"size/{name}") for name in ("width", "height"))
    size = (round(width), round(height)) if width and height else None
    return Annotation((tree.findtext("filename") or "").strip(), size, objects, len(elements) - len(objects))


def _name(root: Path, path: Path, filename: str, collector: LabelCollector) -> str:
    """Name of the film: in the folder of pictures, next to the file, by the same name anywhere, else ``filename``."""
    sibling = path.relative_to(root).with_suffix("")
    for folder in _IMAGE_FOLDERS:
        films = sibling.parent.parent / folder
        if sibling.parent.name == _ANNOTATIONS and (root / films).is_dir():
            return (films / sibling.name).as_posix()
    return collector.names.first_unique([sibling.as_posix(), sibling.name, filename], sibling.name)


def _class(element: ElementTree.Element) -> str:
    return (element.findtext("name") or "").strip()


def _object(element: ElementTree.Element, place: Place) -> AnnotatedObject:
    name = _class(element)
    edges = [_number(element, f"bndbox/{edge}") for edge in ("xmin", "ymin", "xmax", "ymax")]
    known = [edge for edge in edges if edge is not None]
    box = Box(*known) if len(known) == len(edges) else None
    if (polygon := element.find("polygon")) is None:
        return AnnotatedObject(name, box, place, "" if box or known else "box_missing")
    points = [_float(point.text) for point in polygon.iter() if point.tag[:1] in ("x", "y")]
    if too_short(points):
        return AnnotatedObject(name, box, place, "polygon_too_short")
    return AnnotatedObject(name, box or around(points), place)


def _number(element: ElementTree.Element, path: str) -> float | None:
    number = _float(element.findtext(path))
    return number if math.isfinite(number) else None


def _float(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        return math.nan
