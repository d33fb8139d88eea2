"""Add the objects of annotation files (COCO, VOC, YOLO) to a collector, and the findings that they imply."""

from collections.abc import Iterable, Sequence

from data_prep.annotations.film_lookup import ListedFilm
from data_prep.annotations.label_collector import LabelCollector
from data_prep.annotations.label_entries import AnnotatedObject
from data_prep.annotations.row_problems import Place


def add_annotated_film(
    collector: LabelCollector,
    film: ListedFilm,
    objects: Sequence[AnnotatedObject],
    classes: Sequence[str],
    place: Place,
    *,
    size: tuple[int, int] | None = None,
    understood: bool = True,
) -> None:
    """Add the boxes of one film of an annotation file, and the findings that they imply.

    Args:
        collector: receives entries and problems.
        film: that is annotated.
        objects: all objects of the film.
        classes: of the annotation; with ``boxes_complete`` those without an object are absent.
        place: of the film in the file.
        size: (width, height) in pixels of the annotated picture; None where it is not stated.
        understood: whether all objects of the film were; otherwise nothing is absent.
    """
    add_objects(collector, film, objects, size=size)
    if not understood:
        collector.mark_unclear(film)
    present = list(dict.fromkeys(item.name for item in objects))
    names = [*present, *classes] if collector.settings.boxes_complete else present
    collector.add_findings(film, present, names, place, implied=True)


def add_objects(
    collector: LabelCollector,
    film: ListedFilm,
    objects: Iterable[AnnotatedObject],
    *,
    size: tuple[int, int] | None = None,
) -> None:
    """Add the boxes of an annotation file; where a box cannot be read, it is listed and only its finding is present.

    Args:
        collector, film, size: as for :func:`add_annotated_film`.
        objects: with boxes in pixels.
    """
    for name, box, place, fault in objects:
        if fault or box is None:
            collector.add_problem(fault or "box_not_a_number", place)
        if box is not None:
            collector.add_box(film, name, box, place, size=size)
        else:
            collector.add_finding_without_box(film, name, place)
