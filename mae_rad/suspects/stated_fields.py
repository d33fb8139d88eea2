"""What is stated of films: classes or numbers, from index columns and labels.

Classes that fewer than MIN_PATIENTS patients have are left out, and named: no probe can learn them, and a list of their
films could point at patients.

Legend: F films.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_prep.folder_url import PublicFolder
from data_prep.shard_format.label_policy import REASONS, LabelPolicy
from data_prep.shard_format.rare_values import MIN_PATIENTS
from mae_rad.data.shard_reader import ShardIndex, matching
from mae_rad.errors import EvaluationError
from mae_rad.finetuning.classification.targets import known_labels
from mae_rad.finetuning.multiclass.targets import known_classes
from mae_rad.finetuning.regression.targets import known_numbers
from mae_rad.finetuning.task.known_targets import index_column
from mae_rad.heads.classification import TargetLabelSettings
from mae_rad.heads.multiclass import TargetClassesSettings
from mae_rad.heads.regression import TargetNumberSettings
from mae_rad.suspects.settings import SuspectFieldSettings

Strings = NDArray[np.object_]


@dataclass(frozen=True)
class StatedField:
    """A field of F films.

    Attributes:
        name: of the field, in tables.
        classes: C names; one, the name of the field, for numbers.
        y: [F] int64 class, -1 where nothing is stated or it is left out; 0 for films with a number.
        numbers: [F] float64, NaN unknown; None for classes.
        left_out: reason → number of films.
        rare: classes that are left out, sorted.
    """

    name: str
    classes: tuple[str, ...]
    y: NDArray[np.int64]
    numbers: NDArray[np.float64] | None
    left_out: dict[str, int]
    rare: tuple[str, ...]

    @property
    def rows(self) -> NDArray[np.int64]:
        """[N] rows of the films of which something is stated."""
        return np.flatnonzero(self.y >= 0)

    def stated(self, rows: NDArray[np.int64]) -> list[str]:
        """Return what is stated of the films ``rows``, as words."""
        if self.numbers is not None:
            return [f"{number:g}" for number in self.numbers[rows]]
        return [self.classes[place] for place in self.y[rows]]


def read_field(
    index: ShardIndex, folders: Sequence[PublicFolder], settings: SuspectFieldSettings, policy: LabelPolicy
) -> StatedField:
    """Read a field of the films of an index.

    Args:
        index: of the F films.
        folders: public folders.
        settings: which column or labels.
        policy: how label entries of several sources become one value.

    Raises:
        EvaluationError: the folders have no labels, or not this one, or fewer than two classes are frequent enough.
        SettingsError: the index has no such column.
        ShardFormatError: a table is damaged.
    """
    if settings.is_number:
        return _number_field(index, folders, settings, policy)
    values, reasons = _values(index, folders, settings, policy)
    reasons = np.where(matching(index.table, settings.where), reasons, "")
    values = np.where(matching(index.table, settings.where), values, "")
    patients = index.table.column("patient").to_numpy(zero_copy_only=False)
    counts = {str(value): len(set(patients[values == value])) for value in sorted(set(values.tolist()) - {""})}
    classes = tuple(value for value, count in counts.items() if count >= MIN_PATIENTS)
    rare = tuple(value for value, count in counts.items() if count < MIN_PATIENTS)
    if len(classes) < 2:
        found = ", ".join([*classes, *rare][:10]) or "none"
        raise EvaluationError(
            f"fields: fewer than two values of {settings.name} have {MIN_PATIENTS} patients (its values: {found})."
            " Widen where, or name another field"
        )
    positions = {name: position for position, name in enumerate(classes)}
    y = np.array([positions.get(value, -1) for value in values.tolist()], dtype=np.int64)
    left_out = dict(Counter(reason for reason in reasons.tolist() if reason))
    return StatedField(settings.name, classes, y, None, left_out, rare)


def _values(
    index: ShardIndex, folders: Sequence[PublicFolder], settings: SuspectFieldSettings, policy: LabelPolicy
) -> tuple[Strings, Strings]:
    """[F] class, empty where unknown, and [F] why it is unknown."""
    if settings.column:
        text = pc.cast(index_column(index, settings.column, setting="fields"), pa.string())
        values = pc.fill_null(text, "").to_numpy(zero_copy_only=False).astype(object)
        return values, np.where(values == "", f"no {settings.column}", "").astype(object)
    if settings.labels:
        known = known_classes(index, folders, TargetClassesSettings(labels=settings.labels), policy)
        names = np.array([*known.names, ""], dtype=object)
        return names[known.y], known.reasons
    labels = known_labels(index, folders, [TargetLabelSettings(label=(str(settings.label),))], policy)
    value = labels.values[:, 0]
    values = np.where(value == 1, "present", np.where(value == 0, "absent", "")).astype(object)
    return values, np.array(REASONS, dtype=object)[labels.reasons[:, 0]]


def _number_field(
    index: ShardIndex, folders: Sequence[PublicFolder], settings: SuspectFieldSettings, policy: LabelPolicy
) -> StatedField:
    target = TargetNumberSettings(label=settings.label, column=settings.column, where=settings.where)
    known = known_numbers(index, folders, [target], policy)
    numbers = known.values[:, 0]
    y = np.where(np.isfinite(numbers), 0, -1)
    patients = index.table.column("patient").to_numpy(zero_copy_only=False)
    if (count := len(set(patients[y >= 0]))) < MIN_PATIENTS:
        raise EvaluationError(f"fields: {count} patients have a number of {settings.name}, fewer than {MIN_PATIENTS}")
    left_out = dict(Counter(reason for reason in known.reasons[:, 0].tolist() if reason))
    return StatedField(settings.name, (settings.name,), y, numbers, left_out, ())
