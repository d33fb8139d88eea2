"""Labels of films from reports: rows of ``labels.parquet`` for the films of the studies that have reports."""

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from data_prep.radiology_reports.film_values import LABELS, FilmValue, label_values, select_mentions_on_film
from data_prep.radiology_reports.mentions import Assertion, Mention
from data_prep.shard_format.index import read_index
from data_prep.shard_format.label_files import write_tables
from data_prep.shard_format.label_schema import LABELS_SCHEMA
from data_prep.shard_format.label_tables import LABELS_FILE, is_from_private_report, read_labels

_TABLE_ROWS = 2**18
"""Rows that are collected before they are converted to an Arrow table."""
_ON_FILM_ASSERTIONS = (Assertion.PRESENT, Assertion.FOLLOW_UP, Assertion.UNCERTAIN)

NO_FILMS, ON_NO_FILM, CONTRADICTED = "study_not_in_shards", "place_on_no_film", "present_and_absent"


class FilmLabels:
    """Collects the labels of films.

    Args:
        public: folder of shards.
        studies: keys of the studies that have reports.

    Attributes:
        count: number of films labelled.
        values: label → value → number of films.
    """

    def __init__(self, public: Path, studies: Collection[str]) -> None:
        index = read_index(public, ["key", "study", "body_part", "laterality"])
        index = index.filter(pc.is_in(index["study"], pa.array(sorted(studies), pa.string())))
        self._films: dict[str, list[tuple[str, str | None, str | None]]] = {}
        for key, study, *view in zip(*(column.to_pylist() for column in index.columns), strict=True):
            self._films.setdefault(study, []).append((key, *view))
        self._rows: list[tuple[str, str, FilmValue]] = []
        self._tables: list[pa.Table] = []
        self.count = 0
        self.values: dict[str, Counter[str]] = {label: Counter() for label in LABELS}

    def add(self, study: str, mentions: Sequence[Mention]) -> list[str]:
        """Label the films of a study.

        Args:
            study: key of the study.
            mentions: of its reports.

        Returns:
            Codes of problems to check: NO_FILMS, ON_NO_FILM, CONTRADICTED.
        """
        films = self._films.get(study, [])
        if not films:
            return [NO_FILMS]
        body_parts = {body_part for _, body_part, _ in films}
        values_by_view: dict[tuple[str | None, str | None], dict[str, FilmValue]] = {}
        shown: set[tuple[int, str]] = set()
        for key, body_part, side in films:
            if (body_part, side) not in values_by_view:
                on_this = select_mentions_on_film(mentions, body_part, side, body_parts)
                shown |= {(mention.start, mention.finding) for mention in on_this}
                values_by_view[body_part, side] = label_values(on_this)
            for label, film_value in values_by_view[body_part, side].items():
                self._rows.append((key, label, film_value))
                self.values[label][film_value.value] += 1
        self.count += len(films)
        if len(self._rows) >= _TABLE_ROWS:
            self._write_rows()
        is_on_no_film = any(
            mention.assertion in _ON_FILM_ASSERTIONS and (mention.start, mention.finding) not in shown
            for mention in mentions
        )
        is_contradicted = any(
            film_value.contradicted for values in values_by_view.values() for film_value in values.values()
        )
        return [ON_NO_FILM] * is_on_no_film + [CONTRADICTED] * is_contradicted

    def table(self) -> pa.Table:
        """Return all rows, in LABELS_SCHEMA."""
        self._write_rows()
        return pa.concat_tables([LABELS_SCHEMA.empty_table(), *self._tables])

    def _write_rows(self) -> None:
        values = [film_value for _, _, film_value in self._rows]
        columns = {
            "key": [key for key, _, _ in self._rows],
            "label": [label for _, label, _ in self._rows],
            "value": [film_value.value for film_value in values],
            "number": [None] * len(values),
            "source": ["report"] * len(values),
            "confidence": [film_value.confidence for film_value in values],
            "start": [0] * len(values),  # marks a private report; where in it is told to nobody
            "stop": [0] * len(values),
            "reader": [None] * len(values),
        }
        self._tables.append(pa.table(columns, LABELS_SCHEMA))
        self._rows.clear()


def replace_report_labels(public: Path, labels: pa.Table, scan_keys: pa.Array) -> None:
    """Replace the labels that earlier reports gave to films of the scan; all other rows are kept.

    Args:
        public: folder of shards.
        labels: new rows, in LABELS_SCHEMA.
        scan_keys: keys of all films of the scan.

    Raises:
        ShardFormatError: the existing table is damaged, or the folder cannot be written.
    """
    earlier = read_labels(public)
    replaced = pc.and_(pc.is_in(earlier["key"], scan_keys), is_from_private_report(earlier))
    merged = pa.concat_tables([labels, earlier.filter(pc.invert(replaced))])
    merged = merged.sort_by([(name, "ascending") for name in merged.column_names])
    write_tables(public, {LABELS_FILE: merged})
