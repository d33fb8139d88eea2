"""The questions of the online probe: what the nearest neighbours of a film predict of it.

==========  ==========================================  =======================================
question    values                                      metric
==========  ==========================================  =======================================
class       body part and view, else one of them        ``probe/knn``: balanced accuracy
sex         M, F                                        ``probe/sex_auroc``
age         years                                       ``probe/age_r2``
LABEL       present, absent                             ``probe/LABEL_auroc``
LABEL       number                                      ``probe/LABEL_r2``
==========  ==========================================  =======================================

Values are those of the validation films alone. Nothing is fitted, and the answers reach the log only: the probe
never influences the weights, which labels of the run do not reach this way.
"""

import logging
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_prep.folder_url import PublicFolder
from data_prep.shard_format.label_policy import LabelPolicy, resolve_labels
from data_prep.shard_format.label_tables import read_labels
from data_prep.shard_format.number_labels import resolve_numbers
from mae_rad.embedding.nearest_neighbours import find_neighbours
from mae_rad.embedding.standardised_rows import Standardised, fit_scale, vectors_of_array
from mae_rad.errors import SettingsError
from mae_rad.evaluation.statistics.metrics import auroc, r_squared

NEIGHBOURS = 5
"""Number of nearest neighbours that vote for a class."""
NEIGHBOURS_OF_VALUES = 20
"""Number of nearest neighbours whose mean is the prediction of a label or number: with 5, that of an encoder that knows
nothing would have an R² of -1/5."""
MIN_PATIENTS = 10
"""Lowest number of patients with, and without, a finding; of a number, twice as many."""
MAX_LABELS = 8
"""Number of labels that are asked about by default; those with the most films of the rarer value come first."""

CLASS, SEX, AGE = "class", "sex", "age"
_CLASS_COLUMNS = (("body_part", "view"), ("body_part",), ("view",))

_log = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Question(NamedTuple):
    """What is predicted of the films that have a value.

    Attributes:
        metric: name of the metric.
        films: [n] positions of the films with a value.
        values: [n] class number, 0 and 1, or number.
        patients: [n] number of the patient.
    """

    metric: str
    films: Integers
    values: Floats
    patients: Integers

    def score(self, vectors: NDArray[np.float32]) -> float:
        """Predict the value of each film from its nearest neighbours of other patients.

        Args:
            vectors: [films, D] of all films of the probe.

        Returns:
            Balanced accuracy, AUROC or R², by the metric; NaN if no film has a neighbour.
        """
        chosen = vectors_of_array(vectors[self.films])
        films = Standardised(chosen, fit_scale(chosen), unit=True)
        k = NEIGHBOURS if self.metric == "knn" else NEIGHBOURS_OF_VALUES
        place = find_neighbours(films, films, k, apart=(self.patients, self.patients)).place
        if self.metric == "knn":
            return balanced_accuracy_of_votes(self.values.astype(np.int64), place)
        found = place >= 0
        predicted = (self.values[place] * found).sum(axis=1) / np.maximum(found.sum(axis=1), 1)
        has_neighbour = found.any(axis=1)
        if not has_neighbour.any():
            return float("nan")
        values, predicted = self.values[has_neighbour], predicted[has_neighbour]
        if self.metric.endswith("_auroc"):
            return float(auroc(values == 1, predicted, np.ones((1, len(values))))[0])
        return float(r_squared(values, predicted, np.ones((1, len(values))))[0])


def balanced_accuracy_of_votes(classes: Integers, place: Integers) -> float:
    """Compute the balanced accuracy of the majority vote of the neighbours; the nearest one decides ties.

    Args:
        classes: [n] class number of each film.
        place: [n, k] positions of its neighbours, nearest first; -1 for none.

    Returns:
        Mean over classes of the share of correct films that have a neighbour, in [0, 1]; NaN if none has.
    """
    has_neighbour = (place >= 0).any(axis=1)
    if not has_neighbour.any():
        return float("nan")
    neighbours = np.where(place >= 0, classes[place], -1)[has_neighbour]
    classes = classes[has_neighbour]
    votes = np.stack([(neighbours == number).sum(axis=1) for number in range(classes.max() + 1)], axis=1).astype(float)
    votes[np.arange(len(neighbours)), neighbours[:, 0]] += 0.5
    is_correct = votes.argmax(axis=1) == classes
    return float(np.mean([is_correct[classes == number].mean() for number in np.unique(classes)]))


