"""Contrastive losses by the names of the papers; each is a choice of (similarity, w, m) for ``pair_nce``.

Rows are vectors of this rank, columns those of all ranks, with gradient. Inputs are normalised to unit length, and
similarities are computed in float32 (float64 for float64 inputs) also under autocast: at temperature 0.1, the rounding
of bfloat16 changes a logit by up to 0.02.

Legend: n local films, W ranks, N rows, M columns, D features.
"""

from typing import Literal, NamedTuple, overload

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mae_rad.losses.all_ranks import gather_columns, rank_and_world
from mae_rad.losses.pair_nce import pair_nce
from mae_rad.losses.positive_pairs import Members, film_relation


class Pairs(NamedTuple):
    """The arguments of ``pair_nce``: similarity [N, M], weights [N, M], mask [N, M] bool."""

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
    rank, world = rank_and_world()
    count, device = len(z0), z0.device
    if film is None:
        film = torch.arange(rank * count, (rank + 1) * count, device=device)
    identity = torch.stack([film, film if study is None else study], dim=1).repeat(2, 1)
    z = torch.cat([z0, z1])
    columns = gather_columns(identity)
    places = torch.arange(2 * count * world, device=device)
    rank_places = places[2 * count * rank : 2 * count * (rank + 1)]
    weights, mask = film_relation(
        Members(rank_places, identity[:, 0], identity[:, 1]), Members(places, columns[:, 0], columns[:, 1])
    )
    z = _normalise(z)
    pairs = Pairs(_similarity(z, gather_columns(z), temperature), weights, mask)
    loss = pair_nce(*pairs)
    return (loss, pairs) if return_pairs else loss


def supcon(z: Tensor, labels: Tensor, temperature: float = 0.1) -> Tensor:
    """Supervised contrastive loss, L_out (Khosla et al. 2020, eq. 2); a row without a positive is dropped.

    Called by no objective yet.

    Args:
        z: [N, D] vectors of all views.
        labels: [N] int64 classes.
        temperature: divisor of the cosine similarities.

    Returns:
        [] loss in float32 or float64.
    """
    rank, world = rank_and_world()
    places = torch.arange(len(z) * world, device=z.device)
    all_labels = gather_columns(labels)
    rows = Members(places[len(z) * rank : len(z) * (rank + 1)], labels, labels)
    weights, mask = film_relation(rows, Members(places, all_labels, all_labels))
    z = _normalise(z)
    return pair_nce(_similarity(z, gather_columns(z), temperature), weights, mask)


def clip(z0: Tensor, z1: Tensor, temperature: float = 0.1, balance: float = 0.5) -> Tensor:
    """Contrast between two modalities (Radford et al. 2021; weighted as in Hager et al. 2023, eq. 3).

    Called by no objective yet.

    Args:
        z0: [n, D] vectors of the first modality.
        z1: [n, D] vectors of the second, in the same order.
        temperature: divisor of the cosine similarities.
        balance: weight of the direction z0 to z1, in [0, 1]; the other direction has 1 - balance.

    Returns:
        [] loss in float32 or float64.
    """
    rank, world = rank_and_world()
    z0, z1 = _normalise(z0), _normalise(z1)
    places = torch.arange(len(z0) * world, device=z0.device)
    weights = (places[len(z0) * rank : len(z0) * (rank + 1), None] == places[None]).to(z0.dtype)
    mask = torch.ones_like(weights, dtype=torch.bool)
    forward = pair_nce(_similarity(z0, gather_columns(z1), temperature), weights, mask)
    backward = pair_nce(_similarity(z1, gather_columns(z0), temperature), weights, mask)
    return balance * forward + (1 - balance) * backward


def _normalise(z: Tensor) -> Tensor:
    return normalize(z.to(torch.promote_types(z.dtype, torch.float32)), dim=1)


def _similarity(rows: Tensor, columns: Tensor, temperature: float) -> Tensor:
    with torch.autocast(rows.device.type, enabled=False):
        return rows @ columns.T / temperature
