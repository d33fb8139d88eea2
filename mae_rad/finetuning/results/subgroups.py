"""Subgroups of films for which metrics are reported: body part, view, sex, age band."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_prep.shard_format.rare_values import MIN_PATIENTS

BoolArray = NDArray[np.bool_]

COLUMNS = ("body_part", "view", "sex")
AGES = {"0-17": (0, 17), "18-39": (18, 39), "40-64": (40, 64), "65-79": (65, 79), "80+": (80, 200)}
UNKNOWN, OTHER = "unknown", "other"


def subgroups(films: pa.Table, patients: NDArray[np.int64]) -> Iterator[tuple[str, BoolArray]]:
    """Divide films by the values of each column; films without a value are ``unknown``.

    Args:
        films: [N] rows of the index.
        patients: [N] int64 number of the patient.

    Returns:
        Per subgroup, ``column=value`` and its films as a [N] bool mask.
    """
    columns = {name: [value or UNKNOWN for value in films.column(name).to_pylist()] for name in COLUMNS}
    columns["age"] = [_age_band(age) for age in films.column("age_years").to_pylist()]
    for name, values in columns.items():
        value_array = np.array(values, dtype=object)
        masks = {value: value_array == value for value in sorted(set(values))}
        rare = [value for value, mask in masks.items() if len(np.unique(patients[mask])) < MIN_PATIENTS]
        for value, mask in masks.items():
            if value not in rare:
                yield f"{name}={value}", mask
        if rare:
            yield f"{name}={OTHER}", np.isin(value_array, np.array(rare, dtype=object))


def _age_band(age: int | None) -> str:
    return next((name for name, (low, high) in AGES.items() if age is not None and low <= age <= high), UNKNOWN)
