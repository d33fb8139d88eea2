"""Query the rows of a comparison: headline values and differences, curves, subsets.

The headline row of a task and probe has all test films, all labels, the mean over draws of labels, and the first T and
pooling of the settings.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TypeVar

from mae_rad.evaluation.results.display_names import LABELLED
from mae_rad.evaluation.results.rows import RANDOM_BASELINE, Row

ALL, ALL_FILMS = "all", "all films"
"""Value of ``subset`` for all test films, and value of ``reference`` for the score on all films (shortcuts)."""


T = TypeVar("T")


class ComparisonResults:
    """Queries on the rows of one comparison; results keep the order of the rows.

    Args:
        rows: rows of ``comparison.parquet``.
        groups: encoder → its group of runs.
    """

    def __init__(self, rows: Sequence[Row], groups: Mapping[str, str] | None = None) -> None:
        self.rows = list(rows)
        self.groups = dict(groups or {})
        self._main: dict[tuple[str, str], str] = {}
        for row in rows:  # the first metric of a task and probe is its main metric
            if row.reference != ALL_FILMS:
                self._main.setdefault((row.task, row.probe), row.metric)

    @cached_property
    def tasks(self) -> list[str]:
        """Tasks of the probes that are trained on labels."""
        return _distinct(row.task for row in self.rows if row.probe in LABELLED)

    @cached_property
    def probes(self) -> list[str]:
        """Probes that are trained on labels."""
        return _distinct(row.probe for row in self.rows if row.probe in LABELLED)

    @cached_property
    def encoders(self) -> list[str]:
        """Runs and groups of runs; the random baseline is last."""
        names = _distinct(row.encoder for row in self.rows)
        return [name for name in names if not self.is_baseline(name)] + [
            name for name in names if self.is_baseline(name)
        ]

    @cached_property
    def compared_encoders(self) -> list[str]:
        """Encoders of the figures: those with differences, so groups of runs instead of their members."""
        sides = {name for row in self.differences() for name in (row.encoder, row.reference)}
        return [name for name in self.encoders if name in sides] or self.encoders

    def members(self, group: str) -> list[str]:
        """Return the runs of a group of several; empty for a single encoder."""
        return [name for name, own_group in self.groups.items() if own_group == group and name != group]

    @cached_property
    def pairs(self) -> list[tuple[str, str, str]]:
        """(encoder, reference, arm) of all differences between trained encoders."""
        return _distinct(
            (row.encoder, row.reference, row.arm)
            for row in self.differences()
            if row.reference is not None and row.reference != RANDOM_BASELINE and not self.is_baseline(row.encoder)
        )

    def method(self, encoder: str) -> str:
        """Return the method of an encoder or group."""
        return next((row.method for row in self.rows if row.encoder == encoder and row.reference is None), "")

    def is_baseline(self, encoder: str) -> bool:
        """Return whether the encoder is randomly initialised."""
        return encoder.startswith(RANDOM_BASELINE)

    def main_metric(self, task: str, probe: str) -> str:
        """Return the main metric of a task and probe, the one of the figures."""
        return self._main[task, probe]

    @cached_property
    def fractions(self) -> list[float]:
        """Fractions of the labels of the trained probes, in descending order."""
        return sorted({row.label_fraction for row in self.rows if row.probe in LABELLED}, reverse=True)

    def values(self, task: str | None = None, probe: str | None = None, fraction: float = 1.0) -> list[Row]:
        """Return the values of the main metric on all films, one per encoder, task and probe; None selects all.

        Args:
            task: task of the values.
            probe: probe of the values.
            fraction: fraction of the labels.
        """
        return self._headline(lambda row: row.reference is None, task, probe, fraction)

    def differences(self, task: str | None = None, probe: str | None = None, fraction: float = 1.0) -> list[Row]:
        """Return the differences of the main metric on all films, one per pair, arm, task and probe; None selects all.

        Args:
            task: task of the differences.
            probe: probe of the differences.
            fraction: fraction of the labels.
        """
        return self._headline(
            lambda row: row.reference is not None and row.difference is not None, task, probe, fraction
        )

    def reference_of(self, row: Row) -> Row | None:
        """Return the value of the reference of ``row``; None if the table has none."""
        return next((value for value in self.values(row.task, row.probe) if value.encoder == row.reference), None)

    def curve(self, encoder: str, task: str, probe: str) -> list[Row]:
        """Return the main metric by ascending label fraction.

        Args:
            encoder: encoder or group of runs.
            task: task of the curve.
            probe: probe of the curve.
        """
        rows = [
            row
            for row in self._main_rows(task, probe)
            if row.encoder == encoder and row.reference is None and row.subset == ALL and row.probe_seed is None
        ]
        return sorted(_first(rows, lambda row: row.label_fraction), key=lambda row: row.label_fraction)

    def subsets(self, task: str, probe: str) -> dict[str, list[Row]]:
        """Return subset → values of the main metric with all labels, one per encoder."""
        rows = [
            row
            for row in self._main_rows(task, probe)
            if row.reference is None and row.subset != ALL and row.probe_seed is None and row.label_fraction == 1
        ]
        rows = _first(rows, lambda row: (row.subset, row.encoder))
        return {name: [row for row in rows if row.subset == name] for name in _distinct(row.subset for row in rows)}

    def sizes(self, task: str, probe: str) -> dict[int, list[Row]]:
        """Return T → values of the main metric, one per encoder; empty if every encoder has one T."""
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
        """Return the scores of predicting each shortcut, and the scores of the tasks within one value of a shortcut."""
        rows = self.of_probe("shortcut")
        read = [
            row
            for row in rows
            if row.reference is None and row.subset == ALL and row.metric == self._main[row.task, "shortcut"]
        ]
        return read, [row for row in rows if row.reference == ALL_FILMS]

    def of_probe(self, probe: str) -> list[Row]:
        """Return all rows of a probe, such as geometry."""
        return [row for row in self.rows if row.probe == probe]

    def _main_rows(self, task: str | None, probe: str | None) -> list[Row]:
        return [
            row
            for row in self.rows
            if (task is None or row.task == task)
            and (row.probe == probe if probe else row.probe in LABELLED)
            and row.metric == self._main[row.task, row.probe]
        ]

    def _headline(
        self, accepts: Callable[[Row], bool], task: str | None, probe: str | None, fraction: float
    ) -> list[Row]:
        rows = [
            row
            for row in self._main_rows(task, probe)
            if accepts(row) and row.subset == ALL and row.probe_seed is None and row.label_fraction == fraction
        ]
        return _first(rows, lambda row: (row.task, row.probe, row.encoder, row.reference, row.arm))


def _distinct(values: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(values))


def _first(rows: Iterable[Row], key: Callable[[Row], object]) -> list[Row]:
    first_rows: dict[object, Row] = {}
    for row in rows:
        first_rows.setdefault(key(row), row)
    return list(first_rows.values())
