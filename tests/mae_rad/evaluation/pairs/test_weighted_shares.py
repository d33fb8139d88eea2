"""Weighted shares of pairs are hidden for few patients, and equal values tell apart as an AUROC says."""

import torch

from mae_rad.evaluation.pairs.weighted_shares import TellsApart, WeightedShare


def test_a_share_is_weighted_and_hidden_for_few_patients() -> None:
    share, weights = WeightedShare(20), torch.rand(12, 5, generator=torch.Generator().manual_seed(0))
    has = torch.rand(12, 5, generator=torch.Generator().manual_seed(1)) > 0.5
    share.add(weights[:9], has[:9], torch.arange(9))
    assert share.value != share.value  # nine patients
    share.add(weights[9:], has[9:], torch.arange(9, 12))
    by_hand = sum(float(w) for w, h in zip(weights.flatten(), has.flatten(), strict=True) if h) / float(weights.sum())
    assert abs(share.value - by_hand) < 1e-6


def test_patients_without_a_pair_that_counts_do_not_count() -> None:
    share = WeightedShare(20)
    weights = torch.zeros(12, 3)
    weights[:9] = 1.0
    share.add(weights, weights > 0, torch.arange(12))
    assert share.value != share.value


def test_equal_values_tell_apart_as_an_auroc_says() -> None:
    tells = TellsApart(12)
    pull, push = torch.zeros(12, 4), torch.zeros(12, 4)
    pull[:, 0], push[:, 1:] = 1.0, 1.0
    equal = torch.tensor([True, False, True, False]).expand(12, 4)
    tells.add(pull, push, equal, torch.ones(12, 4, dtype=torch.bool), torch.arange(12))
    # of a pulling and a pushing pair, the pulling one is equal, the other in one of three cases: 2/3 + 1/2 · 1/3
    assert abs(tells.auroc - 5 / 6) < 1e-6
