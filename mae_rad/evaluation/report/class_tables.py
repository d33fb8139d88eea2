"""The tasks of several classes on the page: all their metrics, what no mean contains, and the confusion."""

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from mae_rad.evaluation.figures.all_figures import confusion_file
from mae_rad.evaluation.report.facts import Facts
from mae_rad.evaluation.results.queries import ComparisonResults
from mae_rad.evaluation.results.rows import Row, is_headline


@dataclass(frozen=True)
class ClassTable:
    """A task of several classes, by one probe.

    Attributes:
        task, probe: names.
        metrics: names, in the order of the rows.
        rows: encoder → metric → value on all test films with all labels.
        left_out: reason, such as a class without test film → number of films.
        pictures: encoder → confusion.
    """

    task: str
    probe: str
    metrics: list[str]
    rows: dict[str, dict[str, Row]]
    left_out: dict[str, int]
    pictures: dict[str, Markup]


def class_tables(results: ComparisonResults, facts: Facts, pictures: Mapping[str, Markup]) -> list[ClassTable]:
    """Return the tasks of several classes, each by the first probe.

    Args:
        results: rows of the comparison.
        facts: facts of the comparison.
        pictures: file name → image element.
    """
    left_out = {task.name: task.left_out for task in facts.tasks}
    entries = []
    for probe in results.probes[:1]:
        for task in results.tasks:
            rows: dict[str, dict[str, Row]] = {}
            for row in results.of_probe(probe):
                if row.task == task and row.reference is None and is_headline(row):
                    rows.setdefault(row.encoder, {}).setdefault(row.metric, row)
            metrics = list(dict.fromkeys(metric for of in rows.values() for metric in of))
            if "macro_auroc" in metrics:
                drawn = {encoder: pictures.get(confusion_file(task, encoder)) for encoder in rows}
                of_encoder = {encoder: picture for encoder, picture in drawn.items() if picture is not None}
                entries.append(ClassTable(task, probe, metrics, rows, left_out.get(task, {}), of_encoder))
    return entries
