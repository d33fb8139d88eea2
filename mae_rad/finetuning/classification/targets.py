"""What is known of films for each label of a classification.

Legend: F films, L labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_prep.shard_format.label_policy import REASONS, LabelPolicy, Resolved, resolve
from data_prep.shard_format.label_tables import read_labels
from mae_rad.data.shard_reader import ShardIndex, matching
from mae_rad.errors import EvaluationError
from mae_rad.heads.classification import TargetLabelSettings

Floats = NDArray[np.float32]

MOST_POSITIVE_WEIGHT = 20.0
"""Of a present film against an absent one, under ``balance: positive_weight``."""


@dataclass(frozen=True)
class KnownLabels:
    """What is known.

    Attributes:
        values: [F, L] 0 absent to 1 present, NaN unknown.
        weights: [F, L] confidence; 0 where unknown.
        reasons: [F, L] place in REASONS, why a film is unknown; -1 where it is not asked.
    """

    values: Floats
    weights: Floats
    reasons: NDArray[np.int8]

    @property
    def any(self) -> NDArray[np.bool_]:
        """[F] which films have a value for some label."""
        return np.asarray((self.weights > 0).any(axis=1))

    def take(self, rows: NDArray[np.int64]) -> "KnownLabels":
        """Of the films in ``rows``."""
        return KnownLabels(self.values[rows], self.weights[rows], self.reasons[rows])

    def left_out(self, place: int, among: NDArray[np.bool_]) -> dict[str, int]:
        """Reason → films, of those flagged [F], that are asked for the label at ``place`` and have no value."""
        codes = self.reasons[among, place]
        return {reason: int((codes == code).sum()) for code, reason in enumerate(REASONS) if code and code in codes}


def known_labels(
    index: ShardIndex, folders: Sequence[Path], labels: Sequence[TargetLabelSettings], policy: LabelPolicy
) -> KnownLabels:
    """What ``labels.parquet`` of the public ``folders`` says of the films of ``index``.

    Raises:
        EvaluationError: there are no labels, or not these.
        ShardFormatError: a table is damaged.
    """
    table = pa.concat_tables([read_labels(folder) for folder in folders])
    if table.num_rows == 0:
        raise EvaluationError(
            "the shard folders hold no labels.parquet; make it with: python -m data_prep label PRIVATE --out PUBLIC"
        )
    names = sorted({name for one in labels for name in one.label})
    known = set(table.column("label").to_pylist())
    if unknown := [name for name in names if name not in known]:
        raise EvaluationError(
            f"task.labels: labels.parquet has no label {unknown[0]!r}; it has {', '.join(sorted(known))}"
        )
    resolved = resolve(table, policy, keys=index.table.column("key").to_pylist(), names=names)
    columns = [_any_of(resolved, one.label) for one in labels]
    values = np.stack([column[0] for column in columns], axis=1)
    weights = np.stack([column[1] for column in columns], axis=1)
    reasons = np.stack([column[2] for column in columns], axis=1)
    asked = np.stack([matching(index.table, one.where) for one in labels], axis=1)
    known_here = np.isfinite(values) & (weights > 0) & asked
    return KnownLabels(
        np.where(known_here, values, np.nan),
        np.where(known_here, weights, 0).astype(np.float32),
        np.where(asked, reasons, -1),
    )


def loss_weights(known: KnownLabels, labels: Sequence[TargetLabelSettings], *, positive_weight: bool) -> Floats:
    """[F, L] what each value counts in the loss, over the training films.

    Confidence × weight of the label, × what makes up for rare present films; scaled so that the films' sums over
    labels are 1 in the mean, which makes the loss the weighted mean over all that is known.
    """
    weights = known.weights * np.array([one.weight for one in labels], dtype=np.float32)
    if positive_weight:
        present = (weights * np.nan_to_num(known.values)).sum(axis=0)
        absent = weights.sum(axis=0) - present
        factor = np.clip(absent / np.maximum(present, 1e-6), 1.0, MOST_POSITIVE_WEIGHT)
        weights = weights * (1 + np.nan_to_num(known.values) * (factor - 1))
    return np.asarray(weights / weights.sum(axis=1).mean(), dtype=np.float32)


def drawing_weights(known: KnownLabels) -> NDArray[np.float64]:
    """[F] how often each film is drawn so that, label by label, present and absent come up equally often.

    A film known for several labels takes the mean of what they ask for; one known for none is not drawn.
    """
    present = known.weights * np.nan_to_num(known.values)
    absent = known.weights - present
    shares = [part / np.maximum(part.sum(axis=0), 1e-6) for part in (present, absent)]
    return np.asarray((shares[0] + shares[1]).sum(axis=1), dtype=np.float64)


def _any_of(resolved: Resolved, names: Sequence[str]) -> tuple[Floats, Floats, NDArray[np.int8]]:
    """[F] value, weight and reason of "any of these": present where one is, absent where all are, else unknown."""
    columns = [resolved.labels.index(name) for name in names]
    values, weights = resolved.values[:, columns], resolved.weights[:, columns]
    filled = np.where(np.isfinite(values), values, -1)
    highest = filled.max(axis=1)
    decided = (highest == 1) | np.isfinite(values).all(axis=1)
    surest = np.where(filled == highest[:, None], weights, -1).max(axis=1)
    weight = np.where(highest == 1, surest, weights.min(axis=1))
    return (
        np.where(decided, highest, np.nan).astype(np.float32),
        np.where(decided, weight, 0).astype(np.float32),
        np.where(decided, 0, resolved.reasons[:, columns].max(axis=1)).astype(np.int8),
    )
