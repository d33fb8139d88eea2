"""What header, path and table state of each film, kept in the private folder, and where they differ.

PRIVATE/facts.parquet has one row per file (STATED_SCHEMA): ``body_part_by_header`` is the standard term that the header
states, ``body_part_word_by_path`` the text of the path for it, and so on. The manifest has the fact that is used.
"""

from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

FACTS: dict[str, pa.DataType] = {
    "body_part": pa.string(),
    "view": pa.string(),
    "laterality": pa.string(),
    "sex": pa.string(),
    "age_years": pa.int16(),
}
"""Facts that several sources may state, and the types of their columns."""
WORDS = ("body_part", "view")
"""Facts whose words are kept too, since a vocabulary reads them."""
SOURCES = ("header", "path", "table")
CORRECTION = "correction"
"""Source of a fact that a person has confirmed: see the setting ``facts.corrections``."""
USED_COLUMNS = (*FACTS, *(f"{fact}_from" for fact in FACTS), "body_part_doubtful")
"""Columns of the manifest for the facts that are used."""
UNKNOWN_WORD, NOT_STATED = "unknown word", "not stated"


def term_column(fact: str, source: str) -> str:
    """Name the column with what a source states."""
    return f"{fact}_by_{source}"


def word_column(fact: str, source: str) -> str:
    """Name the column with the text by which a source states it."""
    return f"{fact}_word_by_{source}"


STATED_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("key", pa.string()),
        *((term_column(fact, source), kind) for fact, kind in FACTS.items() for source in SOURCES),
        *((word_column(fact, source), pa.string()) for fact in WORDS for source in SOURCES),
    ]
)


@dataclass(frozen=True)
class CrossTable:
    """Films by what two sources state of one fact.

    Attributes:
        fact: name of the fact.
        first, second: the sources.
        films: (value of the first, value of the second) → films; values are terms, UNKNOWN_WORD or NOT_STATED.
    """

    fact: str
    first: str
    second: str
    films: dict[tuple[str, str], int]

    @property
    def differing(self) -> int:
        """Number of films of which both state a term, and not the same."""
        silent = {UNKNOWN_WORD, NOT_STATED}
        return sum(count for (one, other), count in self.films.items() if one != other and not {one, other} & silent)

    def values(self, place: int) -> list[str]:
        """List the values of the first (0) or second (1) source, the most frequent first, those without a term last."""
        totals: Counter[str] = Counter()
        for pair, count in self.films.items():
            totals[pair[place]] += count
        last = (UNKNOWN_WORD, NOT_STATED)
        return sorted(totals, key=lambda value: (value in last, -totals[value], value))


def cross_tables(stated: pa.Table) -> list[CrossTable]:
    """Count films by what each pair of sources states; only facts of which both state something for some film.

    Args:
        stated: rows of readable films (STATED_SCHEMA).
    """
    tables = []
    for fact in FACTS:
        values = {source: _values(stated, fact, source) for source in SOURCES}
        spoken = [source for source in SOURCES if stated[term_column(fact, source)].null_count < stated.num_rows]
        for first, second in combinations(spoken, 2):
            pairs = pa.table({"first": values[first], "second": values[second]})
            counts = pairs.group_by(["first", "second"]).aggregate([([], "count_all")]).to_pylist()
            films = {(row["first"], row["second"]): row["count_all"] for row in counts}
            tables.append(CrossTable(fact, first, second, films))
    return tables


def differs(stated: pa.Table, fact: str) -> pa.ChunkedArray:
    """[rows] whether two sources state different values of a fact."""
    result = pa.chunked_array([pa.nulls(stated.num_rows, pa.bool_()).fill_null(False)])
    for first, second in combinations(SOURCES, 2):
        unequal = pc.not_equal(stated[term_column(fact, first)], stated[term_column(fact, second)])
        result = pc.or_(result, pc.fill_null(unequal, False))
    return result


def read_stated(path: Path) -> pa.Table | None:
    """Read what was stated; None in private folders of earlier releases, and where the table is damaged."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException):
        return None
    return table if table.schema.equals(STATED_SCHEMA) else None


def _values(stated: pa.Table, fact: str, source: str) -> pa.ChunkedArray:
    terms = pc.cast(stated[term_column(fact, source)], pa.string())
    if fact not in WORDS:
        return pc.fill_null(terms, NOT_STATED)
    words = stated[word_column(fact, source)]
    silent = pc.if_else(pc.is_valid(words), pa.scalar(UNKNOWN_WORD), pa.scalar(NOT_STATED))
    return pc.coalesce(terms, silent)
