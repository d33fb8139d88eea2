"""Facts of films that a person has confirmed: the table of ``facts.corrections``.

key,field,value     key of a film; body_part, view, laterality, sex or age_years; what is true of it
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from data_prep.annotations.csv_table import csv_table
from data_prep.archive.stated_facts import FACTS
from data_prep.deidentify import safe_header_values
from data_prep.errors import ArchiveError
from data_prep.shard_format.frame_key import frame_key

Corrections = Mapping[str, Mapping[str, Any]]
"""Fact → key of a film → value."""
_COLUMNS = ("key", "field", "value")
_SCREENS: dict[str, Callable[[str], Any]] = {
    "body_part": safe_header_values.body_part,
    "view": safe_header_values.view,
    "laterality": safe_header_values.laterality,
    "sex": safe_header_values.sex,
    "age_years": safe_header_values.age_in_years,
}
_MOST_NAMED = 5
"""Problems that an error names."""


def read_corrections(table: Path | None, headers: pa.Table) -> Corrections:
    """Read a table of corrections.

    Args:
        table: CSV with the columns key, field and value, and any others; None for no corrections.
        headers: header table of the files: ``key``, ``reason`` and ``frames``.

    Returns:
        What is confirmed of each film. A file with several films has one body part: the key of each of them counts.

    Raises:
        ArchiveError: the table cannot be read, or a row names no film, no field or no value of it, or is there twice.
    """
    if table is None:
        return {}
    films = _keys_of_files(headers)
    corrections: dict[str, dict[str, Any]] = {fact: {} for fact in FACTS}
    problems: list[str] = []
    for line, cells in csv_table(table, _COLUMNS):
        key, fact = films.get(cells["key"].lower()), cells["field"]
        if key is None:
            problems.append(f"line {line}, column key: no film of this scan has this key")
        elif fact not in FACTS:
            problems.append(f"line {line}, column field: none of {', '.join(FACTS)}")
        elif (value := _SCREENS[fact](cells["value"])) is None:
            problems.append(f"line {line}, column value: no value of {fact}{_known_values(fact)}")
        elif key in corrections[fact]:
            problems.append(f"line {line}, column key: a row above has the {fact} of this film")
        else:
            corrections[fact][key] = value
    if problems:
        more = f"; and {len(problems) - _MOST_NAMED} more" if len(problems) > _MOST_NAMED else ""
        raise ArchiveError(f"facts.corrections: {table}, {'; '.join(problems[:_MOST_NAMED])}{more}. Correct the table")
    return corrections


def _keys_of_files(headers: pa.Table) -> dict[str, str]:
    """Key of each film → key of its file, which is that of its first frame."""
    films = headers.filter(pc.is_null(headers["reason"]))
    keys = {key: key for key in films["key"].to_pylist()}
    several = films.filter(pc.is_valid(films["frames"])).select(["key", "frames"]).to_pylist()
    return keys | {frame_key(row["key"], frame): row["key"] for row in several for frame in range(row["frames"])}


def _known_values(fact: str) -> str:
    return {"laterality": ": L, R or B", "sex": ": F, M or O", "age_years": ": 0 to 110"}.get(fact, "")
