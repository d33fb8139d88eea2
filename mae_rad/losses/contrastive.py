"""Contrastive losses between views of films; each is a choice of (similarity, w, d) for ``pair_nce``.

Rows are vectors of this rank, columns those of all ranks, with gradient: every function here is a collective call.
Inputs are normalised to unit length here, and similarities are computed in float32 (float64 for float64 inputs) also
under autocast.

Legend: n local films, W ranks, N rows, M columns, D features.
"""

from typing import Literal, NamedTuple, overload

import torch
from torch import Tensor

from mae_rad.losses.all_ranks import gather_columns, rank_and_world, sum_over_ranks
from mae_rad.losses.pair_nce import pair_nce, row_losses
from mae_rad.losses.positive_pairs import own_columns, same_class
from mae_rad.losses.vectors import product, unit_rows


class Pairs(NamedTuple):
    """The arguments of ``pair_nce``: similarity [N, M], weights [N, M], mask [N, M] bool or float."""

    similarity: Tensor
    weights: Tensor
    mask: Tensor


@overload
def nt_xent(
    z0: Tensor,
    z1: Tensor,
    temperature: float = 0.1,
    *,
    film: Tensor | None = None,
    study: Tensor | None = None,
    return_pairs: Literal[False] = False,
) -> Tensor: ...


@overload
def nt_xent(
    z0: Tensor,
    z1: Tensor,
    temperature: float = 0.1,
    *,
    film: Tensor | None = None,
    study: Tensor | None = None,
    return_pairs: Literal[True],
) -> tuple[Tensor, Pairs]: ...


def nt_xent(
    z0: Tensor,
    z1: Tensor,
    temperature: float = 0.1,
    *,
    film: Tensor | None = None,
    study: Tensor | None = None,
    return_pairs: bool = False,
) -> Tensor | tuple[Tensor, Pairs]:
    """Normalised temperature-scaled cross-entropy of SimCLR (Chen et al. 2020, eq. 1) over all ranks.

    With ``film`` and ``study``, films of one study are not negatives of each other. A collective call.

    The objective simclr chooses its pairs by a relation instead, with the same values by default.

    Args:
        z0: [n, D] first views.
        z1: [n, D] second views, in the same order.
        temperature: divisor of the cosine similarities.
        film: [n] int64 identities of the films; None: all films differ.
        study: [n] int64 identities of the studies; None: every film is a study of its own.
        return_pairs: also return the arguments of ``pair_nce``, with N = 2n and M = 2nW.

    Returns:
        [] loss in float32 or float64; with ``return_pairs`` the loss and its Pairs.
    """
    pairs = _view_pairs(z0, z1, temperature, film, study)
    loss = pair_nce(*pairs)
    return (loss, pairs) if return_pairs else loss


def dcl(
    z0: Tensor, z1: Tensor, temperature: float = 0.1, *, film: Tensor | None = None, study: Tensor | None = None
) -> Tensor:
    """Decoupled contrastive loss (Yeh et al. 2022): NT-Xent whose denominator leaves the positive out.

    Paper and lightly agree: the negatives of a row are both views of the other films. The loss may be negative. A film
    without a negative is dropped.

    Called by no objective yet.

    Args:
        z0: [n, D] first views.
        z1: [n, D] second views, in the same order.
        temperature: divisor of the cosine similarities.
        film: [n] int64 identities of the films; None: all films differ.
        study: [n] int64 identities of the studies, whose films are not negatives of each other; None: all differ.

    Returns:
        [] loss in float32 or float64.
    """
    similarity, weights, mask = _view_pairs(z0, z1, temperature, film, study)
    return pair_nce(similarity, weights, mask & (weights == 0))


def supcon(z: Tensor, labels: Tensor, temperature: float = 0.1) -> Tensor:
    """Supervised contrastive loss, L_out (Khosla et al. 2020, eq. 2); a row without a positive is dropped.

    Public code multiplies by temperature / base_temperature (0.07 by default there); this is the paper's eq. 2. The
    supervised SimCLR of solo-learn is L_in (eq. 3), another loss.

    Called by no objective yet.

    Args:
        z: [N, D] vectors of all views.
        labels: [N] int64 classes; a vector with a negative number has no class: it is a negative of all others.
        temperature: divisor of the cosine similarities.

    Returns:
        [] loss in float32 or float64.
    """
    is_own = own_columns(len(z), z.device)
    is_positive = same_class(labels, gather_columns(labels)) & ~is_own
    return pair_nce(_similarity_to_all(unit_rows(z), temperature), is_positive, ~is_own)


