"""Draw the training patients whose labels a probe uses, with the same draws as ``data/label_fraction.py``.

Without folds a probe is fitted to films of the training split and scores all test films. With folds (``cross_fit``) the
test patients are divided, and a probe that is fitted to all folds but one scores that one, so that few films are enough
for both.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mae_rad.data.label_fraction import select_label_fraction
from mae_rad.data.seeded_random import generator_for
from mae_rad.evaluation.comparison.films import Films
from mae_rad.evaluation.comparison.tasks import ProbeTask

Positions = NDArray[np.int64]
Flags = NDArray[np.bool_]


class LabelDraw(NamedTuple):
    """Labelled films of one draw, as positions among the films of a task.

    Attributes:
        train: films on which the probe is fitted.
        val: films on which its hyperparameter is chosen.
    """

    train: Positions
    val: Positions


class Fold(NamedTuple):
    """Films of one probe, as positions among the films of a task.

    Attributes:
        train: films on which the probe is fitted.
        val: films on which its hyperparameter is chosen; none with several folds.
        test: films that it scores.
    """

    train: Positions
    val: Positions
    test: Positions


def patient_folds(films: Films, count: int, seed: int) -> Positions | None:
    """Divide the patients of the test split into folds; the fold of a patient does not depend on other patients.

    Args:
        films: films of all splits.
        count: number of folds; 0 for none.
        seed: seed of the division.

    Returns:
        [films] fold in [0, count), -1 outside the test split; None without folds.
    """
    if not count:
        return None
    test, pseudonyms = films.split == "test", films.strings("patient")
    of_patient = {
        name: int(generator_for("cross_fit", seed, name).integers(count)) for name in set(pseudonyms[test].tolist())
    }
    of_film = [of_patient[name] if in_test else -1 for name, in_test in zip(pseudonyms, test, strict=True)]
    return np.array(of_film, dtype=np.int64)


def unlabelled_rows(films: Films, usable: Flags) -> Positions:
    """Return the films from which means and principal components are computed without labels.

    Args:
        films: films of all splits.
        usable: [films] bool, films that may be used.

    Returns:
        Rows of the training split; if it has none, as in an archive that is evaluated with folds, of the test split.
    """
    train = np.flatnonzero(usable & (films.split == "train"))
    return train if len(train) else np.flatnonzero(usable & (films.split == "test"))


def draw_folds(task: ProbeTask, fraction: float, draw: int, most: int, seed: int) -> list[Fold]:
    """Draw the labels of one draw, in every fold; folds without a test film are left out.

    Args:
        task: films and their classes or numbers.
        fraction: fraction of the patients, in (0, 1].
        draw: number of the draw.
        most: largest number of training films.
        seed: seed of the comparison.

    Returns:
        One fold with the films of the three splits, or the folds of the test films.
    """
    test = task.positions("test")
    if task.folds is None:
        return [Fold(*draw_labels(task, training_positions(task, most, seed), fraction, draw, seed), test)]
    none, folds = test[:0], []
    for number in np.unique(task.folds[test]).tolist():
        is_scored = task.folds[test] == number
        train = limited_positions(task, test[~is_scored], most, seed)
        folds.append(Fold(*draw_labels(task, train, fraction, draw, seed, val=none), test[is_scored]))
    return folds


def training_positions(task: ProbeTask, most: int, seed: int) -> Positions:
    """Select the training films; above ``most`` films, those of randomly drawn patients.

    Args:
        task: films and their classes.
        most: largest number of films.
        seed: seed of the comparison.

    Returns:
        Positions among the films of the task.
    """
    return limited_positions(task, task.positions("train"), most, seed)


def limited_positions(task: ProbeTask, places: Positions, most: int, seed: int) -> Positions:
    """Select from the films at ``places`` those of randomly drawn patients, if they are more than ``most``.

    One patient of every class is always selected, also where that exceeds ``most``.

    Args:
        task: films and their classes.
        places: positions among the films of the task.
        most: largest number of films.
        seed: seed of the comparison.
    """
    if len(places) <= most:
        return places
    names, of_film, films = np.unique(task.patients[places], return_inverse=True, return_counts=True)
    order = generator_for("training patients", seed, task.name).permutation(len(names))
    position = np.argsort(order)  # of each patient in the order of drawing
    classes = [of_film[task.y[places] == number] for number in np.unique(task.y[places])]
    first = np.unique([members[np.argmin(position[members])] for members in classes])
    others = order[~np.isin(order, first)]
    others = others[films[first].sum() + np.cumsum(films[others]) <= most]
    return places[np.isin(of_film, np.concatenate([first, others]))]


def draw_labels(
    task: ProbeTask, train: Positions, fraction: float, draw: int, seed: int, *, val: Positions | None = None
) -> LabelDraw:
    """Draw a fraction of the patients in train, and the same fraction of those in val.

    Draw 0 is that of a finetuning with ``data.label_seed`` = ``seed``, except that one patient of each class is always
    drawn.

    Args:
        task: films and their classes.
        train: positions of the training films.
        fraction: fraction of the patients, in (0, 1].
        draw: number of the draw.
        seed: seed of the comparison.
        val: positions of the validation films; None for those of the split.

    Returns:
        Positions in train and in val.
    """

    def drawn(places: Positions) -> Positions:
        chosen = select_label_fraction(
            task.pseudonyms[places].tolist(), fraction, seed, draw=draw, classes=task.y[places]
        )
        return places[chosen]

    return LabelDraw(drawn(train), drawn(task.positions("val") if val is None else val))
