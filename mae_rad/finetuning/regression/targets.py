"""Numbers of films as targets of a regression, and their standardisation.

Legend: F films, L numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_prep.folder_url import PublicFolder
from data_prep.shard_format.label_policy import REASONS, LabelPolicy
from data_prep.shard_format.number_labels import resolve_numbers
from mae_rad.data.shard_reader import ShardIndex, matching
from mae_rad.errors import EvaluationError, SettingsError
from mae_rad.evaluation.statistics.metrics import Floats
from mae_rad.finetuning.task.known_targets import Reasons, index_column, read_label_entries
from mae_rad.heads.interface import Calibration
from mae_rad.heads.regression import TargetNumberSettings

_SETTING = "task.numbers"


@dataclass(frozen=True)
class KnownNumbers:
    """Numbers of films.

    Attributes:
        values: [F, L] float64 in the unit of each number, NaN unknown.
        reasons: [F, L] str, why a number is unknown; empty if it is known or does not apply to the film.
    """

    values: Floats
    reasons: NDArray[np.object_]

    @property
    def has_value(self) -> NDArray[np.bool_]:
        """[F] bool, films with at least one number."""
        return np.asarray(np.isfinite(self.values).any(axis=1))


def known_numbers(
    index: ShardIndex, folders: Sequence[PublicFolder], numbers: Sequence[TargetNumberSettings], policy: LabelPolicy
) -> KnownNumbers:
    """Read numbers of ``labels.parquet`` and of index columns for the films of an index.

    Args:
        index: of the F films.
        folders: public folders.
        numbers: L numbers of the task.
        policy: how label entries of several sources become one number.

    Returns:
        Numbers and reasons.

    Raises:
        EvaluationError: the folders have no labels, or not all that the task names.
        SettingsError: the index has no such column, or it holds no numbers.
        ShardFormatError: a table is damaged.
    """
    names = [name for number in numbers for name in number.label_names]
    table = read_label_entries(folders, names, setting=_SETTING, numbers=True) if names else None
    values, reasons = [], []
    for number in numbers:
        if number.label is not None:
            assert table is not None  # there is a name
            of_film, why = _label_numbers(table, index, number.label, policy)
        else:
            of_film, why = _column_numbers(index, str(number.column))
        applies = matching(index.table, number.where)
        values.append(np.where(applies, of_film, np.nan))
        reasons.append(np.where(applies, why, ""))
    return KnownNumbers(np.stack(values, axis=1), np.stack(reasons, axis=1))


def standardisation(values: Floats, titles: Sequence[str]) -> list[Calibration]:
    """Mean and standard deviation of each number, as the offset and slope that convert outputs of a head to its unit.

    Args:
        values: [F, L] numbers of the training films, NaN unknown.
        titles: L names.

    Returns:
        L lines: a number is ``slope * output + offset``.

    Raises:
        EvaluationError: the training films do not have two different values of a number.
    """
    lines = []
    for title, column in zip(titles, values.T, strict=True):
        known = column[np.isfinite(column)]
        if len(np.unique(known)) < 2:
            raise EvaluationError(
                f"the {len(known)} training films with {title!r} do not have two different numbers."
                " Widen data.where or data.label_fraction, or leave it out"
            )
        lines.append(Calibration(float(known.std()), float(known.mean())))
    return lines


def loss_weights(values: Floats, numbers: Sequence[TargetNumberSettings]) -> NDArray[np.float32]:
    """Compute the weight of each number in the loss.

    It is the weight of the number, scaled so that the sum over numbers is 1 in the mean over films: the loss is then
    the weighted mean over all known numbers.

    Args:
        values: [F, L] numbers of the training films, NaN unknown.
        numbers: L numbers of the task.

    Returns:
        [F, L] float32.
    """
    weights = np.isfinite(values) * np.array([number.weight for number in numbers])
    return np.asarray(weights / weights.sum(axis=1).mean(), dtype=np.float32)


def _label_numbers(table: pa.Table, index: ShardIndex, label: str, policy: LabelPolicy) -> tuple[Floats, Reasons]:
    resolved = resolve_numbers(table, policy, keys=index.table.column("key").to_pylist(), name=label)
    return resolved.numbers, np.array(REASONS, dtype=object)[resolved.reasons]


def _column_numbers(index: ShardIndex, column: str) -> tuple[Floats, Reasons]:
    values = index_column(index, column, setting=_SETTING)
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        raise SettingsError(f"{_SETTING}: the column {column} has no numbers. Use a column of numbers, or multiclass")
    numbers = pc.fill_null(pc.cast(values, pa.float64()), np.nan).to_numpy()
    is_known = np.isfinite(numbers)
    return np.where(is_known, numbers, np.nan), np.where(is_known, "", f"no {column}").astype(object)
