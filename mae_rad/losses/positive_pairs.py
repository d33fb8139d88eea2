"""Positive, negative and ignored pairs of a contrastive loss."""

import torch
from torch import Tensor

from mae_rad.losses.all_ranks import rank_and_world


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
