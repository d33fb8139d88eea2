"""The common form of contrastive losses, from similarities, positive weights and weights in the denominator.

    L_i = - sum_j w'_ij (s_ij - log sum_k d_ik exp s_ik),    w'_ij = w_ij / sum_j w_ij

NT-Xent (Chen et al. 2020, eq. 1), SupCon's L_out (Khosla et al. 2020, eq. 2), CLIP (Radford et al. 2021), the decoupled
loss (Yeh et al. 2022), elimination of false negatives and soft targets differ only in (w, d):

    w > 0              column j is a positive of row i
    d > 0, w = 0       column j is a negative of row i; 2 counts as two such columns, 0.5 as half of one
    d = 0, w = 0       column j is ignored by row i
    d = 0, w > 0       column j is a positive that is not in the denominator
"""

import torch
from torch import Tensor

from mae_rad.losses.all_ranks import rank_and_world, sum_over_ranks
from mae_rad.losses.vectors import at_least_float32


def pair_nce(similarity: Tensor, weights: Tensor, mask: Tensor) -> Tensor:
    """Weighted cross-entropy of similarities over the columns of each row's denominator, as the mean over rows.

    A row with an empty denominator or without a positive is dropped from sum and count; :func:`valid_rows` says which.
    With a process group, rows are those of this rank and columns those of all ranks (see ``gather_columns``); the
    result is the sum over local rows, times the number of ranks, over the number of valid rows on all ranks, so that
    its mean over ranks is the loss of one process. This makes it a collective call.

    Args:
        similarity: [N, M] similarities, already divided by the temperature. Half precision is computed in float32.
        weights: [N, M] w, not negative.
        mask: [N, M] d, bool or not negative. True and 1 give the same bits.

    Returns:
        [] loss in float32 or float64; zero (with zero gradient) where no row is valid on any rank.

    Raises:
        ValueError: the three differ in shape.
    """
    rows, valid = row_losses(similarity, weights, mask)
    _, world = rank_and_world()
    count = sum_over_ranks(valid.sum()).clamp(min=1)
    return rows.sum() * world / count


def row_losses(similarity: Tensor, weights: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the terms L_i of :func:`pair_nce`, whose arguments these are.

    Returns:
        [N] losses, 0 for a dropped row, and [N] bool, false for a dropped row.

    Raises:
        ValueError: the three differ in shape.
    """
    if not similarity.shape == weights.shape == mask.shape:
        shapes = ", ".join(str(list(values.shape)) for values in (similarity, weights, mask))
        raise ValueError(f"similarity, weights and mask must have one shape, not {shapes}")
    similarity = at_least_float32(similarity)
    weights = weights.to(similarity.dtype)
    weight_sum = weights.sum(dim=1, keepdim=True)
    valid = valid_rows(weights, mask)[:, None]
    # Dropped rows are set to finite values first: a NaN times zero is a NaN in the gradient.
    safe = similarity.masked_fill(~valid, 0.0)
    is_outside = mask == 0
    logits = safe
    if mask.dtype != torch.bool:
        logits = safe + mask.to(similarity.dtype).masked_fill(is_outside, 1.0).log()
    denominator = logits.masked_fill(is_outside & valid, -torch.inf).logsumexp(dim=1, keepdim=True)
    terms = (denominator - safe).masked_fill(weights == 0, 0.0)
    rows = (weights / weight_sum.masked_fill(~valid, 1.0) * terms).sum(dim=1, keepdim=True)
    return rows.masked_fill(~valid, 0.0).squeeze(1), valid.squeeze(1)


def valid_rows(weights: Tensor, mask: Tensor) -> Tensor:
    """Find the rows that have a positive and a denominator; the others are dropped from the loss.

    Args:
        weights: [N, M] w.
        mask: [N, M] d.

    Returns:
        [N] bool.
    """
    return mask.any(dim=1) & (weights.sum(dim=1) > 0)
