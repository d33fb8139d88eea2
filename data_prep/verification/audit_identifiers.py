"""Audit of labels, boxes and numbers of a public folder against the patients of the scans it was written from."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_prep.archive.identifier_screen import IdentifierScreen, read_confirmed
from data_prep.archive.manifest import read_linkage

_COLUMNS = ("number", "confidence", "x_min", "y_min", "x_max", "y_max")


def identifier_problems(public: Path, privates: Sequence[Path], names: Sequence[str]) -> Iterator[str]:
    """Find labels that name patients, and columns that carry the numbers of the patients of their films.

    Args:
        public: public folder.
        privates: private folders.
        names: file names of the tables of labels and boxes.

    Yields:
        Problems, without values.
    """
    tables = {name: pq.read_table(public / name) for name in names if (public / name).exists()}
    for private in privates:
        screen = IdentifierScreen(read_linkage(private), read_confirmed(private))
        for name, table in tables.items():
            yield from (f"{name}: {problem}" for problem in _table_problems(table, screen))


def _table_problems(table: pa.Table, screen: IdentifierScreen) -> Iterator[str]:
    labels = pc.unique(table["label"]).to_pylist()
    if any(map(screen.names_a_person, labels)):
        yield "a label holds a word that is the name of a patient"
    if any(map(screen.holds_a_number, labels)):
        yield "a label holds a number or date of a patient"
    if "key" not in table.column_names:
        return
    for label in labels:
        of_label = table.filter(pc.equal(table["label"], label))
        for column in _COLUMNS:
            if column in table.column_names and screen.carries_numbers(_pairs(of_label, column)):
                yield f"{column} of a label carries numbers or dates of the patients of its films"


def _pairs(table: pa.Table, column: str) -> Iterator[tuple[str, float | str]]:
    """(key, number as the table holds it) of the rows with a number other than 0 and 1."""
    single = pa.types.is_float32(table[column].type)
    for key, value in zip(table["key"].to_pylist(), table[column].to_pylist(), strict=True):
        if value is not None and value not in (0, 1) and np.isfinite(value):
            yield key, str(np.float32(value)) if single else value
