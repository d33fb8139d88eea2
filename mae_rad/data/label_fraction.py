"""The one draw of a label fraction: some of the labelled patients, such that a smaller part lies in a larger one."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mae_rad.data.seeded_random import generator_for


def in_fraction(
    patients: Sequence[str],
    fraction: float,
    seed: int,
    *,
    draw: int = 0,
    classes: NDArray[np.int64] | None = None,
) -> NDArray[np.bool_]:
    """Which films are those of the first ``fraction`` of the patients, in an order that ``seed`` and ``draw`` give.

    The place of a patient in the order is a hash of (seed, draw, patient): it does not depend on the other patients.

    Args:
        patients: [films] pseudonym of the patient of each film.
        fraction: of the patients, in (0, 1]; at least one.
        seed: of the order.
        draw: number of the order, for several draws of one seed.
        classes: [films] class of each film; the order then begins with one patient of each class, so that none is
            missing. None leaves the order as it is.

    Returns:
        [films] bool.
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
        needed = {int(rank_of_film[classes == one].min()) for one in np.unique(classes)}
        order.sort(key=lambda patient: ranks[patient] not in needed)
        count = max(count, len(needed))
    return np.isin(np.array(patients, dtype=object), np.array(order[:count], dtype=object))
