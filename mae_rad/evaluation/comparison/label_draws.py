"""Which patients' labels a probe may use: all of them, or a fraction as ``data/label_fraction.py`` draws it."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mae_rad.data.label_fraction import in_fraction
from mae_rad.data.seeded_random import generator_for
from mae_rad.evaluation.comparison.tasks import ProbeTask

Places = NDArray[np.int64]


class Labelled(NamedTuple):
    """Places among the films of a task.

    Attributes:
        train: to fit on.
        val: to choose on.
    """

    train: Places
    val: Places


def training_places(task: ProbeTask, most: int, seed: int) -> Places:
    """The films in train, or those of randomly drawn patients, about ``most`` of them."""
    places = task.places("train")
    if len(places) <= most:
        return places
    names, of_film, films = np.unique(task.patients[places], return_inverse=True, return_counts=True)
    order = generator_for("training patients", seed, task.name).permutation(len(names))
    drawn = order[np.cumsum(films[order]) <= most]
    return places[np.isin(of_film, drawn)]


def labelled(task: ProbeTask, train: Places, fraction: float, draw: int, seed: int) -> Labelled:
    """A fraction of the patients of ``train``, and of those in val: labels are as few where the probe chooses.

    Draw 0 is that of a finetuning with ``data.label_seed`` = ``seed``, but for one patient of each class, who come
    first here.

    Args:
        task: the films and their classes.
        train: places of the training films.
        fraction: of the patients, in (0, 1].
        draw: number of the draw.
        seed: of the comparison.

    Returns:
        Places in train and in val.
    """

    def drawn(places: Places) -> Places:
        chosen = in_fraction(task.pseudonyms[places].tolist(), fraction, seed, draw=draw, classes=task.y[places])
        return places[chosen]

    return Labelled(drawn(train), drawn(task.places("val")))
