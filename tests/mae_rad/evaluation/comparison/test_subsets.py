"""Subsets of the scored films by a column of numbers: thirds, without the numbers of single patients."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from data_prep.shard_format.label_schema import BOXES_SCHEMA
from mae_rad.evaluation.comparison.films import Films
from mae_rad.evaluation.comparison.settings import CompareSettings
from mae_rad.evaluation.comparison.subsets import subsets_of
from tests.builders.film_tables import film, write_public

FILMS = 93


def test_numbers_are_divided_into_thirds_of_the_scored_films(tmp_path: Path) -> None:
    ages = [None if number % 31 == 0 else number for number in range(FILMS)]
    public = write_public(tmp_path / "p", [film(n, n, "test", age_years=age) for n, age in enumerate(ages)])
    films = Films([public])
    y = np.arange(FILMS) % 2
    task = SimpleNamespace(
        label="fracture",
        numbers=None,
        y=y,
        patients=films.patients,
        classes=("absent", "present"),
        rows=np.arange(FILMS),
    )
    plan = cast(Any, SimpleNamespace(task=task, test=np.arange(FILMS)))
    settings = CompareSettings.model_validate(
        {"shards": [public], "out": tmp_path, "subsets": ["age_years"], "object_sizes": []}
    )
    found = subsets_of(plan, films, settings, BOXES_SCHEMA.empty_table())
    parts = {name: rows for name, rows in found.items() if name.startswith("age_years=")}
    assert [int(rows.sum()) for rows in parts.values()] == [30, 30, 30]
    assert not any(str(max(age for age in ages if age is not None)) in name for name in parts)
    known = np.array([age is not None for age in ages])
    assert (np.sum(list(parts.values()), axis=0) == known).all()
    lowest = next(rows for name, rows in parts.items() if "up to" in name)
    assert max(age for age, inside in zip(ages, lowest, strict=True) if inside and age is not None) == 30
