"""A part of the labelled patients, such that a smaller part lies in a larger one."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mae_rad.data.seeded_random import counted


def in_fraction(patients: Sequence[str], fraction: float, seed: int) -> NDArray[np.bool_]:
    """[films] which films are those of the first ``fraction`` of the patients, in an order that ``seed`` draws.

    Args:
        patients: [films] the patient of each film.
        fraction: of the patients, in (0, 1]; at least one.
        seed: of the order. The place of a patient in it depends on nothing else.
    """
    if fraction == 1:
        return np.ones(len(patients), dtype=np.bool_)
    places = {patient: counted("label_fraction", seed, patient).random() for patient in set(patients)}
    first = sorted(places, key=lambda patient: (places[patient], patient))[: math.ceil(fraction * len(places))]
    return np.isin(np.array(patients, dtype=object), np.array(first, dtype=object))