def choose_questions(
    table: pa.Table, patients: Integers, shards: Sequence[PublicFolder], requested: Sequence[str] | None
) -> list[Question]:
    """Choose what is asked about the films of the probe.

    Args:
        table: index rows of the films.
        patients: [films] number of the patient.
        shards: public folders, whose labels are read.
        requested: class, sex, age and labels; None for all that enough films have, with at most MAX_LABELS labels.

    Returns:
        The questions; those that were requested and that too few films have are named in the log.

    Raises:
        SettingsError: a requested one is neither of the index nor of the labels.
        ShardFormatError: a table of labels is damaged.
    """
    if requested is not None and not requested:
        return []
    columns = _column_values(table)
    labels = _label_values(table.column("key").to_pylist(), shards, {SEX, AGE, CLASS})
    if unknown := [name for name in requested or () if name not in {CLASS, SEX, AGE, *labels}]:
        raise SettingsError(
            f"runtime.probe_labels: {unknown[0]!r} is neither {CLASS}, {SEX}, {AGE} nor a label of the val films."
            f" Choose among: {', '.join([CLASS, SEX, AGE, *sorted(labels)])}."
        )
    values = {name: columns[name] for name in (CLASS, SEX, AGE)} | labels
    questions: dict[str, Question] = {}
    for name, (metric, numbers) in values.items():
        if requested is not None and name not in requested:
            continue
        metric_name, taken = _metric_name(name, metric), {question.metric for question in questions.values()}
        if metric_name in taken:
            _log.warning("online probe: %r would be logged under the name of another label, and is left out", name)
        elif (question := _question(metric_name, numbers, patients)) is not None:
            questions[name] = question
    if missing := [name for name in requested or () if name not in questions]:
        _log.warning("online probe: too few val films have a value of %s, which is left out", ", ".join(missing))
    if requested is None:
        by_support = sorted((name for name in questions if name in labels), key=lambda name: -_support(questions[name]))
        questions = {name: one for name, one in questions.items() if name not in by_support[MAX_LABELS:]}
    return list(questions.values())


def _question(metric: str, values: Floats, patients: Integers) -> Question | None:
    """The question about the films whose value is finite; None if they are too few."""
    films = np.flatnonzero(np.isfinite(values))
    question = Question(metric, films, values[films], patients[films])
    if metric == "knn":
        return question if len(films) > NEIGHBOURS and question.values.max() > 0 else None
    if metric.endswith("_auroc"):
        counts = [len(np.unique(question.patients[question.values == value])) for value in (0, 1)]
        return question if min(counts) >= MIN_PATIENTS else None
    enough = len(np.unique(question.patients)) >= 2 * MIN_PATIENTS
    return question if enough and np.ptp(question.values) > 0 else None


def _support(question: Question) -> int:
    """Number of films of the rarer value; of a number, half of the films."""
    if question.metric.endswith("_auroc"):
        return int(min((question.values == 0).sum(), (question.values == 1).sum()))
    return len(question.films) // 2


def _metric_name(name: str, metric: str) -> str:
    """Name of the metric without characters that a tracking store refuses."""
    return metric if metric == "knn" else re.sub(r"[^A-Za-z0-9_.-]", "_", name) + f"_{metric}"


def _column_values(table: pa.Table) -> dict[str, tuple[str, Floats]]:
    """Question → metric and values [films] of the columns of the index, NaN where a film has none."""
    classes = np.full(len(table), np.nan)
    for columns in _CLASS_COLUMNS:
        texts = list(zip(*(table.column(name).to_pylist() for name in columns), strict=True))
        known = np.array([all(parts) for parts in texts], dtype=bool)
        names, numbers = np.unique([" ".join(parts) for parts in texts if all(parts)], return_inverse=True)
        if len(names) > 1:
            classes[known] = numbers
            break
    sex = np.array([{"F": 0.0, "M": 1.0}.get(value, np.nan) for value in table.column("sex").to_pylist()])
    age = np.array([np.nan if value is None else value for value in table.column("age_years").to_pylist()], dtype=float)
    return {CLASS: ("knn", classes), SEX: ("auroc", sex), AGE: ("r2", age)}


def _label_values(keys: list[str], shards: Sequence[PublicFolder], taken: set[str]) -> dict[str, tuple[str, Floats]]:
    """Label → metric and values [films], NaN where a film has none; names in ``taken`` are those of columns."""
    wanted = pa.array(keys)
    entries = [read_labels(folder) for folder in shards]
    table = pa.concat_tables([part.filter(pc.is_in(part["key"], value_set=wanted)) for part in entries])
    resolved = resolve_labels(table, LabelPolicy(), keys=keys)
    binary = {
        label: ("auroc", np.where(np.isin(column, (0, 1)), column, np.nan).astype(np.float64))
        for label, column in zip(resolved.labels, resolved.values.T, strict=True)
    }
    with_numbers = pc.unique(table.filter(pc.is_valid(table["number"]))["label"]).to_pylist()
    if hidden := sorted(taken & {*binary, *with_numbers}):
        _log.warning("online probe: the labels %s are left out: these names are of index columns", ", ".join(hidden))
    both = binary | {
        label: ("r2", resolve_numbers(table, LabelPolicy(), keys=keys, name=label).numbers)
        for label in with_numbers
        if label not in binary
    }
    return {label: both[label] for label in sorted(both) if label not in taken}
