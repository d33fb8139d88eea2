"""Contrast by the order of a continuous target, with a denominator of its own for every pair."""

import torch
from torch import Tensor

from mae_rad.losses.all_ranks import gather_columns, rank_and_world, sum_over_ranks
from mae_rad.losses.positive_pairs import own_columns
from mae_rad.losses.vectors import at_least_float32


def rank_n_contrast(z: Tensor, targets: Tensor, temperature: float = 2.0) -> Tensor:
    """Rank-N-Contrast (Zha et al. 2023, eq. 1 and 2), as the mean over pairs of different vectors.

        L_ij = - (s_ij - log sum_{k: d_ik >= d_ij} exp s_ik),    s = - distance / temperature,    d_ij = abs(y_i - y_j)

    The similarity is the negative Euclidean distance of vectors that are not normalised, as in paper and public code;
    vector j is in its own denominator, vector i is not. The denominators are running sums over columns sorted by the
    difference of targets, so that memory is N x M, not N x M x M as in the public code. A collective call.

    Args:
        z: [N, D] vectors of all views.
        targets: [N] values, or [N, L] compared by the sum of absolute differences; a vector whose target is NaN is left
            out.
        temperature: divisor of the distances.

    Returns:
        [] loss in float32 or float64; zero (with zero gradient) without a pair on any rank.
    """
    z = at_least_float32(z)
    values = targets.to(torch.promote_types(targets.dtype, torch.float32)).reshape(len(z), -1)
    with torch.autocast(z.device.type, enabled=False):
        distance = torch.cdist(z, gather_columns(z), compute_mode="donot_use_mm_for_euclid_dist")
    difference = (values[:, None] - gather_columns(values)[None]).abs().sum(dim=2)
    is_pair = ~own_columns(len(z), z.device) & ~difference.isnan()
    similarity = (-distance / temperature).masked_fill(~is_pair, 0.0)  # finite where the gradient is masked
    difference = difference.masked_fill(~is_pair, -torch.inf)
    difference, order = difference.sort(dim=1, descending=True)
    is_pair = is_pair.gather(1, order)
    similarity = similarity.gather(1, order).masked_fill(~is_pair, -torch.inf)
    running = similarity.logcumsumexp(dim=1)
    # Columns with equal differences share the denominator, which is the sum up to the last of them.
    last = torch.searchsorted(-difference, -difference, right=True) - 1
    denominator = running.gather(1, last)
    terms = (denominator - similarity).masked_fill(~is_pair, 0.0)
    count = sum_over_ranks(is_pair.sum()).clamp(min=1)
    return terms.sum() * rank_and_world()[1] / count