def y_aware(
    z0: Tensor,
    z1: Tensor,
    targets: Tensor,
    sigma: float,
    temperature: float = 0.1,
    *,
    normalise: Literal["rows", "columns"] = "rows",
) -> Tensor:
    """Contrast weighted by a kernel on a continuous target: y-aware InfoNCE (Dufumier et al. 2021).

    The weight of a pair is exp(-(y_i - y_j)^2 / (2 sigma^2)), relative to the sum of its row. The published code
    divides by the sum of the column instead and returns twice the mean: ``normalise="columns"`` times 2.

    Called by no objective yet.

    Args:
        z0: [n, D] first views.
        z1: [n, D] second views, in the same order.
        targets: [n] for example age; a film whose target is NaN pulls its other view only.
        sigma: width of the kernel in the unit of ``targets``.
        temperature: divisor of the cosine similarities.
        normalise: ``rows`` as in the paper; ``columns`` as in the published code.

    Returns:
        [] loss in float32 or float64.
    """
    z = unit_rows(torch.cat([z0, z1]))
    y = targets.to(z.dtype).repeat(2)
    is_own = own_columns(len(z), z.device)
    other_view = is_own.view(2, len(z0), -1).flip(0).flatten(0, 1)
    kernel = torch.exp(-(y[:, None] - gather_columns(y)[None]).square() / (2 * sigma**2))
    weights = kernel.nan_to_num(0.0).masked_fill(other_view, 1.0).masked_fill(is_own, 0.0)
    similarity = _similarity_to_all(z, temperature)
    if normalise == "rows":
        return pair_nce(similarity, weights, ~is_own)
    weights = weights / gather_columns(weights.sum(dim=1))[None]  # the kernel is symmetric
    rows, valid = row_losses(similarity, weights, ~is_own)
    return (weights.sum(dim=1) * rows).sum() * rank_and_world()[1] / sum_over_ranks(valid.sum()).clamp(min=1)


def nnclr(z0: Tensor, z1: Tensor, memory: Tensor, temperature: float = 0.1, *, neighbours: int = 1) -> Tensor:
    """Nearest neighbours as positives (Dwibedi et al. 2021, eq. 3), one direction.

    The neighbours of z0 in the memory are rows, z1 are columns. The loss of the paper is the mean of
    ``nnclr(z0, p1, memory)`` and ``nnclr(z1, p0, memory)`` with projections z and predictions p. The gradient reaches
    z1 only. More than one neighbour: the mean over them. lightly compares neighbours with neighbours as well (NT-Xent),
    another loss.

    Args:
        z0: [n, D] vectors whose neighbours are taken.
        z1: [n, D] vectors of the other view, in the same order.
        memory: [S, D] vectors of earlier batches, equal on all ranks.
        temperature: divisor of the cosine similarities.
        neighbours: nearest vectors of the memory per film, at most S.

    Returns:
        [] loss in float32 or float64.

    Raises:
        ValueError: the memory has fewer vectors than ``neighbours``.
    """
    if not 1 <= neighbours <= len(memory):
        raise ValueError(f"neighbours must be between 1 and the {len(memory)} vectors of the memory, not {neighbours}")
    with torch.no_grad():
        wanted = unit_rows(z0)
        stored = unit_rows(memory).to(wanted.dtype)
        rows = stored[product(wanted, stored.T).topk(neighbours, dim=1).indices.flatten()]
    weights = own_columns(len(z0), z0.device).repeat_interleave(neighbours, dim=0)
    similarity = product(rows, gather_columns(unit_rows(z1)).T) / temperature
    return pair_nce(similarity, weights, torch.ones_like(weights))


def view_similarity(z0: Tensor, z1: Tensor, temperature: float) -> Tensor:
    """Compute the similarities of both views of the films of this rank to those of all ranks. A collective call.

    Args:
        z0: [n, D] first views.
        z1: [n, D] second views, in the same order.
        temperature: divisor of the cosine similarities.

    Returns:
        [2n, 2nW] in float32 or float64, by rank; of each the first views come first.
    """
    return _similarity_to_all(unit_rows(torch.cat([z0, z1])), temperature)


def _view_pairs(z0: Tensor, z1: Tensor, temperature: float, film: Tensor | None, study: Tensor | None) -> Pairs:
    """Both views of the films of this rank against those of all ranks."""
    rank, _ = rank_and_world()
    count, device = len(z0), z0.device
    if film is None:
        film = torch.arange(rank * count, (rank + 1) * count, device=device)
    identity = torch.stack([film, film if study is None else study], dim=1).repeat(2, 1)
    columns = gather_columns(identity)
    is_film, is_study = (identity[:, None] == columns[None]).unbind(dim=2)
    is_own = own_columns(2 * count, device)
    is_positive = is_film & ~is_own
    return Pairs(view_similarity(z0, z1, temperature), is_positive.float(), is_positive | ~(is_study | is_own))


def _similarity_to_all(z: Tensor, temperature: float) -> Tensor:
    return product(z, gather_columns(z).T) / temperature
