"""Read boxes in YOLO format: one text file per film, one line per object.

data.yaml (or another YAML with ``names``, or classes.txt)      names of the classes
train/images/a.jpg with train/labels/a.txt, images/train with labels/train, or a.txt next to a.jpg

A line is the number of a class, then centre and size of a box, or the corners of a polygon, as fractions of width and
height. A polygon is replaced by its bounding box. The fractions refer to the upright picture unless
``tables.box_frame`` is stored. An empty file means that the film has no finding; a film without a file has no labels.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep.annotations.film_lookup import ListedFilm
from data_prep.annotations.label_collector import LabelCollector
from data_prep.annotations.label_entries import AnnotatedObject
from data_prep.annotations.row_problems import Place
from data_prep.annotations.split_names import GivenSplit, parse_split
from data_prep.annotations.upright_boxes import bounding_box, is_incomplete_polygon
from data_prep.bounded_reading import MAX_YAML_BYTES, parse_yaml, read_bounded
from data_prep.errors import ArchiveError
from data_prep.shard_format.boxes import Box

CLASSES_FILE = "classes.txt"
_LABELS_FOLDER, _IMAGES_FOLDER = "labels", "images"
_BOX_NUMBERS = 4
_MAX_TEXT_BYTES = 2**24
"""Largest file of one film."""


def matches_folder(root: Path) -> bool:
    """Whether the folder holds a data set of this format."""
    labels = (path for pattern in ("labels/**/*.txt", "*/labels/*.txt") for path in root.glob(pattern))
    return bool(class_names(root)) and next(labels, None) is not None


def read(root: Path, collector: LabelCollector) -> None:
    """Read all text files of a data set, and the splits that its folders name.

    Args:
        root: folder of the data set.
        collector: receives entries and problems.

    Raises:
        ArchiveError: no file names the classes.
    """
    classes = class_names(root)
    if not classes:
        raise ArchiveError(
            f"no YAML file with 'names' and no {CLASSES_FILE} in {root}; add one of them with the names of the classes"
        )

    def film_of(path: Path, _: str) -> ListedFilm | None:
        name = _film_name(root, path, collector)
        return collector.find_film(name, Place(path)) if name is not None else None

    read_files(collector.list_non_film_files(root, ".txt"), collector, film_of, classes)
    for name, split, table in _split_lists(root):
        if table.is_file():
            collector.add_split_list(table, split)
        else:
            collector.add_problem("split_list_missing", Place(name))
    collector.add_folder_splits(root, known=True)


def read_files(
    files: Sequence[Path],
    collector: LabelCollector,
    film_of: Callable[[Path, str], ListedFilm | None],
    classes: Mapping[int, str],
) -> None:
    """Read boxes and findings of text files; lines and files that cannot be read are listed.

    Args:
        files: each with the annotations of one film.
        collector: receives entries and problems.
        film_of: returns the film for the path of a file and an empty name; None skips the file.
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
    """Read the objects of a text file; lines without a known class are listed.

    Args:
        path: of the file.
        film: its size in pixels scales the fractions.
        collector: receives problems; its settings state the frame of the boxes, upright or stored.
        classes: number → name.

    Returns:
        Objects with boxes in pixels of the film; None if the file cannot be read.
    """
    try:
        lines = read_bounded(path, _MAX_TEXT_BYTES).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        collector.add_problem("annotation_unreadable", Place(path))
        return None
    size = film.stored_size if collector.settings.box_frame == "stored" else film.upright_size
    objects = []
    for line, text in enumerate(lines, 1):
        if (found := _parse_object(text, size, classes, Place(path, line))) is not None:
            objects.append(found)
        elif text.strip():
            collector.add_problem("label_unknown", Place(path, line))
    return objects


def class_names(root: Path) -> dict[int, str]:
    """Read number → name of the classes; empty if no file names them."""
    for _, content in _yaml_files(root):
        names = content.get("names")
        if isinstance(names, list):
            return {number: str(name) for number, name in enumerate(names)}
        if isinstance(names, dict) and all(isinstance(number, int) for number in names):
            return {number: str(name) for number, name in names.items()}
    try:
        text = read_bounded(root / CLASSES_FILE, MAX_YAML_BYTES).decode("utf-8-sig", errors="replace")
    except OSError:
        return {}
    return {number: name.strip() for number, name in enumerate(text.rstrip().splitlines())}


def find_key_points_file(root: Path) -> Path | None:
    """Find a YAML file that describes key points, whose lines look like polygons; None if there is none."""
    return next((path for path, content in _yaml_files(root) if "kpt_shape" in content), None)


def _yaml_files(root: Path) -> Iterator[tuple[Path, dict[Any, Any]]]:
    for path in sorted([*root.glob("*.yaml"), *root.glob("*.yml")]):
        try:
            content = parse_yaml(read_bounded(path, MAX_YAML_BYTES).decode("utf-8-sig"))
        except (ValueError, OSError):
            continue
        if isinstance(content, dict):
            yield path, content


def _split_lists(root: Path) -> Iterator[tuple[Path, GivenSplit, Path]]:
    """(YAML file, split, list of its films) of the lists that a YAML file names, such as ``train: train.txt``."""
    for path, content in _yaml_files(root):
        for key, value in content.items():
            split = parse_split(key) if isinstance(key, str) else None
            for name in value if isinstance(value, list) else [value]:
                if split is not None and isinstance(name, str) and name.endswith(".txt"):
                    yield path, split, root / name.lstrip("/")


def _film_name(root: Path, path: Path, collector: LabelCollector) -> str | None:
    """Name of the film of a text file; None for a file outside folders named labels that matches no film."""
    annotation_name = path.relative_to(root).with_suffix("")
    folders = list(annotation_name.parts[:-1])
    if _LABELS_FOLDER in folders:  # the last one is replaced, as YOLO trainers do
        place = len(folders) - 1 - folders[::-1].index(_LABELS_FOLDER)
        image_folder = Path(*folders[:place], _IMAGES_FOLDER, *folders[place + 1 :])
        if (root / image_folder).is_dir():
            return (image_folder / annotation_name.name).as_posix()
    found = collector.names.first_unique([annotation_name.as_posix(), annotation_name.name], "")
    return found or (annotation_name.name if _LABELS_FOLDER in folders else None)


def _parse_object(text: str, size: tuple[int, int], classes: Mapping[int, str], place: Place) -> AnnotatedObject | None:
    """The object of a line, in pixels of ``size``; its box is None if the numbers are invalid; None without a class."""
    cells = text.split()
    try:
        name = classes[int(cells[0])]
    except (ValueError, KeyError, IndexError):
        return None
    try:
        fractions = [float(cell) for cell in cells[1:]]
    except ValueError:
        return AnnotatedObject(name, None, place)
    pixels = [fraction * size[number % 2] for number, fraction in enumerate(fractions)]
    if len(pixels) == _BOX_NUMBERS:
        x, y, width, height = pixels
        return AnnotatedObject(name, Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2), place)
    if len(pixels) > _BOX_NUMBERS and not is_incomplete_polygon(pixels):
        return AnnotatedObject(name, bounding_box(pixels), place)
    return AnnotatedObject(name, None, place, "polygon_too_short" if len(pixels) == 2 else "")
