"""Labels of films as targets of a classification.

Legend: F films, L labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_prep.folder_url import PublicFolder
from data_prep.shard_format.label_policy import REASONS, LabelPolicy, ResolvedLabels, resolve_labels
from mae_rad.data.shard_reader import ShardIndex, matching
from mae_rad.finetuning.task.known_targets import read_label_entries
from mae_rad.heads.classification import TargetLabelSettings

Floats = NDArray[np.float32]

MAX_POSITIVE_WEIGHT = 20.0
"""Largest weight of a present film relative to an absent one, under ``balance: positive_weight``."""


@dataclass(frozen=True)
class KnownLabels:
    """Label values of films.

    Attributes:
        values: [F, L] float32, 0 absent to 1 present, NaN unknown.
        weights: [F, L] float32 confidence, 0 where unknown.
        reasons: [F, L] int8 index into REASONS, why a value is unknown; -1 where the label does not apply to the film.
    """

    values: Floats
    weights: Floats
    reasons: NDArray[np.int8]

    @property
    def has_value(self) -> NDArray[np.bool_]:
        """[F] bool, films with a value for at least one label."""
        return np.asarray((self.weights > 0).any(axis=1))

    def take(self, rows: NDArray[np.int64]) -> "KnownLabels":
        """The labels of the films ``rows`` ([N] int64)."""
        return KnownLabels(self.values[rows], self.weights[rows], self.reasons[rows])

    def left_out(self, column: int, select: NDArray[np.bool_]) -> dict[str, int]:
        """Count films without a value of a label that applies to them.

        Args:
            column: of the label.
            select: [F] bool, films to count.

        Returns:
            Reason → number of films.
        """
        codes = self.reasons[select, column]
        return {reason: int((codes == code).sum()) for code, reason in enumerate(REASONS) if code and code in codes}


def known_labels(
    index: ShardIndex, folders: Sequence[PublicFolder], labels: Sequence[TargetLabelSettings], policy: LabelPolicy
) -> KnownLabels:
    """Read ``labels.parquet`` of the public folders for the films of an index.

    Args:
        index: of the F films.
        folders: public folders.
        labels: L labels of the task.
        policy: how label entries of several sources become one value.

    Returns:
        Values, weights and reasons.

    Raises:
        EvaluationError: the folders have no labels, or not all of ``labels``.
        ShardFormatError: a table is damaged.
    """
    names = sorted({name for label in labels for name in label.label})
    table = read_label_entries(folders, names, setting="task.labels")
    resolved = resolve_labels(table, policy, keys=index.table.column("key").to_pylist(), names=names)
    columns = [_combine_any(resolved, label.label) for label in labels]
    values = np.stack([column[0] for column in columns], axis=1)
    weights = np.stack([column[1] for column in columns], axis=1)
    reasons = np.stack([column[2] for column in columns], axis=1)
    applies = np.stack([matching(index.table, label.where) for label in labels], axis=1)
    is_known = np.isfinite(values) & (weights > 0) & applies
    return KnownLabels(
        np.where(is_known, values, np.nan),
        np.where(is_known, weights, 0).astype(np.float32),
        np.where(applies, reasons, -1),
    )


def loss_weights(known: KnownLabels, labels: Sequence[TargetLabelSettings], *, positive_weight: bool) -> Floats:
    """Compute the weight of each value in the loss.

    The weight is the confidence, times the weight of the label, times a factor for rare present films. It is scaled so
    that the sum over labels is 1 in the mean over films: the loss is then the weighted mean over all known values.

    Args:
        known: labels of the F training films.
        labels: L labels of the task.
        positive_weight: weight present films so that both classes of a label have the same total weight.

    Returns:
        [F, L] float32.
    """
    weights = known.weights * np.array([label.weight for label in labels], dtype=np.float32)
    if positive_weight:
        present = (weights * np.nan_to_num(known.values)).sum(axis=0)
        absent = weights.sum(axis=0) - present
        factor = np.clip(absent / np.maximum(present, 1e-6), 1.0, MAX_POSITIVE_WEIGHT)
        weights = weights * (1 + np.nan_to_num(known.values) * (factor - 1))
    return np.asarray(weights / weights.sum(axis=1).mean(), dtype=np.float32)


def drawing_weights(known: KnownLabels) -> NDArray[np.float64]:
    """Sampling weights with which present and absent films of each label are drawn equally often.

    A film with several labels gets the sum of their weights; one without a value is not drawn.

    Args:
        known: labels of the F training films.

    Returns:
        [F] float64 relative frequencies.
    """
    present = known.weights * np.nan_to_num(known.values)
    absent = known.weights - present
    shares = [part / np.maximum(part.sum(axis=0), 1e-6) for part in (present, absent)]
    return np.asarray((shares[0] + shares[1]).sum(axis=1), dtype=np.float64)


def _combine_any(resolved: ResolvedLabels, names: Sequence[str]) -> tuple[Floats, Floats, NDArray[np.int8]]:
    """[F] value, weight and reason of a group of labels: present if any is, absent if all are, else unknown."""
    columns = [resolved.labels.index(name) for name in names]
    values, weights = resolved.values[:, columns], resolved.weights[:, columns]
    filled = np.where(np.isfinite(values), values, -1)
    highest = filled.max(axis=1)
    decided = (highest == 1) | np.isfinite(values).all(axis=1)
    max_weight = np.where(filled == highest[:, None], weights, -1).max(axis=1)
    weight = np.where(highest == 1, max_weight, weights.min(axis=1))
    return (
        np.where(decided, highest, np.nan).astype(np.float32),
        np.where(decided, weight, 0).astype(np.float32),
        np.where(decided, 0, resolved.reasons[:, columns].max(axis=1)).astype(np.int8),
    )
