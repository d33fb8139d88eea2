"""Read boxes in COCO format: JSON files with ``images``, ``annotations`` and ``categories``.

annotations/instances_train.json, coco/train.json, train/_annotations.coco.json, … at any depth; films in any folder

``file_name`` identifies the film. Boxes are left, top, width, height in pixels; their frame (upright or stored) follows
from the width and height of the image, else from ``tables.box_frame``. A polygon without ``bbox`` is replaced by its
bounding box; run lengths without ``bbox`` give a finding without a box. A film in ``images`` without an annotation has
none of the findings; a film that no file names has no labels, and one whose annotations were not all understood has no
absent ones. A box of a crowd (``iscrowd``) only says that its finding is present.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from data_prep.annotations.annotated_film import add_annotated_film
from data_prep.annotations.file_search import files_below
from data_prep.annotations.film_lookup import ListedFilm
from data_prep.annotations.label_collector import LabelCollector
from data_prep.annotations.label_entries import AnnotatedObject
from data_prep.annotations.row_problems import Place
from data_prep.annotations.split_names import GivenSplit, split_of_path
from data_prep.annotations.upright_boxes import bounding_box, is_incomplete_polygon
from data_prep.bounded_reading import open_regular, parse_json, read_bounded
from data_prep.errors import ArchiveError
from data_prep.shard_format.boxes import Box

_REQUIRED_LISTS = ("images", "annotations", "categories")
_LIST_BEGINS = re.compile(rb'"(?:%s)"\s*:\s*\[' % "|".join(_REQUIRED_LISTS).encode())
_PEEK_BYTES = 2**16
_MAX_BYTES, _MAX_UNASKED_BYTES = 2**29, 2**26
"""Largest file that is read, and all that is read to find out whether a folder is of this format."""
_SEPARATORS = str.maketrans("_-.", "///")

_Films = dict[str, tuple[ListedFilm, tuple[int, int] | None, Place]]
"""Id of an image → film, size of the annotated picture, place in the file."""


def matches_folder(root: Path) -> bool:
    """Whether the folder holds a data set of this format."""
    return next(_files(root, _MAX_UNASKED_BYTES), None) is not None


def read(root: Path, collector: LabelCollector) -> None:
    """Read all JSON files of a data set, and the splits that its folders name.

    Args:
        root: folder of the data set.
        collector: receives entries and problems.

    Raises:
        ArchiveError: no JSON file is of this format.
    """
    found = False
    for path, content in _files(root):
        found = True
        _read_content(path, content, collector)
    if not found:
        raise ArchiveError(f"no JSON file with {', '.join(_REQUIRED_LISTS)} in {root}; give the folder that holds it")
    collector.add_folder_splits(root, known=True)


def read_files(files: Sequence[Path], collector: LabelCollector) -> None:
    """Read films, boxes and findings of JSON files.

    Args:
        files: JSON files; a file of another format is listed.
        collector: receives entries and problems, with classes that have no object.
    """
    for path in files:
        if (content := _load_json(path)) is None:
            collector.add_problem("annotation_unreadable", Place(path))
            continue
        used_classes = _classes_in_use(content)
        for line, item in enumerate(content["categories"]):
            if _id_text(item, "id") not in used_classes:
                collector.add_problem("class_empty", Place(path, line, "categories"))
        _read_content(path, content, collector)


def _read_content(path: Path, content: dict[str, Any], collector: LabelCollector) -> None:
    classes = _class_names(path, content["categories"], collector)
    films, unclear_images = _find_films(path, content["images"], collector)
    images = {_id_text(image, "id") for image in content["images"]}
    shifted = _is_shifted(content, "categories", "category_id") or _is_shifted(content, "images", "image_id")
    if shifted:
        collector.add_problem("class_numbers_shifted", Place(path))
    crowds_are_objects = _crowds_are_objects(content["annotations"])
    objects: dict[str, list[AnnotatedObject]] = {number: [] for number in films}
    unclear: set[str] = set()
    for line, item in enumerate(content["annotations"]):
        place, image = Place(path, line, "annotations"), _id_text(item, "image_id")
        name = classes.get(_id_text(item, "category_id"))
        if image in unclear_images:
            continue
        if image not in films:
            collector.add_problem("row_without_file" if image in images else "image_unknown", place)
        elif name is None:
            collector.add_problem("label_unknown", place)
            unclear.add(image)
        else:
            is_crowd = bool(item.get("iscrowd")) and not crowds_are_objects
            found = _parse_object(name, item, place)
            objects[image].append(AnnotatedObject(name, None, place, "box_of_crowd") if is_crowd else found)
    used_classes = _classes_in_use(content)
    vocabulary = [name for number, name in classes.items() if number in used_classes]
    films_merged: dict[str, list[str]] = {}
    for image, (film, _, _) in films.items():
        films_merged.setdefault(film.below, []).append(image)
    for numbers in films_merged.values() if not shifted else ():
        film, size, place = films[numbers[0]]
        merged = [item for number in numbers for item in objects[number]]
        understood = unclear.isdisjoint(numbers)
        add_annotated_film(collector, film, merged, vocabulary, place, size=size, understood=understood)


def _load_json(path: Path) -> dict[str, Any] | None:
    """The content of a JSON file; None if it is not of this format, or too large."""
    try:
        content = parse_json(read_bounded(path, _MAX_BYTES).decode("utf-8-sig"))
    except (OSError, ValueError):
        return None
    has_lists = isinstance(content, dict) and all(_is_list_of_objects(content.get(name)) for name in _REQUIRED_LISTS)
    return content if has_lists else None


def _classes_in_use(content: dict[str, Any]) -> set[str]:
    return {_id_text(item, "category_id") for item in content["annotations"]}


def _class_names(path: Path, categories: list[dict[str, Any]], collector: LabelCollector) -> dict[str, str]:
    """Id → name of the classes; an id of two names is no class."""
    classes: dict[str, str] = {}
    repeated: set[str] = set()
    for line, item in enumerate(categories):
        number, name = _id_text(item, "id"), str(item.get("name") or "").strip()
        if not name or "id" not in item:
            collector.add_problem("class_without_name", Place(path, line, "categories"))
        elif classes.setdefault(number, name) != name:
            collector.add_problem("class_repeated", Place(path, line, "categories"))
            repeated.add(number)
    return {number: name for number, name in classes.items() if number not in repeated}


def _is_shifted(content: dict[str, Any], part: str, reference: str) -> bool:
    """Whether annotations count from one below the ids of a list, so that each may mean its neighbour."""
    listed = [item.get("id") for item in content[part]]
    used = {item.get(reference) for item in content["annotations"] if isinstance(item.get(reference), int)}
    if not used or not listed or not all(isinstance(number, int) for number in listed):
        return False
    return min(used) == min(listed) - 1 and max(listed) not in used


def _crowds_are_objects(annotations: list[dict[str, Any]]) -> bool:
    """Whether ``iscrowd`` only says that outlines are run lengths: some programs write it for each of them."""
    return all(item.get("iscrowd") and isinstance(item.get("segmentation"), dict) for item in annotations)


def _find_films(path: Path, images: list[dict[str, Any]], collector: LabelCollector) -> tuple[_Films, set[str]]:
    """(films by the ids of their images, ids that are left out: of several pictures, or of a film of several)."""
    split = _split_in_name(path)
    films: _Films = {}
    names: dict[str, str] = {}
    numbers_of_film: dict[str, list[str]] = {}
    unclear: set[str] = set()
    for line, image in enumerate(images):
        place, number, name = Place(path, line, "images"), _id_text(image, "id"), str(image.get("file_name", ""))
        if number in names:
            collector.add_problem("image_repeated", place)
            if names[number] != name:
                unclear.add(number)
            continue
        names[number] = name
        if (film := collector.find_film(name, place)) is None:
            continue
        films[number] = film, _image_size(image), place
        numbers_of_film.setdefault(film.below, []).append(number)
        if split is not None:
            collector.add_split(film, split, place)
    for numbers in numbers_of_film.values():
        for number in numbers[1:]:
            collector.add_problem("film_repeated", films[number][2])
        if len({(names[number], films[number][1]) for number in numbers}) > 1:  # may be several pictures
            unclear.update(numbers)
    return {number: found for number, found in films.items() if number not in unclear}, unclear


def _files(root: Path, most: float = float("inf")) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Files of this format with their content, with at most ``most`` bytes read."""
    for path in files_below(root, ".json"):
        if not _may_be_coco(path):
            continue
        most -= path.stat().st_size
        if most >= 0 and (content := _load_json(path)) is not None:
            yield path, content


