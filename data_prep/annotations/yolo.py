"""A folder with boxes in YOLO form: one text file per film, a line per object.

data.yaml (or another YAML with ``names``, or classes.txt)      names of the classes
train/images/a.jpg with train/labels/a.txt, images/train with labels/train, or a.txt next to a.jpg

A line is the number of a class, then centre and size, or the corners of a polygon, as parts of width and height. A
polygon becomes the box around it, its outline is lost. The parts are of the upright picture, since the programs that
train on them turn it (``tables.box_frame``). An empty file means that nothing was found; a film without a file has no
labels.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from data_prep.annotations.film_lookup import ListedFilm
from data_prep.annotations.label_collector import AnnotatedObject, LabelCollector
from data_prep.annotations.row_problems import Place
from data_prep.annotations.upright_boxes import around, too_short
from data_prep.errors import ArchiveError
from data_prep.shard_format.boxes import Box

CLASSES_FILE = "classes.txt"
_LABELS, _IMAGES = "labels", "images"
_SIDES = 4


def matches_folder(root: Path) -> bool:
    """Whether the folder holds such a set."""
    labels = (path for pattern in ("labels/**/*.txt", "*/labels/*.txt") for path in root.glob(pattern))
    return bool(class_names(root)) and next(labels, None) is not None


def read(root: Path, collector: LabelCollector) -> None:
    """Read all text files of a set, and the splits of its folders.

    Raises:
        ArchiveError: no file names the classes.
    """
    classes = class_names(root)
    if not classes:
        raise ArchiveError(
            f"no YAML file with 'names' and no {CLASSES_FILE} in {root}; add one of them with the names of the classes"
        )

    def film_of(path: Path, _: str) -> ListedFilm | None:
        name = _name(root, path, collector)
        return collector.film(name, Place(path)) if name is not None else None

    read_files(collector.files(root, ".txt"), collector, film_of, classes)
    collector.add_folder_splits(root)


def read_files(
    files: Sequence[Path],
    collector: LabelCollector,
    film_of: Callable[[Path, str], ListedFilm | None],
    classes: Mapping[int, str],
) -> None:
    """Read boxes and findings of text files; lines and files that cannot be read are listed.

    Args:
        files: with the annotations of one film each.
        collector: of entries and problems.
        film_of: film of a file, by its path and an empty name; None skips it.
        classes: number → name.
    """
    for path in files:
        film = film_of(path, "")
        found = read_objects(path, film, collector, classes) if film is not None else None
        if film is not None and found is not None:
            collector.add_annotated_film(film, found, list(classes.values()), Place(path))


def read_objects(
    path: Path, film: ListedFilm, collector: LabelCollector, classes: Mapping[int, str]
) -> list[AnnotatedObject] | None:
    """The objects of a text file; lines without a known class are listed.

    Args:
        path: of the file.
        film: whose size turns parts of width and height into pixels.
        collector: of problems; its settings have the frame of the boxes, upright or stored.
        classes: number → name.

    Returns:
        Objects with boxes in pixels of that film; None where the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        collector.problem("annotation_unreadable", Place(path))
        return None
    size = film.stored_size if collector.settings.box_frame == "stored" else film.upright_size
    objects = []
    for line, text in enumerate(lines, 1):
        if (found := _object(text, size, classes, Place(path, line))) is not None:
            objects.append(found)
        elif text.strip():
            collector.problem("label_unknown", Place(path, line))
    return objects


def class_names(root: Path) -> dict[int, str]:
    """Number → name of the classes; empty where nothing names them."""
    for _, content in _yaml(root):
        names = content.get("names")
        if isinstance(names, list):
            return {number: str(name) for number, name in enumerate(names)}
        if isinstance(names, dict) and all(isinstance(number, int) for number in names):
            return {number: str(name) for number, name in names.items()}
    if (root / CLASSES_FILE).exists():
        text = (root / CLASSES_FILE).read_text(encoding="utf-8-sig", errors="replace")
        return {number: name.strip() for number, name in enumerate(text.rstrip().splitlines())}
    return {}


def key_points(root: Path) -> Path | None:
    """The YAML file of a set of key points, whose lines have the form of polygons; None where there is none."""
    return next((path for path, content in _yaml(root) if "kpt_shape" in content), None)


def _yaml(root: Path) -> Iterator[tuple[Path, dict[Any, Any]]]:
    for path in sorted([*root.glob("*.yaml"), *root.glob("*.yml")]):
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
        except (yaml.YAMLError, UnicodeDecodeError, OSError):
            continue
        if isinstance(content, dict):
            yield path, content


def _name(root: Path, path: Path, collector: LabelCollector) -> str | None:
    """Name of the film that a text file annotates; None for a text that lies outside labels and names no film."""
    sibling = path.relative_to(root).with_suffix("")
    folders = list(sibling.parts[:-1])
    if _LABELS in folders:  # the last one is exchanged, as the trainers do
        place = len(folders) - 1 - folders[::-1].index(_LABELS)
        films = Path(*folders[:place], _IMAGES, *folders[place + 1 :])
        if (root / films).is_dir():
            return (films / sibling.name).as_posix()
    found = collector.names.first_unique([sibling.as_posix(), sibling.name], "")
    return found or (sibling.name if _LABELS in folders else None)


def _object(text: str, size: tuple[int, int], classes: Mapping[int, str], place: Place) -> AnnotatedObject | None:
    """The object of a line, in pixels of ``size``; without a box where its numbers make none, None without a class."""
    cells = text.split()
    try:
        name = classes[int(cells[0])]
    except (ValueError, KeyError, IndexError):
        return None
    try:
        parts = [float(cell) for cell in cells[1:]]
    except ValueError:
        return AnnotatedObject(name, None, place)
    pixels = [part * size[number % 2] for number, part in enumerate(parts)]
    if len(pixels) == _SIDES:
        x, y, across, down = pixels
        return AnnotatedObject(name, Box(x - across / 2, y - down / 2, x + across / 2, y + down / 2), place)
    if len(pixels) > _SIDES and not too_short(pixels):
        return AnnotatedObject(name, around(pixels), place)
    return AnnotatedObject(name, None, place, "polygon_too_short" if len(pixels) == 2 else "")
