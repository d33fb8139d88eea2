"""Losses that make the channels of two views agree and differ from each other: Barlow Twins, VICReg, TiCo.

Statistics are over the vectors of all ranks, with gradient: every function here is a collective call.

Legend: n local films, D channels.
"""

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from mae_rad.losses.all_ranks import add_over_ranks, batch_normalise, centre_over_ranks, count_rows, sum_over_ranks
from mae_rad.losses.vectors import at_least_float32, product, unit_rows


def barlow_twins(z0: Tensor, z1: Tensor, lambda_: float = 5e-3) -> Tensor:
    """Cross-correlation of the channels of two views towards the identity (Zbontar et al. 2021, eq. 1 and 2).

    Channels are normalised over the batch with the biased variance plus 1e-5, as batch norm without weights does in the
    public code; the paper has no such constant. Sums are divided by the films that are there, not by the configured
    batch.

    Args:
        z0: [n, D] first views.
        z1: [n, D] second views, in the same order.
        lambda_: weight of the terms off the diagonal.

    Returns:
        [] loss in float32 or float64; D for a single film, whose channels have no spread.
    """
    first, rows = batch_normalise(z0)
    second, _ = batch_normalise(z1)
    correlation = add_over_ranks(product(first.T, second)) / rows
    identity = torch.eye(len(correlation), dtype=correlation.dtype, device=correlation.device)
    weights = torch.full_like(correlation, lambda_).fill_diagonal_(1.0)
    return (weights * (correlation - identity).square()).sum()


def vicreg(z0: Tensor, z1: Tensor, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0) -> Tensor:
    """Variance, invariance and covariance (Bardes et al. 2022, eq. 1 to 6).

    As in the public code, the variance term is the mean of both views, where eq. 6 has their sum (solo-learn has the
    sum, too), and 1e-4 is added to the unbiased variance.

    Args:
        z0: [n, D] first views.
        z1: [n, D] second views, in the same order.
        invariance: weight of the mean squared difference of the views.
        variance: weight of the hinge on the standard deviation of every channel, at 1.
        covariance: weight of the squared covariances between channels, summed and divided by D.

    Returns:
        [] loss in float32 or float64; a single film counts as without spread.
    """
    z0, z1 = at_least_float32(z0), at_least_float32(z1)
    loss = invariance * mse_loss(z0, z1)
    for z in (z0, z1):
        centred, rows = centre_over_ranks(z)
        moments = add_over_ranks(product(centred.T, centred)) / (rows - 1).clamp(min=1)
        deviation = (moments.diagonal() + 1e-4).sqrt()
        between = moments - moments.diagonal().diag()
        loss = loss + variance * (1 - deviation).clamp(min=0).mean() / 2
        loss = loss + covariance * between.square().sum() / len(moments)
    return loss


def tico(z0: Tensor, z1: Tensor, covariance: Tensor, rho: float = 8.0, beta: float = 0.9) -> tuple[Tensor, Tensor]:
    """Transformation invariance and covariance contrast (Zhu et al. 2022).

    The second moments have no gradient, and the defaults are those of lightly.

    Called by no objective yet.

    Args:
        z0: [n, D] first views.
        z1: [n, D] second views, in the same order.
        covariance: [D, D] moving second moments of the vectors of earlier steps, zeros at first.
        rho: weight of the contrast.
        beta: share of the earlier second moments.

    Returns:
        [] loss in float32 or float64, and the new second moments [D, D] without gradient.
    """
    z0, z1 = unit_rows(z0), unit_rows(z1)
    rows = count_rows(z0)
    moments = beta * covariance.to(z0.dtype) + (1 - beta) * sum_over_ranks(product(z0.T, z0)) / rows
    contrast = (product(z0, moments) * z0).sum(dim=1).mean()
    return 1 - (z0 * z1).sum(dim=1).mean() + rho * contrast, moments
