"""A folder with boxes in COCO form: JSON files with ``images``, ``annotations`` and ``categories``.

annotations/instances_train.json, coco/train.json, train/_annotations.coco.json, …; films anywhere

A film is found by ``file_name``. Boxes are left, top, width, height in pixels; their frame follows from the width and
height of the image, else from ``tables.box_frame``. Polygons without ``bbox`` become the box around them; outlines are
lost, and run lengths without ``bbox`` are a finding without a box. A film that is among the images without an
annotation has none of the findings; a film that no file names has no labels.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from data_prep.annotations.film_lookup import ListedFilm
from data_prep.annotations.label_collector import AnnotatedObject, LabelCollector
from data_prep.annotations.row_problems import Place
from data_prep.annotations.split_names import GivenSplit, split_of_path
from data_prep.annotations.upright_boxes import around, too_short
from data_prep.errors import ArchiveError
from data_prep.shard_format.boxes import Box

_PARTS = ("images", "annotations", "categories")
_MOST_FILES = 64
"""Sets with more, such as one JSON file per film, are of another form."""
_SEPARATORS = str.maketrans("_-.", "///")

_Films = dict[str, tuple[ListedFilm, tuple[int, int] | None, Place]]
"""Number of an image → film, size of the annotated picture, place in the file."""


def matches_folder(root: Path) -> bool:
    """Whether the folder holds such a set."""
    return next(_files(root), None) is not None


def read(root: Path, collector: LabelCollector) -> None:
    """Read all JSON files of a set, and the splits of its folders.

    Raises:
        ArchiveError: there is none.
    """
    found = False
    for path, content in _files(root):
        found = True
        _read_content(path, content, collector)
    if not found:
        raise ArchiveError(f"no JSON file with {', '.join(_PARTS)} in {root}; give the folder that holds it")
    collector.add_folder_splits(root, known=True)


def read_files(files: Sequence[Path], collector: LabelCollector) -> None:
    """Read films, boxes and findings of JSON files; one of another form, and classes without objects, are listed."""
    for path in files:
        if (content := _content(path)) is None:
            collector.problem("annotation_unreadable", Place(path))
            continue
        used = _used_classes(content)
        for line, one in enumerate(content["categories"]):
            if _id(one, "id") not in used:
                collector.problem("class_empty", Place(path, line, "categories"))
        _read_content(path, content, collector)


def _read_content(path: Path, content: dict[str, Any], collector: LabelCollector) -> None:
    classes = _classes(path, content["categories"], collector)
    films = _images(path, content["images"], collector)
    images = {_id(image, "id") for image in content["images"]}
    objects: dict[str, list[AnnotatedObject]] = {number: [] for number in films}
    for line, one in enumerate(content["annotations"]):
        place, image, name = (
            Place(path, line, "annotations"),
            _id(one, "image_id"),
            classes.get(_id(one, "category_id")),
        )
        if image not in films:
            collector.problem("row_without_file" if image in images else "image_unknown", place)
        elif name is None:
            collector.problem("label_unknown", place)
        else:
            objects[image].append(_object(name, one, place))
    used = _used_classes(content)
    vocabulary = [name for number, name in classes.items() if number in used]
    for image, (film, size, place) in films.items():
        collector.add_annotated_film(film, objects[image], vocabulary, place, size=size)


def _content(path: Path) -> dict[str, Any] | None:
    """The content of a JSON file; None where it is none of this form."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) and all(_listed(content.get(part)) for part in _PARTS) else None


def _used_classes(content: dict[str, Any]) -> set[str]:
    return {_id(one, "category_id") for one in content["annotations"]}


def _classes(path: Path, categories: list[dict[str, Any]], collector: LabelCollector) -> dict[str, str]:
    """Number → name."""
    classes: dict[str, str] = {}
    for line, one in enumerate(categories):
        number, name = _id(one, "id"), str(one.get("name") or "").strip()
        if not name or "id" not in one:
            collector.problem("class_without_name", Place(path, line, "categories"))
        elif classes.setdefault(number, name) != name:
            collector.problem("class_repeated", Place(path, line, "categories"))
    return classes


def _images(path: Path, images: list[dict[str, Any]], collector: LabelCollector) -> _Films:
    split = _split(path)
    films: _Films = {}
    for line, image in enumerate(images):
        place = Place(path, line, "images")
        if _id(image, "id") in films:
            collector.problem("image_repeated", place)
        elif (film := collector.film_once(str(image.get("file_name", "")), place)) is not None:
            films[_id(image, "id")] = film, _size(image), place
            if split is not None:
                collector.add_split(film, split, place)
    return films


def _files(root: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    paths = sorted([*root.glob("*.json"), *root.glob("*/*.json")])
    for path in paths if len(paths) <= _MOST_FILES else ():
        if (content := _content(path)) is not None:
            yield path, content


def _listed(part: Any) -> bool:
    return isinstance(part, list) and all(isinstance(one, dict) for one in part)


def _split(path: Path) -> GivenSplit | None:
    """The split in the name of the file or folder: instances_train2017.json, train/_annotations.coco.json."""
    parts = path.stem.rstrip("0123456789").translate(_SEPARATORS)
    return split_of_path(f"{path.parent.name}/{parts}/")


def _id(one: dict[str, Any], name: str) -> str:
    """A number that joins images, classes and annotations, as text: some programs write it so."""
    return str(one.get(name))


def _size(image: dict[str, Any]) -> tuple[int, int] | None:
    try:
        return round(image["width"]), round(image["height"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _object(name: str, annotation: dict[str, Any], place: Place) -> AnnotatedObject:
    outline = annotation.get("segmentation")
    polygons = outline if isinstance(outline, list) else []
    box = _box(annotation.get("bbox") or [], polygons)
    if any(isinstance(polygon, list) and too_short(polygon) for polygon in polygons):
        return AnnotatedObject(name, box, place, "polygon_too_short")
    missing = not annotation.get("bbox") and not outline
    return AnnotatedObject(name, box, place, "box_missing" if missing else "")


def _box(sides: Any, polygons: list[Any]) -> Box | None:
    """The box of left, top, width and height; without them that around the polygons."""
    try:
        if sides:
            x, y, width, height = map(float, sides)
            return Box(x, y, x + width, y + height)
        if not polygons or any(too_short(polygon) for polygon in polygons):
            return None
        return around([float(number) for polygon in polygons for number in polygon])
    except (TypeError, ValueError):
        return None
