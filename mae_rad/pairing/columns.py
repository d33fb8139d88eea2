"""The columns that relations and partners read: what the index and the labels say of every film of a run.

``NAME`` is a column of the index, ``label.NAME`` a label, ``label.*`` all labels. Text, truth values and states of
labels become int64 codes, -1 where they are not known; numbers float32, NaN where they are not known.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from data_prep.folder_url import PublicFolder
from data_prep.settings import Settings
from data_prep.shard_format.label_policy import LabelPolicy, resolve_labels
from data_prep.shard_format.label_tables import read_labels
from data_prep.shard_format.number_labels import resolve_numbers
from mae_rad.data.label_fraction import select_label_fraction
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.errors import SettingsError

ALL_LABELS = "label.*"
LABEL = "label."
"""Beginning of the column of a label."""
ABSENT, PRESENT, UNCERTAIN = 0, 1, 2
"""Codes of the states of a label."""

Column = Annotated[str, Field(min_length=1)]
Columns = dict[str, NDArray[Any]]
"""Column → [films, …] values by row of the index."""


def is_label(column: str) -> bool:
    """Whether a column is a label."""
    return column.startswith(LABEL)


def expanded(names: Sequence[str], read: Iterable[str]) -> list[str]:
    """Names of columns, with all labels that are read in the place of ``label.*``.

    Args:
        names: as settings have them.
        read: columns that are read.
    """
    labels = sorted(filter(is_label, read)) if ALL_LABELS in names else []
    return list(dict.fromkeys([*(name for name in names if name != ALL_LABELS), *labels]))


class PretrainingLabels(Settings):
    """Labels and facts that an objective or a relation reads; others read none."""

    fraction: float = Field(default=1.0, gt=0, le=1)
    """Share of the patients with a label or fact that is read whose value is known in pretraining: the first draw of a
    comparison with the same seed, of which a smaller one is a part."""
    seed: int = Field(default=0, ge=0)
    """Seed of the draw of ``fraction``."""
    policy: LabelPolicy = LabelPolicy()
    """How the entries of several sources and readers become one value."""


def read_columns(
    names: Sequence[str], index: ShardIndex, shards: Sequence[PublicFolder], settings: PretrainingLabels
) -> Columns:
    """Read columns of the training films.

    Args:
        names: columns of the index, and labels.
        index: training films.
        shards: public folders, whose labels are read.
        settings: share of the patients whose values are known, and how labels are merged.

    Returns:
        The columns, each once.

    Raises:
        SettingsError: neither the index nor the labels have a column.
        ShardFormatError: a table of labels is damaged.
    """
    table = index.table
    columns: Columns = {}
    for name in dict.fromkeys(name for name in names if not is_label(name)):
        if name not in table.column_names:
            raise SettingsError(
                f"objective: the index has no column {name!r}. Choose one of {', '.join(table.column_names)}, or"
                " label.NAME."
            )
        columns[name] = _of_index(name, table[name])
    if labels := [name for name in names if is_label(name)]:
        columns |= _of_labels(labels, table["key"].to_pylist(), shards, settings.policy)
    if settings.fraction < 1:
        patients = np.array(table["patient"].to_pylist(), dtype=object)
        columns = {name: _at_fraction(values, patients, settings) for name, values in columns.items()}
    return columns


def is_known(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether each value of a column is known: [films] bool."""
    return np.asarray(~np.isnan(values) if np.issubdtype(values.dtype, np.floating) else values >= 0, dtype=np.bool_)


def checksums(columns: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    """SHA-256 of the values of each column, for the identity of a run."""
    return {
        f"column {name}": hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
        for name, values in columns.items()
    }


def _of_index(name: str, values: pa.ChunkedArray) -> NDArray[Any]:
    kind = values.type
    if pa.types.is_floating(kind) or (pa.types.is_integer(kind) and not pa.types.is_uint64(kind)):
        return np.array(pc.fill_null(values.cast(pa.float32()), np.nan).to_numpy())
    if not (pa.types.is_string(kind) or pa.types.is_boolean(kind)):
        raise SettingsError(f"objective: column {name!r} holds neither text nor numbers. Choose another.")
    texts = pc.fill_null(values.cast(pa.string()), "")
    known, codes = np.unique(texts.to_numpy(zero_copy_only=False).astype(str), return_inverse=True)
    return codes.astype(np.int64) - (1 if len(known) and known[0] == "" else 0)


def _of_labels(names: Sequence[str], keys: list[str], shards: Sequence[PublicFolder], policy: LabelPolicy) -> Columns:
    """States and numbers of the labels of the training films, whose rows alone are read."""
    wanted = pa.array(keys)
    parts = [read_labels(folder) for folder in shards]
    table = pa.concat_tables([part.filter(pc.is_in(part["key"], value_set=wanted)) for part in parts])
    resolved = resolve_labels(table, policy, keys=keys)
    states = np.where(resolved.values >= 0.5, PRESENT, ABSENT)
    states = np.where(np.isnan(resolved.values), -1, states)
    states = np.where(resolved.uncertain, UNCERTAIN, states).astype(np.int64)
    found: Columns = {f"{LABEL}{name}": column for name, column in zip(resolved.labels, states.T, strict=True)}
    numbers = pc.unique(table.filter(pc.is_valid(table["number"]))["label"]).to_pylist()
    chosen = list(found) if ALL_LABELS in names else [name for name in names if name in found]
    columns = {name: np.ascontiguousarray(found[name]) for name in chosen}
    for name in (name for name in names if name not in columns and name != ALL_LABELS):
        label = name.removeprefix(LABEL)
        if label not in numbers:
            known = ", ".join(sorted({*resolved.labels, *numbers})) or "none"
            raise SettingsError(f"objective: no training film has the label {label!r}. There are: {known}.")
        columns[name] = resolve_numbers(table, policy, keys=keys, name=label).numbers.astype(np.float32)
    if ALL_LABELS in names and not found:
        raise SettingsError("objective: the training films have no labels. Write them with `mae-rad label`.")
    return columns


def _at_fraction(values: NDArray[Any], patients: NDArray[np.object_], settings: PretrainingLabels) -> NDArray[Any]:
    """Keep the values of a fraction of the patients who have one, drawn as a probe of that column draws them."""
    known = np.flatnonzero(is_known(values))
    is_number = np.issubdtype(values.dtype, np.floating)
    chosen = select_label_fraction(
        patients[known].tolist(),
        settings.fraction,
        settings.seed,
        classes=None if is_number or not len(known) else values[known],
    )
    kept = np.full_like(values, np.nan if is_number else -1)
    kept[known[chosen]] = values[known[chosen]]
    return kept
