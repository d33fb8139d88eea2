"""The losses at the limits of their input: one film, equal vectors, huge numbers, half precision, unknown values."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mae_rad.losses import (
    barlow_twins,
    cc_cluster,
    cc_instance,
    clip,
    clip_with_classes,
    clip_without_false_negatives,
    dcl,
    dec,
    dec_assignment,
    dec_target,
    dino,
    negative_cosine,
    nnclr,
    nt_xent,
    pair_nce,
    rank_n_contrast,
    scan,
    siglip,
    sinkhorn,
    soft_clip,
    supcon,
    swav,
    tico,
    valid_rows,
    vicreg,
    y_aware,
)

D = 6
Loss = Callable[[Tensor, Tensor], Tensor]


def alternating(z: Tensor) -> Tensor:
    return torch.arange(len(z)) % 2


def deep_clusters(z: Tensor, centres: Tensor) -> Tensor:
    q = dec_assignment(z, centres)
    return dec(q, dec_target(q))


LOSSES: dict[str, Loss] = {
    "nt_xent": nt_xent,
    "dcl": dcl,
    "supcon": lambda a, b: supcon(torch.cat([a, b]), alternating(a).repeat(2)),
    "y_aware": lambda a, b: y_aware(a, b, alternating(a), 1.0),
    "nnclr": lambda a, b: nnclr(a, b, b.detach()),
    "clip": clip,
    "clip without its own pair": lambda a, b: clip(a, b, own_in_denominator=False),
    "false negatives": lambda a, b: clip_without_false_negatives(a, b, alternating(a)),
    "classes": lambda a, b: clip_with_classes(a, b, alternating(a)),
    "soft_clip": lambda a, b: soft_clip(a, b, alternating(a)[:, None].float(), alternating(a)[:, None].float()),
    "siglip": lambda a, b: siglip(a, b, 10.0, -10.0),
    "rank_n_contrast": lambda a, b: rank_n_contrast(torch.cat([a, b]), alternating(a).repeat(2)),
    "barlow_twins": barlow_twins,
    "vicreg": vicreg,
    "tico": lambda a, b: tico(a, b, torch.eye(D))[0],
    "negative_cosine": negative_cosine,
    "dino": lambda a, b: dino(torch.stack([a, b]), torch.stack([b, a]), torch.zeros(D)),
    "swav": swav,
    "dec": deep_clusters,
    "scan": scan,
    "cc_instance": cc_instance,
    "cc_cluster": cc_cluster,
}

VECTORS: dict[str, tuple[Tensor, Tensor]] = {
    "one film": (torch.randn(1, D, generator=torch.Generator().manual_seed(0)), torch.ones(1, D)),
    "equal vectors": (torch.full((5, D), 0.5), torch.full((5, D), 0.5)),
    "zeros": (torch.zeros(4, D), torch.zeros(4, D)),
    "huge": tuple(1e4 * torch.randn(2, 5, D, generator=torch.Generator().manual_seed(1))),
    "tiny": tuple(1e-12 * torch.randn(2, 5, D, generator=torch.Generator().manual_seed(1))),
}


@pytest.mark.parametrize("vectors", VECTORS)
@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient_stay_finite(name: str, vectors: str) -> None:
    z0, z1 = (z.clone().requires_grad_() for z in VECTORS[vectors])
    loss = LOSSES[name](z0, z1)
    loss.backward()
    assert loss.isfinite()
    assert all(z.grad is None or z.grad.isfinite().all() for z in (z0, z1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_is_computed_in_single(name: str, dtype: torch.dtype) -> None:
    z0, z1 = (z.to(dtype) for z in torch.randn(2, 8, D, generator=torch.Generator().manual_seed(2)))
    expected = LOSSES[name](z0.float(), z1.float())
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):  # torch refuses float16 there
        loss = LOSSES[name](z0, z1)
        from_single = LOSSES[name](z0.float(), z1.float())
    assert loss.dtype == from_single.dtype == torch.float32
    assert torch.equal(loss, expected)
    assert torch.equal(from_single, expected)


@pytest.mark.parametrize("count", [2, 5])
def test_equal_vectors_have_the_loss_of_chance(count: int) -> None:
    z = torch.ones(count, D)
    expected = {
        "nt_xent": math.log(2 * count - 1),
        "dcl": math.log(2 * count - 2),
        "clip": math.log(count),
        "clip without its own pair": math.log(count - 1),
        "nnclr": math.log(count),
        "barlow_twins": D,
        "vicreg": 25 * 0.99,
        "negative_cosine": -1,
        "dino": math.log(D),
        "swav": math.log(D),
        "scan": math.log(D) - 5 * math.log(D),
        "dec": 0,
    }
    for name, value in expected.items():
        assert LOSSES[name](z, z).item() == pytest.approx(value, abs=1e-5), name


def test_a_film_without_negatives_is_dropped() -> None:
    z = torch.randn(1, D, generator=torch.Generator().manual_seed(0)).requires_grad_()
    for loss in (dcl(z, z), clip(z, z, own_in_denominator=False), rank_n_contrast(z, torch.ones(1))):
        assert loss.item() == 0
        assert not torch.autograd.grad(loss, z)[0].any()


def test_dropped_rows_are_known_and_do_not_count() -> None:
    draw = torch.Generator().manual_seed(3)
    similarity = torch.randn(5, 4, generator=draw, dtype=torch.float64)
    weights, mask = torch.rand(5, 4, generator=draw, dtype=torch.float64), torch.rand(5, 4, generator=draw)
    weights[1], mask[3] = 0, 0
    valid = valid_rows(weights, mask)
    assert valid.tolist() == [True, False, True, False, True]
    kept = pair_nce(similarity[valid], weights[valid], mask[valid])
    torch.testing.assert_close(pair_nce(similarity, weights, mask), kept, rtol=1e-14, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_denominator_of_zeros_and_ones_has_the_bits_of_a_mask(dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(4)
    similarity = (10 * torch.randn(33, 70, generator=draw, dtype=dtype)).requires_grad_()
    weights, mask = torch.rand(33, 70, generator=draw) < 0.2, torch.rand(33, 70, generator=draw) < 0.5
    weights[4], mask[9] = False, False
    results = []
    for denominator in (mask, mask.float(), mask.double(), mask.int()):
        loss = pair_nce(similarity, weights, denominator)
        results.append([loss, *torch.autograd.grad(loss, similarity)])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_a_weight_in_the_denominator_counts_as_that_many_columns() -> None:
    draw = torch.Generator().manual_seed(5)
    similarity = torch.randn(3, 4, generator=draw, dtype=torch.float64)
    weights = torch.zeros(3, 4)
    weights[:, 0] = 1
    thrice = torch.cat([similarity, similarity[:, 3:], similarity[:, 3:]], dim=1)
    expected = pair_nce(thrice, torch.cat([weights, torch.zeros(3, 2)], dim=1), torch.ones(3, 6, dtype=torch.bool))
    mask = torch.tensor([1.0, 1.0, 1.0, 3.0]).expand(3, 4)
    torch.testing.assert_close(pair_nce(similarity, weights, mask), expected, rtol=1e-14, atol=0)
    spoiled = similarity.clone()
    spoiled[:, 1] = torch.nan
    ignored = mask.clone()
    ignored[:, 1] = 0
    assert pair_nce(spoiled, weights, ignored).isfinite()
    assert torch.autograd.gradcheck(lambda s: pair_nce(s, weights, mask), similarity.requires_grad_())


def test_arguments_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one shape, not \[3, 4\], \[3, 4\], \[4\]"):
        pair_nce(torch.zeros(3, 4), torch.ones(3, 4), torch.ones(4))


def test_unknown_targets_pull_their_own_view_only_and_stay_out_of_the_order() -> None:
    z0, z1 = torch.randn(2, 4, D, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    ages = torch.tensor([3.0, torch.nan, 50.0, 1000.0])
    known = torch.tensor([0, 2, 3])
    far = torch.tensor([3.0, 500.0, 50.0, 1000.0])
    torch.testing.assert_close(y_aware(z0, z1, ages, 1.0), y_aware(z0, z1, far, 1.0))
    z = torch.cat([z0, z1])
    kept = torch.cat([known, known + 4])
    expected = rank_n_contrast(z[kept], ages.repeat(2)[kept])
    torch.testing.assert_close(rank_n_contrast(z, ages.repeat(2)), expected)


def test_a_negative_label_is_no_class() -> None:
    z0, z1 = torch.randn(2, 5, D, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    none = torch.full((5,), -1)
    for loss in (clip_with_classes, clip_without_false_negatives):
        assert torch.equal(loss(z0, z1, none), clip(z0, z1))
    assert supcon(z0, none).item() == 0


def test_huge_scores_are_assigned() -> None:
    scores = torch.tensor([[1e4, -1e4], [1e4, 2e3], [-1e4, 1e4], [3e4, 3e4]])
    q = sinkhorn(scores, epsilon=0.05, iterations=5)
    assert q.isfinite().all()
    torch.testing.assert_close(q.sum(dim=1), torch.ones(4))


def test_targets_of_several_columns_are_compared_by_the_sum_of_differences() -> None:
    z = torch.randn(6, D, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    ages = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
    split = torch.stack([ages / 4, 3 * ages / 4], dim=1)
    torch.testing.assert_close(rank_n_contrast(z, split), rank_n_contrast(z, ages))
