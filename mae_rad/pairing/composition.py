"""Strata of films, from which batches are composed."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mae_rad.data.film_order import Composition
from mae_rad.pairing.columns import expanded
from mae_rad.pairing.settings import BatchSettings

_log = logging.getLogger(__name__)


def compositions(
    settings: BatchSettings, columns: Mapping[str, NDArray[Any]], *, films: int, steps: int
) -> list[Composition]:
    """Compose the batches of a run.

    Args:
        settings: of the composition.
        columns: column → [films] values; those of ``settings.together``.
        films: of a forward pass over all ranks.
        steps: optimiser steps of the run without extensions.

    Returns:
        A composition for each stage, by first step.
    """
    strata = number_strata([columns[name] for name in expanded(settings.together, columns)])
    stages = [*((stage.until, stage.groups) for stage in settings.schedule), (1.0, settings.groups)]
    first, made = 0, []
    for until, groups in stages:
        share = films // groups if groups else 1
        made.append(Composition(first, merge_small(strata, share) if groups else None, share))
        first = round(until * steps)
    return [one for one, after in zip(made, [*made[1:], None], strict=True) if not after or after[0] > one.first_step]


def number_strata(columns: list[NDArray[Any]]) -> NDArray[np.int64]:
    """Number the combinations of values: [films] int64; values that are not known are equal to each other."""
    strata = np.zeros(len(columns[0]), dtype=np.int64)
    for values in columns:
        codes = np.unique(values, return_inverse=True, equal_nan=True)[1]
        strata = np.unique(strata * (codes.max() + 1) + codes, return_inverse=True)[1].astype(np.int64)
    return strata


def merge_small(strata: NDArray[np.int64], share: int) -> NDArray[np.int64]:
    """Merge strata that are too small, the smallest with the next larger one, until each fills a share.

    Args:
        strata: [films] number of the stratum of each film.
        share: films of a stratum in a forward pass.

    Returns:
        [films] numbers from 0; of strata of equal size the lower number is merged first.
    """
    sizes = np.bincount(strata)
    order = np.argsort(sizes, kind="stable")
    merged, number, films = np.zeros(len(sizes), dtype=np.int64), 0, 0
    for place, stratum in enumerate(order):
        merged[stratum] = number
        films += int(sizes[stratum])
        rest = int(sizes[order[place + 1 :]].sum())
        if films >= share and (rest == 0 or rest >= share):
            number, films = number + 1, 0
    if small := int((sizes < share).sum()):
        _log.info(
            "pairs.batches: %d of %d strata have fewer than the %d films of their share; merged into %d strata",
            small, len(sizes), share, int(merged.max()) + 1,
        )  # fmt: skip
    return merged[strata]
