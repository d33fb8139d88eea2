"""A folder with boxes in PASCAL VOC form: one XML file per film.

Annotations/a.xml beside JPEGImages/a.jpg (or images/), or a.xml beside a.jpg; splits by folders (train/, val/, test/)
or by ImageSets/Main/train.txt, val.txt, test.txt

Boxes are taken as edges that count from 0, as annotation programs write them; those of the original PASCAL devkit count
from 1, one pixel apart. Their frame is told by ``size``, else by ``tables.box_frame``. A polygon without edges
becomes the box around it; outlines are lost.
"""

import math
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from data_prep.annotations.csv_table import csv_rows
from data_prep.annotations.label_collector import Drawn, Told, Where, split_of_path
from data_prep.annotations.upright_boxes import around, too_short
from data_prep.shard_format.boxes import Box

_LISTS = ("ImageSets", "Main")
_ANNOTATIONS = "Annotations"
_IMAGE_FOLDERS = ("JPEGImages", "images")


class Annotation(NamedTuple):
    """One XML file.

    Attributes:
        filename: of the picture, as the program knew it.
        size: (width, height) of the picture; None where it is not given.
        objects: (class, box, fault); no box where it is not whole.
        faulty: objects without a class.
    """

    filename: str
    size: tuple[int, int] | None
    objects: list[tuple[str, Box | None, str]]
    faulty: int


def is_here(root: Path) -> bool:
    """Whether the folder holds such a set."""
    first = next((path for pattern in ("*.xml", "*/*.xml", "*/Annotations/*.xml") for path in root.glob(pattern)), None)
    return first is not None and read_annotation(first) is not None


def read(root: Path, told: Told) -> None:
    """Read all XML files."""
    there: dict[Path, Annotation] = {}
    for path in told.files(root, ".xml"):
        annotation = read_annotation(path)
        if annotation is None:
            told.problem("annotation_unreadable", Where(path))
        else:
            there[path] = annotation
    vocabulary = sorted({name for annotation in there.values() for name, *_ in annotation.objects})
    for path, annotation in there.items():
        film = told.film(_name(root, path, annotation, told), Where(path))
        if film is not None:
            told.drawn(film, objects(path, annotation, told), vocabulary, Where(path), size=annotation.size)
    for film in told.names.films:
        if (split := split_of_path(film.below)) is not None:
            told.split(film, split, Where(root / film.below))
    for table in told.files(root, ".txt"):
        if table.parts[-3:-1] == _LISTS and (split := split_of_path(f"{table.stem}/")) is not None:
            for line, cells in csv_rows(table):
                film = told.row(cells[0], Where(table, line))
                if film is not None:
                    told.split(film, split, Where(table, line))


def objects(path: Path, annotation: Annotation, told: Told) -> list[Drawn]:
    """The objects of an XML file; faulty ones are listed."""
    for _ in range(annotation.faulty):
        told.problem("label_unknown", Where(path))
    return [
        Drawn(name, box, Where(path, place, "object"), fault)
        for place, (name, box, fault) in enumerate(annotation.objects)
    ]


def read_annotation(path: Path) -> Annotation | None:
    """The content of an XML file; None where it is none of this form."""
    try:
        tree = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError, ValueError):
        return None
    if tree.tag != "annotation":
        return None
    elements = tree.findall("object")
    objects = [found for found in map(_object, elements) if found is not None]
    width, height = (_number(tree, f"size/{name}") for name in ("width", "height"))
    size = (round(width), round(height)) if width and height else None
    return Annotation((tree.findtext("filename") or "").strip(), size, objects, len(elements) - len(objects))


def _name(root: Path, path: Path, annotation: Annotation, told: Told) -> str:
    """What the film is called: in the folder of pictures, beside the file, by the same name anywhere, else as told."""
    beside = path.relative_to(root).with_suffix("")
    for folder in _IMAGE_FOLDERS:
        films = beside.parent.parent / folder
        if beside.parent.name == _ANNOTATIONS and (root / films).is_dir():
            return (films / beside.name).as_posix()
    names = [beside.as_posix(), beside.name, annotation.filename]
    return next((name for name in names if len(told.names.find(name)) == 1), beside.name)


def _object(element: ElementTree.Element) -> tuple[str, Box | None, str] | None:
    name = (element.findtext("name") or "").strip()
    if not name:
        return None
    edges = [_number(element, f"bndbox/{edge}") for edge in ("xmin", "ymin", "xmax", "ymax")]
    known = [edge for edge in edges if edge is not None]
    box = Box(*known) if len(known) == len(edges) else None
    if (polygon := element.find("polygon")) is None:
        return name, box, "" if box or known else "box_missing"
    points = [_float(point.text) for point in polygon.iter() if point.tag[:1] in ("x", "y")]
    if too_short(points):
        return name, box, "polygon_too_short"
    return name, box or around(points), ""


def _number(element: ElementTree.Element, path: str) -> float | None:
    number = _float(element.findtext(path))
    return number if math.isfinite(number) else None


def _float(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        return math.nan
