"""Draw the training patients whose labels a probe uses, with the same draws as ``data/label_fraction.py``."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mae_rad.data.label_fraction import select_label_fraction
from mae_rad.data.seeded_random import generator_for
from mae_rad.evaluation.comparison.tasks import ProbeTask

Positions = NDArray[np.int64]


class LabelDraw(NamedTuple):
    """Labelled films of one draw, as positions among the films of a task.

    Attributes:
        train: films on which the probe is fitted.
        val: films on which its hyperparameter is chosen.
    """

    train: Positions
    val: Positions


def training_positions(task: ProbeTask, most: int, seed: int) -> Positions:
    """Select the training films; above ``most`` films, those of randomly drawn patients.

    Args:
        task: films and their classes.
        most: largest number of films.
        seed: seed of the comparison.

    Returns:
        Positions among the films of the task.
    """
    places = task.positions("train")
    if len(places) <= most:
        return places
    names, of_film, films = np.unique(task.patients[places], return_inverse=True, return_counts=True)
    order = generator_for("training patients", seed, task.name).permutation(len(names))
    drawn = order[np.cumsum(films[order]) <= most]
    return places[np.isin(of_film, drawn)]


def draw_labels(task: ProbeTask, train: Positions, fraction: float, draw: int, seed: int) -> LabelDraw:
    """Draw a fraction of the patients in train, and the same fraction of those in val.

    Draw 0 is that of a finetuning with ``data.label_seed`` = ``seed``, except that one patient of each class is always
    drawn.

    Args:
        task: films and their classes.
        train: positions of the training films.
        fraction: fraction of the patients, in (0, 1].
        draw: number of the draw.
        seed: seed of the comparison.

    Returns:
        Positions in train and in val.
    """

    def drawn(places: Positions) -> Positions:
        chosen = select_label_fraction(
            task.pseudonyms[places].tolist(), fraction, seed, draw=draw, classes=task.y[places]
        )
        return places[chosen]

    return LabelDraw(drawn(train), drawn(task.positions("val")))
