"""The common form of contrastive losses, from similarities, positive weights and a denominator mask.

    L_i = - sum_j w'_ij (s_ij - log sum_{k: m_ik} exp s_ik),    w'_ij = w_ij / sum_j w_ij

NT-Xent (Chen et al. 2020, eq. 1), SupCon's L_out (Khosla et al. 2020, eq. 2), CLIP (Radford et al. 2021), the decoupled
loss (Yeh et al. 2022), elimination of false negatives and soft targets differ only in (w, m):

    w > 0              column j is a positive of row i
    m and not w > 0    column j is a negative of row i
    neither            column j is ignored by row i
    w > 0 and not m    column j is a positive that is not in the denominator
"""

import torch
from torch import Tensor

from mae_rad.losses.all_ranks import rank_and_world, sum_over_ranks


def pair_nce(similarity: Tensor, weights: Tensor, mask: Tensor) -> Tensor:
    """Weighted cross-entropy of similarities over the columns of each row's denominator, as the mean over rows.

    A row with an empty denominator or without a positive is dropped from sum and count. With a process group, rows are
    those of this rank and columns those of all ranks (see ``gather_columns``); the result is the sum over local rows,
    times the number of ranks, over the number of valid rows on all ranks, so that its mean over ranks is the loss of
    one process. This makes it a collective call.

    Args:
        similarity: [N, M] similarities, already divided by the temperature. Half precision is computed in float32.
        weights: [N, M], not negative.
        mask: [N, M] bool, true for the columns in the denominator.

    Returns:
        [] loss in float32 or float64; zero (with zero gradient) where no row is valid on any rank.
    """
    similarity = similarity.to(torch.promote_types(similarity.dtype, torch.float32))
    weights = weights.to(similarity.dtype)
    weight_sum = weights.sum(dim=1, keepdim=True)
    valid = mask.any(dim=1, keepdim=True) & (weight_sum > 0)
    # Dropped rows are set to finite values first: a NaN times zero is a NaN in the gradient.
    safe = similarity.masked_fill(~valid, 0.0)
    denominator = safe.masked_fill(~mask & valid, -torch.inf).logsumexp(dim=1, keepdim=True)
    terms = (denominator - safe).masked_fill(weights == 0, 0.0)
    rows = (weights / weight_sum.masked_fill(~valid, 1.0) * terms).sum(dim=1, keepdim=True)
    _, world = rank_and_world()
    count = sum_over_ranks(valid.sum()).clamp(min=1)
    return rows.masked_fill(~valid, 0.0).sum() * world / count
