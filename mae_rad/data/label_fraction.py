"""Draw a fraction of the labelled patients, such that smaller fractions are subsets of larger ones."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mae_rad.data.seeded_random import generator_for


def select_label_fraction(
    patients: Sequence[str],
    fraction: float,
    seed: int,
    *,
    draw: int = 0,
    classes: NDArray[np.int64] | None = None,
) -> NDArray[np.bool_]:
    """Select the films of the first ``fraction`` of the patients in a random order.

    The position of a patient is a hash of (seed, draw, patient), so it does not depend on the other patients.

    Args:
        patients: [films] pseudonym of the patient of each film.
        fraction: fraction of the patients, in (0, 1]; at least one patient is selected.
        seed: seed of the order.
        draw: number of the draw, for several draws with one seed.
        classes: [films] int64 class of each film; if given, the order starts with one patient of each class, so that
            none is missing.

    Returns:
        [films] bool, True for selected films.
    """
    if fraction == 1:
        return np.ones(len(patients), dtype=np.bool_)
    parts = (seed, draw) if draw else (seed,)
    places = {patient: generator_for("label_fraction", *parts, patient).random() for patient in set(patients)}
    order = sorted(places, key=lambda patient: (places[patient], patient))
    count = math.ceil(fraction * len(order))
    if classes is not None:
        ranks = {patient: rank for rank, patient in enumerate(order)}
        rank_of_film = np.array([ranks[patient] for patient in patients])
        needed = {int(rank_of_film[classes == label].min()) for label in np.unique(classes)}
        order.sort(key=lambda patient: ranks[patient] not in needed)
        count = max(count, len(needed))
    return np.isin(np.array(patients, dtype=object), np.array(order[:count], dtype=object))
