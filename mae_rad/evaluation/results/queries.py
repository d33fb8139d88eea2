"""How the rows of a comparison are read: which are the headline, which belong to one curve, which to one subset.

The headline of a task and probe is: all test films, all labels, the mean over draws of labels, the first T and pooling
that were asked. Everything else is told beside it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TypeVar

from mae_rad.evaluation.results.display_names import LABELLED
from mae_rad.evaluation.results.rows import FLOOR, Row

ALL, ALL_FILMS = "all", "all films"
"""The subset of all test films, and the reference of what is left of a task within one scanner."""


T = TypeVar("T")


class Reading:
    """The rows of one comparison, in their order.

    Args:
        rows: of ``comparison.parquet``.
        groups: encoder → group of runs that it belongs to.
    """

    def __init__(self, rows: Sequence[Row], groups: Mapping[str, str] | None = None) -> None:
        self.rows = list(rows)
        self.groups = dict(groups or {})
        self._main: dict[tuple[str, str], str] = {}
        for row in rows:  # the first metric of a task and probe is the one that figures show
            if row.reference != ALL_FILMS:
                self._main.setdefault((row.task, row.probe), row.metric)

    @cached_property
    def tasks(self) -> list[str]:
        """Tasks that a probe learned from labels."""
        return _distinct(row.task for row in self.rows if row.probe in LABELLED)

    @cached_property
    def probes(self) -> list[str]:
        """Probes that learn from labels."""
        return _distinct(row.probe for row in self.rows if row.probe in LABELLED)

    @cached_property
    def encoders(self) -> list[str]:
        """Runs and groups of runs, in the order of the rows; the floor is last."""
        names = _distinct(row.encoder for row in self.rows)
        return [name for name in names if not self.is_floor(name)] + [name for name in names if self.is_floor(name)]

    @cached_property
    def shown(self) -> list[str]:
        """What figures show: the sides of differences, so groups of runs in place of their members."""
        sides = {name for row in self.differences() for name in (row.encoder, row.reference)}
        return [name for name in self.encoders if name in sides] or self.encoders

    def members(self, group: str) -> list[str]:
        """Single runs of a group of several; none of a single encoder."""
        return [name for name, own in self.groups.items() if own == group and name != group]

    @cached_property
    def pairs(self) -> list[tuple[str, str, str]]:
        """(encoder, reference, arm) of trained encoders whose differences were taken."""
        return _distinct(
            (row.encoder, row.reference, row.arm)
            for row in self.differences()
            if row.reference is not None and row.reference != FLOOR and not self.is_floor(row.encoder)
        )

    def method(self, encoder: str) -> str:
        """Method of an encoder or group."""
        return next((row.method for row in self.rows if row.encoder == encoder and row.reference is None), "")

    def is_floor(self, encoder: str) -> bool:
        """Whether it was not trained."""
        return encoder.startswith(FLOOR)

    def main_metric(self, task: str, probe: str) -> str:
        """The metric that figures show."""
        return self._main[task, probe]

    def values(self, task: str | None = None, probe: str | None = None) -> list[Row]:
        """Headline values of the main metric, one per encoder, task and probe."""
        return self._headline(lambda row: row.reference is None, task, probe)

    def differences(self, task: str | None = None, probe: str | None = None) -> list[Row]:
        """Headline differences of the main metric, one per pair, arm, task and probe."""
        return self._headline(lambda row: row.reference is not None and row.difference is not None, task, probe)

    def reference_of(self, row: Row) -> Row | None:
        """The value of what ``row`` is compared with; None of a floor of several encoders, which has none."""
        return next((one for one in self.values(row.task, row.probe) if one.encoder == row.reference), None)

    def curve(self, encoder: str, task: str, probe: str) -> list[Row]:
        """The main metric over label fractions, from few labels to all."""
        rows = [
            row
            for row in self._main_rows(task, probe)
            if row.encoder == encoder and row.reference is None and row.subset == ALL and row.probe_seed is None
        ]
        return sorted(_first(rows, lambda row: row.label_fraction), key=lambda row: row.label_fraction)

    def subsets(self, task: str, probe: str) -> dict[str, list[Row]]:
        """Subset → values of the main metric with all labels, one per encoder."""
        rows = [
            row
            for row in self._main_rows(task, probe)
            if row.reference is None and row.subset != ALL and row.probe_seed is None and row.label_fraction == 1
        ]
        rows = _first(rows, lambda row: (row.subset, row.encoder))
        return {name: [row for row in rows if row.subset == name] for name in _distinct(row.subset for row in rows)}

    def sizes(self, task: str, probe: str) -> dict[int, list[Row]]:
        """T → values of the main metric, one per encoder; only where one encoder was asked at several T."""
        rows = [
            row
            for row in self._main_rows(task, probe)
            if row.reference is None and row.subset == ALL and row.probe_seed is None and row.label_fraction == 1
        ]
        rows = _first(rows, lambda row: (row.tokens, row.encoder))
        sizes = sorted({row.tokens for row in rows})
        several = len(rows) > len({row.encoder for row in rows})
        return {tokens: [row for row in rows if row.tokens == tokens] for tokens in sizes} if several else {}

    def shortcuts(self) -> tuple[list[Row], list[Row]]:
        """How well each shortcut can be read, and what is left of each task within one value of it."""
        rows = self.of_probe("shortcut")
        read = [
            row
            for row in rows
            if row.reference is None and row.subset == ALL and row.metric == self._main[row.task, "shortcut"]
        ]
        return read, [row for row in rows if row.reference == ALL_FILMS]

    def of_probe(self, probe: str) -> list[Row]:
        """All rows of a probe without labels of its own, such as geometry."""
        return [row for row in self.rows if row.probe == probe]

    def _main_rows(self, task: str | None, probe: str | None) -> list[Row]:
        return [
            row
            for row in self.rows
            if (task is None or row.task == task)
            and (row.probe == probe if probe else row.probe in LABELLED)
            and row.metric == self._main[row.task, row.probe]
        ]

    def _headline(self, wanted: Callable[[Row], bool], task: str | None, probe: str | None) -> list[Row]:
        rows = [
            row
            for row in self._main_rows(task, probe)
            if wanted(row) and row.subset == ALL and row.probe_seed is None and row.label_fraction == 1
        ]
        return _first(rows, lambda row: (row.task, row.probe, row.encoder, row.reference, row.arm))


def _distinct(values: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(values))


def _first(rows: Iterable[Row], key: Callable[[Row], object]) -> list[Row]:
    kept: dict[object, Row] = {}
    for row in rows:
        kept.setdefault(key(row), row)
    return list(kept.values())
