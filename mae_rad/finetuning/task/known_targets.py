"""Reads labels and index columns as targets, and counts the films that have none.

Legend: F films.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_prep.folder_url import PublicFolder
from data_prep.shard_format.label_tables import read_labels
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.errors import EvaluationError, SettingsError

Reasons = NDArray[np.object_]
"""[F] str, why a film has no target; empty for a film that has one, or to which the target does not apply."""


def read_label_entries(
    folders: Sequence[PublicFolder], names: Sequence[str], *, setting: str, numbers: bool = False
) -> pa.Table:
    """Read ``labels.parquet`` of the public folders.

    Args:
        folders: public folders.
        names: labels that must be in it.
        setting: that names them, for the error.
        numbers: require labels with numbers, not values.

    Returns:
        All rows of LABELS_SCHEMA.

    Raises:
        EvaluationError: the folders have no labels, or not all of ``names``.
        ShardFormatError: a table is damaged.
    """
    table = pa.concat_tables([read_labels(folder) for folder in folders])
    if table.num_rows == 0:
        raise EvaluationError(
            "the shard folders hold no labels.parquet. Write it with: mae-rad label PRIVATE --out PUBLIC"
        )
    wanted = "number" if numbers else "value"
    known = set(table.filter(pc.is_valid(table[wanted])).column("label").to_pylist())
    if unknown := [name for name in names if name not in known]:
        only_other = unknown[0] in table.column("label").to_pylist()
        kind = f"{wanted}s of the label" if numbers or only_other else "label"
        advice = f"Use one of {', '.join(sorted(known))}" if known else f"It has no {wanted}s at all"
        raise EvaluationError(f"{setting}: labels.parquet has no {kind} {unknown[0]!r}. {advice}")
    return table


def index_column(index: ShardIndex, column: str, *, setting: str) -> pa.ChunkedArray:
    """Return a column of the index.

    Args:
        index: of the F films.
        column: its name.
        setting: that names it, for the error.

    Raises:
        SettingsError: there is no such column.
    """
    if column not in index.table.column_names:
        raise SettingsError(
            f"{setting}: the index has no column {column!r}. Use one of {', '.join(index.table.column_names)}"
        )
    return index.table.column(column)


def left_out_line(split: str, title: str, reasons: Reasons) -> list[str]:
    """Describe the films of a split that have no target: one line, or none.

    Args:
        split: name of the split.
        title: name of the target.
        reasons: of the films of the split.
    """
    counts = Counter(reason for reason in reasons.tolist() if reason)
    if not counts:
        return []
    return [f"{split} {title}: left out {', '.join(f'{count} {reason}' for reason, count in sorted(counts.items()))}."]
