"""Positive, negative and ignored pairs of a contrastive loss."""

from typing import NamedTuple

import torch
from torch import Tensor

from mae_rad.losses.all_ranks import rank_and_world


class Members(NamedTuple):
    """Identities of rows or columns.

    Attributes:
        place: [N] int64, unique to each vector over all ranks.
        film: [N] int64 identity of the film.
        study: [N] int64 identity of the study that the film belongs to.
    """

    place: Tensor
    film: Tensor
    study: Tensor


def film_relation(rows: Members, columns: Members) -> tuple[Tensor, Tensor]:
    """Views of one film are positives, other films of its study are ignored, films of other studies are negatives.

    Two films of a study show one patient at one time, often one body part: as negatives they would add noise. All views
    of a film that is in the batch more than once, on any rank, are positives.

    Args:
        rows: N vectors of this rank.
        columns: M vectors of all ranks.

    Returns:
        weights [N, M] float32 in {0, 1} and mask [N, M] bool, as ``pair_nce`` takes them.
    """
    different_vector = rows.place[:, None] != columns.place[None]
    is_positive = different_vector & (rows.film[:, None] == columns.film[None])
    is_negative = rows.study[:, None] != columns.study[None]
    return is_positive.float(), is_positive | (is_negative & different_vector)


def own_columns(count: int, device: torch.device) -> Tensor:
    """Mark the column of each row where ``gather_columns`` stacks vectors in the order of the rows.

    Args:
        count: n rows of this rank.
        device: of the result.

    Returns:
        [n, n x world] bool, one true per row.
    """
    rank, world = rank_and_world()
    places = torch.arange(count * world, device=device)
    return places[count * rank : count * (rank + 1), None] == places[None]


def same_class(labels: Tensor, all_labels: Tensor) -> Tensor:
    """Mark the columns of each row's class.

    Args:
        labels: [N] int64 classes of the rows, or bool; a negative number is no class.
        all_labels: [M] classes of the columns.

    Returns:
        [N, M] bool; false for rows and columns without a class.
    """
    return (labels[:, None] == all_labels[None]) & (labels >= 0)[:, None]
