"""Read boxes in YOLO format: one text file per film, one line per object.

data.yaml (or another YAML with ``names``, or classes.txt)      names of the classes
train/images/a.jpg with train/labels/a.txt, images/train with labels/train, or a.txt next to a.jpg, at any depth;
images/fractured/a.jpg with labels/a.txt, if a is the only film of this name below images/

A line is the number of a class, then centre and size of a box, or the corners of a polygon, as fractions of width and
height. A polygon is replaced by its bounding box. The fractions refer to the upright picture unless
``tables.box_frame`` is stored. An empty file means that the film has no finding; a film without a file has no labels,
and one with a line that was not understood no absent ones. A class that no line uses gives no labels.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep.annotations.annotated_film import add_annotated_film
from data_prep.annotations.file_search import files_below
from data_prep.annotations.film_lookup import ListedFilm
from data_prep.annotations.label_collector import LabelCollector
from data_prep.annotations.label_entries import AnnotatedObject, label_name
from data_prep.annotations.row_problems import Place
from data_prep.annotations.split_names import GivenSplit, parse_split
from data_prep.annotations.upright_boxes import bounding_box, is_incomplete_polygon
from data_prep.bounded_reading import MAX_YAML_BYTES, parse_yaml, read_bounded
from data_prep.errors import ArchiveError
from data_prep.shard_format.boxes import Box

CLASSES_FILE = "classes.txt"
_LABELS_FOLDER, _IMAGES_FOLDER = "labels", "images"
_NAME_SUFFIXES = (CLASSES_FILE, ".yaml", ".yml")
_BOX_NUMBERS = 4
_MAX_TEXT_BYTES = 2**24
"""Largest file of one film."""
_MAX_FILES_TRIED = 64


def matches_folder(root: Path) -> bool:
    """Whether the folder holds a data set of this format."""
    texts = [path for path in files_below(root, ".txt") if path.name != CLASSES_FILE]
    in_labels = (_LABELS_FOLDER in path.relative_to(root).parts[:-1] for path in texts)
    if not any(in_labels) and not any(map(_has_boxes, texts[:_MAX_FILES_TRIED])):
        return False
    try:
        return bool(_names_of_set(root, list(files_below(root, *_NAME_SUFFIXES))))
    except ArchiveError:
        return True


def read(root: Path, collector: LabelCollector) -> None:
    """Read all text files of a data set, and the splits that its folders name.

    Args:
        root: folder of the data set.
        collector: receives entries and problems.

    Raises:
        ArchiveError: no file names the classes, or two name them differently, or the set is one of key points.
    """
    files = collector.list_non_film_files(root, ".txt")
    named = [path for suffix in _NAME_SUFFIXES for path in collector.list_non_film_files(root, suffix)]
    classes = _names_of_set(root, named)
    if not classes:
        raise ArchiveError(
            f"no YAML file with 'names' and no {CLASSES_FILE} in {root}; add one of them with the names of the classes"
        )

    if (key_points_file := find_key_points_file(root)) is not None:
        raise ArchiveError(f"{key_points_file} describes key points, not boxes; give a folder of boxes")

    def film_of(path: Path, _: str) -> ListedFilm | None:
        name = _film_name(root, path, collector)
        return collector.find_film(name, Place(path)) if name is not None else None

    read_files([path for path in files if path.name != CLASSES_FILE], collector, film_of, classes)
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
    used_classes = {_class_number(line) for path in files for line in _read_lines(path) or ()}
    for number in sorted(classes.keys() - used_classes) if files else ():
        collector.add_problem("class_empty", Place(files[0].parent, number, "categories"))
    if _is_shifted(classes, used_classes):
        collector.add_problem("class_numbers_shifted", Place(files[0].parent))
        if not collector.strict:  # otherwise the unknown class is an error of its line
            return
    vocabulary = [name for number, name in classes.items() if number in used_classes]
    for path in files:
        if (film := film_of(path, "")) is None:
            continue
        if (found := read_objects(path, film, collector, classes)) is not None:
            objects, understood = found
            add_annotated_film(collector, film, objects, vocabulary, Place(path), understood=understood)


def read_objects(
    path: Path, film: ListedFilm, collector: LabelCollector, classes: Mapping[int, str]
) -> tuple[list[AnnotatedObject], bool] | None:
    """Read the objects of a text file; lines without a known class are listed.

    Args:
        path: of the file.
        film: its size in pixels scales the fractions.
        collector: receives problems; its settings state the frame of the boxes, upright or stored.
        classes: number → name.

    Returns:
        (objects with boxes in pixels of the film, whether all lines have a known class); None if the file cannot be
        read.
    """
    lines = _read_lines(path)
    if lines is None:
        collector.add_problem("annotation_unreadable", Place(path))
        collector.mark_unclear(film)
        return None
    size = film.stored_size if collector.settings.box_frame == "stored" else film.upright_size
    objects, understood = [], True
    for line, text in enumerate(lines, 1):
        if (found := _parse_object(text, size, classes, Place(path, line))) is not None:
            objects.append(found)
        elif text.strip():
            collector.add_problem("label_unknown", Place(path, line))
            understood = False
    return objects, understood


def class_names(root: Path, others: Sequence[Path] = ()) -> dict[int, str]:
    """Read number → name of the classes; empty if no file names them.

    Args:
        root: folder whose YAML files and list of classes are read.
        others: further YAML files and lists of classes, for example in folders below.

    Raises:
        ArchiveError: two files give a number different names.
    """
    classes: dict[int, str] = {}
    source: dict[int, Path] = {}
    for path in dict.fromkeys([*_named_files(root), *others]):
        for number, name in _names_in(path).items():
            if label_name(classes.setdefault(number, name)) != label_name(name):
                first = source[number]
                raise ArchiveError(
                    f"{first} and {path} give class {number} different names; remove the file that is not of this set"
                )
            source.setdefault(number, path)
    return classes


def _names_of_set(root: Path, paths: Sequence[Path]) -> dict[int, str]:
    """The classes of a data set: by all lists of classes, and the YAML files of its folder, else by those below it."""
    lists = [path for path in paths if path.name == CLASSES_FILE]
    yaml_files = [path for path in paths if path.suffix in (".yaml", ".yml")]
    in_root = any(_names_in(path) for path in yaml_files if path.parent == root)
    return class_names(root, lists if in_root else [*lists, *yaml_files])


def _has_boxes(path: Path) -> bool:
    """Whether the first line of a text file is a class and a box."""
    first = next(iter(_read_lines(path) or ()), "")
    try:
        numbers = [float(cell) for cell in first.split()]
    except ValueError:
        return False
    return len(numbers) > _BOX_NUMBERS and _class_number(first) is not None


def find_key_points_file(root: Path) -> Path | None:
    """Find a YAML file that describes key points, whose lines look like polygons; None if there is none."""
    return next((path for path in _named_files(root) if "kpt_shape" in _read_yaml(path)), None)


def _named_files(root: Path) -> list[Path]:
    return [*sorted([*root.glob("*.yaml"), *root.glob("*.yml")]), root / CLASSES_FILE]


def _names_in(path: Path) -> dict[int, str]:
    """Number → name of the classes in a YAML file or list; empty if it has none."""
    if path.name == CLASSES_FILE:
        return {number: name.strip() for number, name in enumerate(_read_lines(path) or ())}
    names = _read_yaml(path).get("names")
    if isinstance(names, list):
        return {number: str(name) for number, name in enumerate(names)}
    if isinstance(names, dict) and all(str(number).isdecimal() for number in names):
        return {int(number): str(name) for number, name in names.items()}
    return {}


def _read_yaml(path: Path) -> dict[Any, Any]:
    """The mapping of a YAML file; empty if it is none."""
    try:
        content = parse_yaml(read_bounded(path, MAX_YAML_BYTES).decode("utf-8-sig"))
    except (ValueError, OSError):
        return {}
    return content if isinstance(content, dict) else {}


def _read_lines(path: Path) -> list[str] | None:
    try:
        return read_bounded(path, _MAX_TEXT_BYTES).decode("utf-8-sig").rstrip().splitlines()
    except (OSError, UnicodeDecodeError):
        return None


def _is_shifted(classes: Mapping[int, str], used: set[int | None]) -> bool:
    """Whether lines count classes from one above the list, so that each may mean its neighbour."""
    return bool(classes) and min(classes) not in used and used - {None, *classes} == {max(classes) + 1}


def _class_number(line: str) -> int | None:
    """The number of the class that a line begins with, as 0 or 0.0; None if it begins otherwise."""
    first = next(iter(line.split()), "").removesuffix(".0")
    return int(first) if first.isascii() and first.isdecimal() else None


def _split_lists(root: Path) -> Iterator[tuple[Path, GivenSplit, Path]]:
    """(YAML file, split, list of its films) of the lists that a YAML file names, such as ``train: train.txt``."""
    for path in _named_files(root):
        for key, value in (_read_yaml(path) if path.suffix != ".txt" else {}).items():
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
            return collector.names.name_below(image_folder.as_posix(), annotation_name.name)
    found = collector.names.first_unique([annotation_name.as_posix(), annotation_name.name], "")
    return found or (annotation_name.name if _LABELS_FOLDER in folders else None)


def _parse_object(text: str, size: tuple[int, int], classes: Mapping[int, str], place: Place) -> AnnotatedObject | None:
    """The object of a line, in pixels of ``size``; its box is None if the numbers are invalid; None without a class."""
    cells, number = text.split(), _class_number(text)
    if number is None or (name := classes.get(number)) is None:
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