def _may_be_coco(path: Path) -> bool:
    """Whether the beginning of a JSON file has a list of this format; sets may hold another JSON file per film."""
    try:
        with open_regular(path) as file:
            return _LIST_BEGINS.search(file.read(_PEEK_BYTES)) is not None
    except OSError:
        return False


def _is_list_of_objects(part: Any) -> bool:
    return isinstance(part, list) and all(isinstance(item, dict) for item in part)


def _split_in_name(path: Path) -> GivenSplit | None:
    """The split in the name of the file or folder: instances_train2017.json, train/_annotations.coco.json."""
    parts = path.stem.rstrip("0123456789").translate(_SEPARATORS)
    return split_of_path(f"{path.parent.name}/{parts}/")


def _id_text(item: dict[str, Any], name: str) -> str:
    """An id as text: some programs write numbers, some strings."""
    return str(item.get(name))


def _image_size(image: dict[str, Any]) -> tuple[int, int] | None:
    try:
        width, height = round(image["width"]), round(image["height"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return (width, height) if width > 0 and height > 0 else None


def _parse_object(name: str, annotation: dict[str, Any], place: Place) -> AnnotatedObject:
    segmentation = annotation.get("segmentation")
    polygons = segmentation if isinstance(segmentation, list) else []
    box = _parse_box(annotation.get("bbox") or [], polygons)
    if any(isinstance(polygon, list) and is_incomplete_polygon(polygon) for polygon in polygons):
        return AnnotatedObject(name, box, place, "polygon_too_short")
    missing = not annotation.get("bbox") and not segmentation
    return AnnotatedObject(name, box, place, "box_missing" if missing else "")


def _parse_box(bbox: Any, polygons: list[Any]) -> Box | None:
    """The box of left, top, width and height; without them the bounding box of the polygons."""
    try:
        if bbox:
            x, y, width, height = map(float, bbox)
            return Box(x, y, x + width, y + height)
        if not polygons or any(is_incomplete_polygon(polygon) for polygon in polygons):
            return None
        return bounding_box([float(number) for polygon in polygons for number in polygon])
    except (TypeError, ValueError):
        return None
