"""Refuses shard folders in which one patient is in two splits."""

import pyarrow as pa
import pyarrow.compute as pc

from mae_rad.errors import EvaluationError


def check_patient_splits(table: pa.Table) -> None:
    """Refuse films of one patient in two splits.

    Args:
        table: rows of an index, with ``patient`` and ``split``.

    Raises:
        EvaluationError: with the number of such patients.
    """
    pairs = table.select(["patient", "split"]).group_by(["patient", "split"]).aggregate([])
    in_two_splits = len(pairs) - pc.count_distinct(table.column("patient")).as_py()
    if in_two_splits:
        raise EvaluationError(
            f"{in_two_splits} patients of these shard folders are in more than one split, which makes a test invalid."
            " Shard the archives together, or with the same secret and split settings"
        )
