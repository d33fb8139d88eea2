"""The confusion of every encoder in the tasks of several classes: linear probe, all labels, first choice of vectors.

The predicted class is that of balanced accuracy, so its value is the mean share on the diagonal. Classes of few
patients are counted together, as everywhere in what a comparison shows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_prep.shard_format.rare_values import MIN_PATIENTS
from mae_rad.evaluation.comparison.trained_probes import ProbeOutputs, ProbePlan
from mae_rad.evaluation.multiclass.confusion import confusion_table
from mae_rad.evaluation.statistics.metrics import predicted_classes

RARE = "rare"
"""Name of the classes of fewer than MIN_PATIENTS test patients, together."""


@dataclass(frozen=True)
class Confusion:
    """True and predicted classes of the N test films of a task.

    Attributes:
        task, encoder: names.
        classes: C names, the last may be RARE.
        true, predicted: [N] class.
        patients: [N] number of the patient.
    """

    task: str
    encoder: str
    classes: tuple[str, ...]
    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    patients: NDArray[np.int64]


def confusions_of(plan: ProbePlan, outputs: ProbeOutputs) -> Iterator[Confusion]:
    """Yield the confusion of every encoder; none for a task of two classes or of a number.

    Args:
        plan: task with the films of its probes.
        outputs: encoder → output of a probe with all labels.
    """
    task = plan.task
    if len(task.classes) < 3:
        return
    true, patients = task.y[plan.test], task.patients[plan.test]
    names, shown = _shown_classes(task.classes, true, patients)
    (folds,) = plan.draws[1.0]
    priors = plan.test_priors(folds)
    for encoder, (output,) in outputs.items():
        predicted = predicted_classes(output.scores, priors)
        yield Confusion(task.name, encoder, names, shown[true], shown[predicted], patients)


def confusions_table(confusions: Sequence[Confusion]) -> pa.Table:
    """Return ``confusion.parquet``: films and patients by task, encoder, true and predicted class.

    Args:
        confusions: at least one.
    """
    return pa.concat_tables(
        confusion_table(one.true, one.predicted, one.classes, one.patients, task=one.task, encoder=one.encoder)
        for one in confusions
    )


def _shown_classes(
    classes: Sequence[str], true: NDArray[np.int64], patients: NDArray[np.int64]
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the names of the classes that are shown, and the place [C] of every class among them."""
    is_rare = np.array([len(np.unique(patients[true == c])) < MIN_PATIENTS for c in range(len(classes))])
    common = [name for name, rare in zip(classes, is_rare, strict=True) if not rare]
    place = np.where(is_rare, len(common), np.cumsum(~is_rare) - 1)
    return (*common, *([RARE] if is_rare.any() else [])), place
