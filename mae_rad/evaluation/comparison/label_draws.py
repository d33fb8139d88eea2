"""Which patients' labels a probe may use: all of them, or a fraction; a smaller fraction is part of a larger one."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mae_rad.data.seeded_random import counted
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
    order = counted("training patients", seed, task.name).permutation(len(names))
    drawn = order[np.cumsum(films[order]) <= most]
    return places[np.isin(of_film, drawn)]


def labelled(task: ProbeTask, train: Places, fraction: float, draw: int, seed: int) -> Labelled:
    """A fraction of the patients of ``train``, and of those in val: labels are as few where the probe chooses.

    The patients of one draw stand in one order; a fraction takes the first of them, so a smaller one is part of a
    larger one. The order begins with a patient of every class.
    """
    if fraction >= 1:
        return Labelled(train, task.places("val"))
    return Labelled(*(_first(task, places, fraction, draw, seed) for places in (train, task.places("val"))))


def _first(task: ProbeTask, places: Places, fraction: float, draw: int, seed: int) -> Places:
    patients, y = task.patients[places], task.y[places]
    names = np.unique(patients)
    order = names[counted("label draw", seed, task.name, draw).permutation(len(names))]
    rank = np.empty(len(names), dtype=np.int64)
    rank[np.searchsorted(names, order)] = np.arange(len(order))
    rank_of_film = rank[np.searchsorted(names, patients)]
    needed = {int(rank_of_film[y == c].min()) for c in np.unique(y)}
    front = sorted(needed) + [place for place in range(len(order)) if place not in needed]
    count = max(math.ceil(fraction * len(names)), len(needed))
    return places[np.isin(patients, order[front[:count]])]
