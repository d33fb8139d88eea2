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

from data_prep.errors import ArchiveError
from data_prep.sources.box_frames import Box, around
from data_prep.sources.film_names import Film
from data_prep.sources.told import Drawn, GivenSplit, Told, Where, split_of_path

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
        _read_file(path, content, told)
    for film in told.names.films:
        if film.row not in told.splits and (split := split_of_path(film.below)) is not None:
            told.split(film, split, Where(root / film.below))


def _read_file(path: Path, content: dict[str, Any], told: Told) -> None:
    classes = {_id(one, "id"): str(one["name"]) for one in content["categories"] if "id" in one and "name" in one}
    used = {_id(one, "category_id") for one in content["annotations"]}
    vocabulary = [name for number, name in classes.items() if number in used]
    split = _split(path)
    films: dict[str, tuple[Film, tuple[int, int] | None]] = {}
    objects: dict[str, list[Drawn]] = {}
    for place, image in enumerate(content["images"]):
        film = told.row(str(image.get("file_name", "")), Where(path, place))
        if film is None:
            continue
        films[_id(image, "id")] = film, _size(image)
        objects[_id(image, "id")] = []
        if split is not None:
            told.split(film, split, Where(path, place))
    images = {_id(image, "id") for image in content["images"]}
    for place, one in enumerate(content["annotations"]):
        where, number, name = Where(path, place), _id(one, "image_id"), classes.get(_id(one, "category_id"))
        if number not in films:
            told.problem("row_without_file" if number in images else "image_unknown", where)
        elif name is None:
            told.problem("label_unknown", where)
        else:
            objects[number].append(Drawn(name, _box(one), where))
    for number, (film, size) in films.items():
        told.drawn(film, objects[number], vocabulary, Where(path), size=size)


def _files(root: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    paths = sorted([*root.glob("*.json"), *root.glob("*/*.json")])
    for path in paths if len(paths) <= _MOST_FILES else ():
        try:
            content = json.loads(path.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(content, dict) and all(_listed(content.get(part)) for part in _PARTS):
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


def _box(annotation: dict[str, Any]) -> Box | None:
    try:
        if annotation.get("bbox"):
            x, y, width, height = map(float, annotation["bbox"])
            return Box(x, y, x + width, y + height)
        points = [float(number) for polygon in annotation["segmentation"] for number in polygon]
        return around(points)
    except (KeyError, TypeError, ValueError):
        return None
