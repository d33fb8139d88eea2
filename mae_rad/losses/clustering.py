"""Losses of assignments to prototypes or clusters: SwAV, DEC, SCAN, Contrastive Clustering.

Statistics of the batch are over all ranks: every function here but ``dec`` is a collective call. Inputs in half
precision are computed in float32.

Legend: n local films, K prototypes or clusters, D features.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mae_rad.losses.all_ranks import add_over_ranks, count_rows, gather_columns, sum_over_ranks
from mae_rad.losses.contrastive import nt_xent
from mae_rad.losses.pair_nce import pair_nce
from mae_rad.losses.vectors import at_least_float32, product


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    """Assign films to prototypes so that all prototypes get equally many (Caron et al. 2020, appendix A).

    Computed with logarithms, where the public code takes exp(scores / epsilon), which overflows. Without gradient.

    Args:
        scores: [n, K] products of unit vectors with prototypes, not divided by the temperature.
        epsilon: smoothness; towards 0 the assignment is hard.
        iterations: of the Sinkhorn-Knopp algorithm, at least 1.

    Returns:
        [n, K] assignments in float32 or float64; every row sums to 1.

    Raises:
        ValueError: ``iterations`` is less than 1.
    """
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, not {iterations}")
    logits = at_least_float32(scores) / epsilon
    for _ in range(iterations):
        of_ranks = gather_columns(logits.logsumexp(dim=0, keepdim=True))  # [W, K]
        logits = logits - of_ranks.logsumexp(dim=0)
        logits = logits - logits.logsumexp(dim=1, keepdim=True)
    return logits.exp()


def swav(
    scores0: Tensor,
    scores1: Tensor,
    temperature: float = 0.1,
    epsilon: float = 0.05,
    iterations: int = 3,
    *,
    further: Sequence[Tensor] = (),
    earlier: Sequence[Tensor] = (),
) -> Tensor:
    """Predict the assignment of one view from the scores of the others (Caron et al. 2020, eq. 1 and 2).

    The mean over pairs of views and films, as in the public code; eq. 2 has the sum of both directions.

    Args:
        scores0: [n, K] products of unit vectors of the first view with unit prototypes.
        scores1: [n, K] of the second view, in the same order.
        temperature: divisor of the predicted scores.
        epsilon: see ``sinkhorn``.
        iterations: see ``sinkhorn``.
        further: scores [n, K] of further crops, which are predicted from but not assigned (multi-crop).
        earlier: scores [Q, K] of films of earlier batches in the first and in the second view, which are assigned
            together with those of the batch (section 3.2); none, or both. Each rank gives a part of its own.

    Returns:
        [] loss in float32 or float64.
    """
    views = (scores0, scores1)
    together = [torch.cat(both) for both in zip(views, earlier, strict=True)] if earlier else views
    assignments = [sinkhorn(scores, epsilon, iterations)[: len(scores0)] for scores in together]
    crops = [*views, *further]
    predictions = [(at_least_float32(scores) / temperature).log_softmax(dim=1) for scores in crops]
    losses = [
        -(assignment * prediction).sum(dim=1).mean()
        for assigned, assignment in enumerate(assignments)
        for predicted, prediction in enumerate(predictions)
        if assigned != predicted
    ]
    return torch.stack(losses).mean()


def dec_assignment(z: Tensor, centres: Tensor, alpha: float = 1.0) -> Tensor:
    """Assign vectors softly to cluster centres by Student's t (Xie et al. 2016, eq. 1).

    Called by no objective yet.

    Args:
        z: [n, D] vectors.
        centres: [K, D] cluster centres.
        alpha: degrees of freedom.

    Returns:
        [n, K] q in float32 or float64; every row sums to 1.
    """
    squared = (at_least_float32(z)[:, None] - centres[None]).square().sum(dim=2)
    return (-(alpha + 1) / 2 * (squared / alpha).log1p()).softmax(dim=1)


@torch.no_grad()
def dec_target(q: Tensor) -> Tensor:
    """Sharpen assignments, with equal weight for clusters of any size (Xie et al. 2016, eq. 3).

    Called by no objective yet.

    Args:
        q: [n, K] assignments.

    Returns:
        [n, K] p in float32 or float64, without gradient; every row sums to 1.
    """
    q = at_least_float32(q)
    sharp = q.square() / sum_over_ranks(q.sum(dim=0)).clamp(min=torch.finfo(q.dtype).tiny)
    return sharp / sharp.sum(dim=1, keepdim=True).clamp(min=torch.finfo(q.dtype).tiny)


def dec(q: Tensor, p: Tensor) -> Tensor:
    """Divergence of assignments from their target, KL(p || q) (Xie et al. 2016, eq. 2).

    The mean over films, where the paper has the sum; the target has no gradient.

    Called by no objective yet.

    Args:
        q: [n, K] assignments.
        p: [n, K] target.

    Returns:
        [] loss in float32 or float64; its mean over ranks is that of all films.
    """
    q, p = at_least_float32(q), at_least_float32(p.detach())
    return (torch.xlogy(p, p) - p * q.masked_fill(p == 0, 1.0).log()).sum(dim=1).mean()


def scan(anchor_logits: Tensor, neighbour_logits: Tensor, entropy: float = 5.0) -> Tensor:
    """Equal clusters for neighbours, and clusters of equal size (Van Gansbeke et al. 2020, eq. 2).

    Computed with logarithms; the public code clamps probabilities at 1e-8.

    Called by no objective yet.

    Args:
        anchor_logits: [n, K] of films.
        neighbour_logits: [n, K] of a neighbour of each.
        entropy: weight of the entropy of the mean assignment of the anchors.

    Returns:
        [] loss in float32 or float64.
    """
    anchors = at_least_float32(anchor_logits).log_softmax(dim=1)
    neighbours = at_least_float32(neighbour_logits).log_softmax(dim=1)
    consistency = -(anchors + neighbours).logsumexp(dim=1).mean()
    mean = add_over_ranks(anchors.exp().sum(dim=0)) / count_rows(anchors)
    return consistency - entropy * _entropy(mean)


def cc_instance(z0: Tensor, z1: Tensor, temperature: float = 0.5) -> Tensor:
    """Instance loss of Contrastive Clustering (Li et al. 2021, section 3.2): NT-Xent.

    Called by no objective yet.

    Args:
        z0: [n, D] first views.
        z1: [n, D] second views, in the same order.
        temperature: divisor of the cosine similarities.

    Returns:
        [] loss in float32 or float64.
    """
    return nt_xent(z0, z1, temperature)


def cc_cluster(logits0: Tensor, logits1: Tensor, temperature: float = 1.0) -> Tensor:
    """Cluster loss of Contrastive Clustering (Li et al. 2021, section 3.3): NT-Xent of clusters, minus their entropy.

    A cluster is the vector of its probabilities over the films of all ranks.

    Called by no objective yet.

    Args:
        logits0: [n, K] of the first views.
        logits1: [n, K] of the second views, in the same order.
        temperature: divisor of the cosine similarities of clusters.

    Returns:
        [] loss in float32 or float64.
    """
    clusters = torch.cat([at_least_float32(logits0).softmax(dim=1), at_least_float32(logits1).softmax(dim=1)], dim=1)
    moments = add_over_ranks(product(clusters.T, clusters))
    length = moments.diagonal().clamp(min=1e-16).sqrt()
    similarity = moments / (length[:, None] * length[None]) / temperature
    is_own = torch.eye(len(moments), dtype=torch.bool, device=moments.device)
    contrast = pair_nce(similarity, is_own.roll(logits0.shape[1], dims=1), ~is_own)
    sizes = (add_over_ranks(clusters.sum(dim=0)) / count_rows(clusters)).view(2, -1)
    return contrast + 2 * math.log(sizes.shape[1]) - _entropy(sizes[0]) - _entropy(sizes[1])


def _entropy(p: Tensor) -> Tensor:
    return -torch.xlogy(p, p.clamp(min=torch.finfo(p.dtype).tiny)).sum()
