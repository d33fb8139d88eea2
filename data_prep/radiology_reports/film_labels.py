"""What reports say, film by film: rows of ``labels.parquet`` for the films of the studies that have reports."""

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from data_prep.errors import ShardFormatError
from data_prep.radiology_reports.film_values import LABELS, Conclusion, conclusions, on_film
from data_prep.radiology_reports.mentions import Assertion, Mention
from data_prep.runtime.atomic_write import atomic_file
from data_prep.shard_format.index import read_index
from data_prep.shard_format.label_schema import LABELS_SCHEMA
from data_prep.shard_format.label_tables import LABELS_FILE, from_private_report, read_labels
from data_prep.shard_format.parquet_bytes import index_bytes

_ROWS = 2**18
"""Rows that are collected before they become a table."""
_SEEN = (Assertion.PRESENT, Assertion.FOLLOW_UP, Assertion.UNCERTAIN)

NO_FILMS, ON_NO_FILM, CONTRADICTED = "study_not_in_shards", "place_on_no_film", "present_and_absent"


class FilmLabels:
    """Collects the labels of films.

    Attributes:
        count: films labelled.
        values: label → value → films.
    """

    def __init__(self, public: Path, studies: Collection[str]) -> None:
        index = read_index(public, ["key", "study", "body_part", "laterality"])
        index = index.filter(pc.is_in(index["study"], pa.array(sorted(studies), pa.string())))
        self._films: dict[str, list[tuple[str, str | None, str | None]]] = {}
        for key, study, *seen in zip(*(column.to_pylist() for column in index.columns), strict=True):
            self._films.setdefault(study, []).append((key, *seen))
        self._rows: list[tuple[str, str, Conclusion]] = []
        self._tables: list[pa.Table] = []
        self.count = 0
        self.values: dict[str, Counter[str]] = {label: Counter() for label in LABELS}

    def add(self, study: str, mentions: Sequence[Mention]) -> list[str]:
        """Label the films of a study; what a person should look at, or that there are no films."""
        films = self._films.get(study, [])
        if not films:
            return [NO_FILMS]
        body_parts = {body_part for _, body_part, _ in films}
        concluded: dict[tuple[str | None, str | None], dict[str, Conclusion]] = {}
        shown: set[tuple[int, str]] = set()
        for key, body_part, side in films:
            if (body_part, side) not in concluded:
                seen = on_film(mentions, body_part, side, body_parts)
                shown |= {(one.start, one.finding) for one in seen}
                concluded[body_part, side] = conclusions(seen)
            for label, conclusion in concluded[body_part, side].items():
                self._rows.append((key, label, conclusion))
                self.values[label][conclusion.value] += 1
        self.count += len(films)
        if len(self._rows) >= _ROWS:
            self._flush()
        lost = any(one.assertion in _SEEN and (one.start, one.finding) not in shown for one in mentions)
        contradicted = any(one.contradicted for told in concluded.values() for one in told.values())
        return [ON_NO_FILM] * lost + [CONTRADICTED] * contradicted

    def table(self) -> pa.Table:
        """All rows, in LABELS_SCHEMA."""
        self._flush()
        return pa.concat_tables([LABELS_SCHEMA.empty_table(), *self._tables])

    def _flush(self) -> None:
        told = [conclusion for _, _, conclusion in self._rows]
        columns = {
            "key": [key for key, _, _ in self._rows],
            "label": [label for _, label, _ in self._rows],
            "value": [one.value for one in told],
            "number": [None] * len(told),
            "source": ["report"] * len(told),
            "confidence": [one.confidence for one in told],
            "start": [one.start for one in told],
            "stop": [one.stop for one in told],
            "reader": [None] * len(told),
        }
        self._tables.append(pa.table(columns, LABELS_SCHEMA))
        self._rows.clear()


def put_labels(public: Path, labels: pa.Table, own_keys: pa.Array) -> None:
    """Write ``labels`` in place of those that earlier reports gave to the films ``own_keys``; all others stay.

    Raises:
        ShardFormatError: the table that is there is damaged, or the folder cannot be written.
    """
    before = read_labels(public)
    replaced = pc.and_(pc.is_in(before["key"], own_keys), from_private_report(before))
    merged = pa.concat_tables([labels, before.filter(pc.invert(replaced))])
    merged = merged.sort_by([(name, "ascending") for name in merged.column_names])
    try:
        with atomic_file(public / LABELS_FILE) as file:
            file.write(index_bytes(merged))
    except OSError as error:
        raise ShardFormatError(f"labels cannot be written into {public} ({error.strerror})") from None
