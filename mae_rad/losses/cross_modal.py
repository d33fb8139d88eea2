"""Contrast between two modalities; all but SigLIP are a choice of (w, d) for ``pair_nce`` in two directions.

Rows are vectors of this rank, columns those of all ranks, with gradient: every function here is a collective call.
Inputs are normalised to unit length here, and similarities are computed in float32 (float64 for float64 inputs) also
under autocast. Where the published sum is over the batch, this is the mean.

Legend: n local films, D features.
"""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from mae_rad.losses.all_ranks import gather_columns
from mae_rad.losses.pair_nce import pair_nce
from mae_rad.losses.positive_pairs import own_columns, same_class
from mae_rad.losses.vectors import product, unit_rows


def clip(
    z0: Tensor, z1: Tensor, temperature: float = 0.1, balance: float = 0.5, own_in_denominator: bool = True
) -> Tensor:
    """Contrast between two modalities (Radford et al. 2021; weighted as in Hager et al. 2023, eq. 3).

    The public code of both has the own pair in the denominator; eq. 3 of the second leaves it out
    (``own_in_denominator=False``), as the decoupled loss does.

    Called by no objective yet.

    Args:
        z0: [n, D] vectors of the first modality.
        z1: [n, D] vectors of the second, in the same order.
        temperature: divisor of the cosine similarities.
        balance: weight of the direction z0 to z1, in [0, 1]; the other direction has 1 - balance.
        own_in_denominator: whether the own pair is in the denominator.

    Returns:
        [] loss in float32 or float64.
    """
    is_own = own_columns(len(z0), z0.device)
    return _both_directions(z0, z1, is_own, ~is_own | own_in_denominator, temperature, balance)


def clip_without_false_negatives(
    z0: Tensor,
    z1: Tensor,
    labels: Tensor,
    temperature: float = 0.1,
    balance: float = 0.5,
    own_in_denominator: bool = True,
) -> Tensor:
    """:func:`clip` in which films of one class are not negatives of each other (false-negative elimination).

    After Hager et al. 2023, section 3.3. Their code keeps the own pair in the denominator, their eq. 3 does not
    (``own_in_denominator=False``). For the binary form, where only class 1 is spared, class 0 is given as -1; the
    published code of that form returns NaN for integer labels.

    Called by no objective yet.

    Args:
        z0: [n, D] vectors of the first modality.
        z1: [n, D] vectors of the second, in the same order.
        labels: [n] int64 classes; a film with a negative number has no class: it is a negative of all others.
        temperature: divisor of the cosine similarities.
        balance: weight of the direction z0 to z1, in [0, 1]; the other direction has 1 - balance.
        own_in_denominator: whether the own pair is in the denominator.

    Returns:
        [] loss in float32 or float64; a row without a film of another class and without its own pair is dropped.
    """
    is_own = own_columns(len(z0), z0.device)
    spared = same_class(labels, gather_columns(labels)) | is_own
    return _both_directions(z0, z1, is_own, ~spared | (is_own & own_in_denominator), temperature, balance)


def clip_with_classes(
    z0: Tensor,
    z1: Tensor,
    labels: Tensor,
    temperature: float = 0.1,
    balance: float = 0.5,
    as_published: bool = False,
) -> Tensor:
    """:func:`clip` in which all films of the own class are positives: SupCon between modalities.

    After Hager et al. 2023, section 3.3. In their code both directions are divided by the normaliser of the direction
    z0 to z1, so that the loss has that direction only and no balance (``as_published``; 1e-6 inside its logarithm is
    left out). For the binary form, where only class 1 attracts, class 0 is given as -1.

    Called by no objective yet.

    Args:
        z0: [n, D] vectors of the first modality.
        z1: [n, D] vectors of the second, in the same order.
        labels: [n] int64 classes; a film with a negative number has no class: its own pair is its only positive.
        temperature: divisor of the cosine similarities.
        balance: weight of the direction z0 to z1, in [0, 1]; the other direction has 1 - balance.
        as_published: only the direction z0 to z1, whatever ``balance`` is.

    Returns:
        [] loss in float32 or float64.
    """
    weights = same_class(labels, gather_columns(labels)) | own_columns(len(z0), z0.device)
    return _both_directions(z0, z1, weights, torch.ones_like(weights), temperature, 1.0 if as_published else balance)


def soft_clip(
    z0: Tensor, z1: Tensor, labels0: Tensor, labels1: Tensor, temperature: float = 0.07, balance: float = 0.5
) -> Tensor:
    """:func:`clip` whose targets are the similarities of labels (MedCLIP, Wang et al. 2022).

    The targets of a row are the softmax of the dot products of its labels with those of the columns. As in the public
    code, the products are not clamped (its docstring says that they are) and labels are not normalised.

    Called by no objective yet.

    Args:
        z0: [n, D] vectors of the first modality.
        z1: [n, D] vectors of the second.
        labels0: [n, L] label vectors of the first modality, for example findings in {-1, 0, 1}.
        labels1: [n, L] label vectors of the second; the same tensor where a pair shares its labels.
        temperature: divisor of the cosine similarities.
        balance: weight of the direction z0 to z1, in [0, 1]; the other direction has 1 - balance.

    Returns:
        [] loss in float32 or float64.
    """
    there = product(labels0, gather_columns(labels1).T).softmax(dim=1)
    back = product(labels1, gather_columns(labels0).T).softmax(dim=1)
    mask = torch.ones_like(there, dtype=torch.bool)
    z0, z1 = unit_rows(z0), unit_rows(z1)
    forward = pair_nce(_similarity(z0, z1, temperature), there, mask)
    return balance * forward + (1 - balance) * pair_nce(_similarity(z1, z0, temperature), back, mask)


def siglip(z0: Tensor, z1: Tensor, scale: Tensor | float, bias: Tensor | float) -> Tensor:
    """Sigmoid loss over all pairs (Zhai et al. 2023, section 3.2): no denominator over the batch.

    The sum over all pairs is divided by the number of films, not of pairs, as in paper and public code.

    Called by no objective yet.

    Args:
        z0: [n, D] vectors of the first modality.
        z1: [n, D] vectors of the second, in the same order.
        scale: multiplied with the cosines as given; public code learns its logarithm, from log 10.
        bias: added; public code starts at -10.

    Returns:
        [] loss in float32 or float64, with gradient also by ``scale`` and ``bias``.
    """
    logits = scale * _similarity(unit_rows(z0), unit_rows(z1)) + bias
    sign = 1 - 2 * own_columns(len(z0), z0.device).to(logits.dtype)
    return softplus(sign * logits).sum() / max(len(z0), 1)


def _both_directions(
    z0: Tensor, z1: Tensor, weights: Tensor, mask: Tensor, temperature: float, balance: float
) -> Tensor:
    """Weighted sum of both directions under a relation that does not depend on the direction."""
    z0, z1 = unit_rows(z0), unit_rows(z1)
    forward = pair_nce(_similarity(z0, z1, temperature), weights, mask)
    backward = pair_nce(_similarity(z1, z0, temperature), weights, mask)
    return balance * forward + (1 - balance) * backward


def _similarity(rows: Tensor, columns: Tensor, temperature: float = 1.0) -> Tensor:
    return product(rows, gather_columns(columns).T) / temperature
