"""A folder with boxes in COCO form: JSON files with ``images``, ``annotations`` and ``categories``.

annotations/instances_train.json, coco/train.json, train/_annotations.coco.json, …; films anywhere

A film is found by ``file_name``. Boxes are left, top, width, height in pixels; their frame is told by the width and
height of the image, else by ``tables.box_frame``. Polygons without ``bbox`` become the box around them; outlines are
lost, and run lengths without ``bbox`` are a finding without a box. A film that is among the images without an
annotation has none of the findings; one that no file names says nothing.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_prep.annotations.film_lookup import ListedFilm
from data_prep.annotations.label_collector import Drawn, GivenSplit, Told, Where, split_of_path
from data_prep.annotations.upright_boxes import around, too_short
from data_prep.errors import ArchiveError
from data_prep.shard_format.boxes import Box

_PARTS = ("images", "annotations", "categories")
_MOST_FILES = 64
"""Sets with one JSON per film are of another form."""
_ORIGIN_SEPARATORS = str.maketrans("_-.", "///")


def is_here(root: Path) -> bool:
    """Whether the folder holds such a set."""
    return next(_files(root), None) is not None


def read(root: Path, told: Told) -> None:
    """Read all JSON files.

    Raises:
        ArchiveError: there is none.
    """
    files = list(_files(root))
    if not files:
        raise ArchiveError(f"no JSON file with {', '.join(_PARTS)} in {root}")
    for path, content in files:
        read_file(path, content, told)
    for film in told.names.films:
        if film.row not in told.splits and (split := split_of_path(film.below)) is not None:
            told.split(film, split, Where(root / film.below))


def content_of(path: Path) -> dict[str, Any] | None:
    """The content of a JSON file; None where it is none of this form."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) and all(_listed(content.get(part)) for part in _PARTS) else None


def read_file(path: Path, content: dict[str, Any], told: Told) -> None:
    """Films, boxes and findings of a JSON file, by its ``content``."""
    classes = _classes(path, content["categories"], told)
    used = {_id(one, "category_id") for one in content["annotations"]}
    vocabulary = [name for number, name in classes.items() if number in used]
    films = _images(path, content["images"], told)
    images = {_id(image, "id") for image in content["images"]}
    objects: dict[str, list[Drawn]] = {number: [] for number in films}
    for place, one in enumerate(content["annotations"]):
        where, number, name = (
            Where(path, place, "annotations"),
            _id(one, "image_id"),
            classes.get(_id(one, "category_id")),
        )
        if number not in films:
            told.problem("row_without_file" if number in images else "image_unknown", where)
        elif name is None:
            told.problem("label_unknown", where)
        else:
            objects[number].append(_drawn(name, one, where))
    for number, (film, size) in films.items():
        told.drawn(film, objects[number], vocabulary, Where(path), size=size)


def empty_classes(content: dict[str, Any]) -> list[int]:
    """Places of the classes, among ``categories``, that no annotation has: of them the file says nothing."""
    used = {_id(one, "category_id") for one in content["annotations"]}
    return [place for place, one in enumerate(content["categories"]) if _id(one, "id") not in used]


def _classes(path: Path, categories: list[dict[str, Any]], told: Told) -> dict[str, str]:
    """Number → name."""
    classes: dict[str, str] = {}
    for place, one in enumerate(categories):
        number, name = _id(one, "id"), str(one.get("name") or "").strip()
        if not name or "id" not in one:
            told.problem("class_without_name", Where(path, place, "categories"))
        elif classes.setdefault(number, name) != name:
            told.problem("class_repeated", Where(path, place, "categories"))
    return classes


def _images(
    path: Path, images: list[dict[str, Any]], told: Told
) -> dict[str, tuple[ListedFilm, tuple[int, int] | None]]:
    """Number → film, and the size of the picture that it was drawn on."""
    split = _split(path)
    films: dict[str, tuple[ListedFilm, tuple[int, int] | None]] = {}
    for place, image in enumerate(images):
        where = Where(path, place, "images")
        if _id(image, "id") in films:
            told.problem("image_repeated", where)
        elif (film := told.row(str(image.get("file_name", "")), where)) is not None:
            films[_id(image, "id")] = film, _size(image)
            if split is not None:
                told.split(film, split, where)
    return films


def _files(root: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    paths = sorted([*root.glob("*.json"), *root.glob("*/*.json")])
    for path in paths if len(paths) <= _MOST_FILES else ():
        if (content := content_of(path)) is not None:
            yield path, content


def _listed(part: Any) -> bool:
    return isinstance(part, list) and all(isinstance(one, dict) for one in part)


def _split(path: Path) -> GivenSplit | None:
    """The split in the name of the file or folder: instances_train2017.json, train/_annotations.coco.json."""
    words = path.stem.rstrip("0123456789").translate(_ORIGIN_SEPARATORS)
    return split_of_path(f"{path.parent.name}/{words}/")


def _id(one: dict[str, Any], name: str) -> str:
    """A number that joins images, classes and annotations, as text: some programs write it so."""
    return str(one.get(name))


def _size(image: dict[str, Any]) -> tuple[int, int] | None:
    try:
        return round(image["width"]), round(image["height"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _drawn(name: str, annotation: dict[str, Any], where: Where) -> Drawn:
    outline = annotation.get("segmentation")
    polygons = outline if isinstance(outline, list) else []
    box = _box(annotation.get("bbox") or [], polygons)
    if any(isinstance(polygon, list) and too_short(polygon) for polygon in polygons):
        return Drawn(name, box, where, "polygon_too_short")
    missing = not annotation.get("bbox") and not outline
    return Drawn(name, box, where, "box_missing" if missing else "")


def _box(told: Any, polygons: list[Any]) -> Box | None:
    """Left, top, width and height; without them what is around the polygons."""
    try:
        if told:
            x, y, width, height = map(float, told)
            return Box(x, y, x + width, y + height)
        if not polygons or any(too_short(polygon) for polygon in polygons):
            return None
        return around([float(number) for polygon in polygons for number in polygon])
    except (TypeError, ValueError):
        return None
