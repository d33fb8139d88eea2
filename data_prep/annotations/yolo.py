"""A folder with boxes in YOLO form: one text file per film, a line per object.

data.yaml (or another YAML with ``names``, or classes.txt)      names of the classes
train/images/a.jpg with train/labels/a.txt, images/train with labels/train, or a.txt beside a.jpg

A line is the number of a class, then centre and size, or the corners of a polygon, as parts of width and height. A
polygon becomes the box around it, its outline is lost. The parts are of the upright picture, since the programs that
train on them turn it (``tables.box_frame``). An empty file means that nothing was found; of a film
without a file nothing is said.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from data_prep.annotations.film_lookup import ListedFilm
from data_prep.annotations.label_collector import Drawn, Told, Where, split_of_path
from data_prep.annotations.upright_boxes import around, too_short
from data_prep.errors import ArchiveError
from data_prep.shard_format.boxes import Box

_LABELS, _IMAGES = "labels", "images"
_SIDES = 4


def is_here(root: Path) -> bool:
    """Whether the folder holds such a set."""
    labels = (path for pattern in ("labels/**/*.txt", "*/labels/*.txt") for path in root.glob(pattern))
    return bool(class_names(root)) and next(labels, None) is not None


def read(root: Path, told: Told) -> None:
    """Read all text files.

    Raises:
        ArchiveError: the names of the classes are nowhere.
    """
    names = class_names(root)
    if not names:
        raise ArchiveError(f"no YAML file with 'names' and no classes.txt in {root}: what are the classes called?")
    for path in told.files(root, ".txt"):
        name = _name(root, path, told)
        film = told.film(name, Where(path)) if name is not None else None
        found = objects(path, film, told, names) if film is not None else None
        if film is not None and found is not None:
            told.drawn(film, found, list(names.values()), Where(path))
    for film in told.names.films:
        if (split := split_of_path(film.below)) is not None:
            told.split(film, split, Where(root / film.below))


def objects(path: Path, film: ListedFilm, told: Told, names: dict[int, str]) -> list[Drawn] | None:
    """The objects of a text file, in pixels of the frame of ``tables.box_frame``; faulty lines are listed.

    None where the file cannot be read.
    """
    lines = _lines(path, told)
    if lines is None:
        return None
    size = film.stored_size if told.settings.box_frame == "stored" else film.upright_size
    found = []
    for line, text in enumerate(lines, 1):
        drawn = _object(text, size, names)
        if drawn is not None:
            name, box, fault = drawn
            found.append(Drawn(name, box, Where(path, line), fault))
        elif text.strip():
            told.problem("label_unknown", Where(path, line))
    return found


def class_names(root: Path) -> dict[int, str]:
    """Number → name of the classes; empty where nothing names them."""
    for _, told in _yaml(root):
        names = told.get("names")
        if isinstance(names, list):
            return {number: str(name) for number, name in enumerate(names)}
        if isinstance(names, dict) and all(isinstance(number, int) for number in names):
            return {number: str(name) for number, name in names.items()}
    if (root / "classes.txt").exists():
        text = (root / "classes.txt").read_text(encoding="utf-8-sig", errors="replace")
        return {number: name.strip() for number, name in enumerate(text.rstrip().splitlines())}
    return {}


def key_points(root: Path) -> Path | None:
    """The YAML file that says that the lines hold key points, whose numbers look like polygons."""
    return next((path for path, told in _yaml(root) if "kpt_shape" in told), None)


def _yaml(root: Path) -> Iterator[tuple[Path, dict[Any, Any]]]:
    for path in sorted([*root.glob("*.yaml"), *root.glob("*.yml")]):
        try:
            told = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
        except (yaml.YAMLError, UnicodeDecodeError, OSError):
            continue
        if isinstance(told, dict):
            yield path, told


def _name(root: Path, path: Path, told: Told) -> str | None:
    """The film that a text file belongs to; None for a text beside the labels that is about no film."""
    beside = path.relative_to(root).with_suffix("")
    folders = list(beside.parts[:-1])
    if _LABELS in folders:  # the last one is exchanged, as the trainers do
        place = len(folders) - 1 - folders[::-1].index(_LABELS)
        films = Path(*folders[:place], _IMAGES, *folders[place + 1 :])
        if (root / films).is_dir():
            return (films / beside.name).as_posix()
    found = next((name for name in (beside.as_posix(), beside.name) if len(told.names.find(name)) == 1), None)
    return beside.name if found is None and _LABELS in folders else found


def _lines(path: Path, told: Told) -> list[str] | None:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        told.problem("annotation_unreadable", Where(path))
        return None


def _object(text: str, size: tuple[int, int], names: dict[int, str]) -> tuple[str, Box | None, str] | None:
    """(class, box in pixels, fault) of a line: no box where its numbers make none; None where there is no class."""
    words = text.split()
    try:
        name = names[int(words[0])]
    except (ValueError, KeyError, IndexError):
        return None
    try:
        parts = [float(word) for word in words[1:]]
    except ValueError:
        return name, None, ""
    pixels = [part * size[place % 2] for place, part in enumerate(parts)]
    if len(pixels) == _SIDES:
        x, y, across, down = pixels
        return name, Box(x - across / 2, y - down / 2, x + across / 2, y + down / 2), ""
    if len(pixels) > _SIDES and not too_short(pixels):
        return name, around(pixels), ""
    return name, None, "polygon_too_short" if len(pixels) == 2 else ""
