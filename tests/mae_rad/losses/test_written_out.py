"""Every loss against its formula written out in loops, in value and gradient, and the limits of its input."""

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
    dino_center,
    negative_cosine,
    nnclr,
    nt_xent,
    rank_n_contrast,
    scan,
    siglip,
    sinkhorn,
    soft_clip,
    supcon,
    swav,
    tico,
    vicreg,
    y_aware,
)
from tests.references import written_out_losses as written

N, D, K = 7, 5, 4
T = 0.5
LABELS = [0, 1, 0, -1, 1, 0, 2]
AGES = [40.0, 41.5, 40.0, 70.0, 12.0, 13.0, 41.0]
CENTER = [0.3, -0.2, 0.1, 0.4]

Lists = list[list[float]]
Formula = Callable[[Lists, Lists], float]


def same(i: int, j: int) -> bool:
    return LABELS[i % N] >= 0 and LABELS[i % N] == LABELS[j % N]


def other_view(i: int, j: int) -> bool:
    return i != j and i % N == j % N


def kernel(i: int, j: int) -> float:
    return 1.0 if i % N == j % N else math.exp(-((AGES[i % N] - AGES[j % N]) ** 2) / (2 * 5.0**2))


def soft_target(scores: Lists) -> Callable[[int, int], float]:
    return lambda i, j: written.softmax([written.dot(scores[i], other) for other in scores])[j]


FINDINGS = [[float((i * j) % 3 - 1) for j in range(3)] for i in range(N)]
MEMORY = torch.randn(9, D, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
MOMENTS = (MEMORY.T @ MEMORY / 9).tolist()


def like(values: list, z: Tensor) -> Tensor:
    return torch.tensor(values, dtype=z.dtype)


def deep_clusters(z: Tensor, centres: Tensor) -> Tensor:
    q = dec_assignment(z, centres)
    return dec(q, dec_target(q))


LOSSES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Formula]] = {
    "nt_xent": (
        lambda a, b: nt_xent(a, b, temperature=T),
        lambda a, b: written.two_views(a, b, other_view, lambda i, k: True, T),
    ),
    "dcl": (
        lambda a, b: dcl(a, b, temperature=T),
        lambda a, b: written.two_views(a, b, other_view, lambda i, k: not other_view(i, k), T),
    ),
    "false negatives of views": (
        lambda a, b: nt_xent(a, b, T, study=torch.tensor([0, 1, 0, 3, 1, 0, 2])),
        lambda a, b: written.two_views(a, b, other_view, lambda i, k: other_view(i, k) or not same(i, k), T),
    ),
    "supcon": (
        lambda a, b: supcon(torch.cat([a, b]), torch.tensor(LABELS * 2), temperature=T),
        lambda a, b: written.two_views(a, b, lambda i, j: i != j and same(i, j), lambda i, k: True, T),
    ),
    "y_aware": (
        lambda a, b: y_aware(a, b, torch.tensor(AGES), 5.0, T),
        lambda a, b: written.two_views(a, b, lambda i, j: (i != j) * kernel(i, j), lambda i, k: True, T),
    ),
    "clip": (
        lambda a, b: clip(a, b, temperature=T, balance=0.3),
        lambda a, b: written.two_modalities(a, b, lambda i, j: i == j, lambda i, k: True, T, 0.3),
    ),
    "clip without its own pair": (
        lambda a, b: clip(a, b, temperature=T, balance=0.3, own_in_denominator=False),
        lambda a, b: written.two_modalities(a, b, lambda i, j: i == j, lambda i, k: i != k, T, 0.3),
    ),
    "clip without false negatives": (
        lambda a, b: clip_without_false_negatives(a, b, torch.tensor(LABELS), T, 0.3),
        lambda a, b: written.two_modalities(a, b, lambda i, j: i == j, lambda i, k: i == k or not same(i, k), T, 0.3),
    ),
    "clip without false negatives and its own pair": (
        lambda a, b: clip_without_false_negatives(a, b, torch.tensor(LABELS), T, 0.3, own_in_denominator=False),
        lambda a, b: written.two_modalities(a, b, lambda i, j: i == j, lambda i, k: i != k and not same(i, k), T, 0.3),
    ),
    "clip with classes": (
        lambda a, b: clip_with_classes(a, b, torch.tensor(LABELS), T, 0.3),
        lambda a, b: written.two_modalities(a, b, lambda i, j: i == j or same(i, j), lambda i, k: True, T, 0.3),
    ),
    "clip with classes as published": (
        lambda a, b: clip_with_classes(a, b, torch.tensor(LABELS), T, 0.3, as_published=True),
        lambda a, b: written.contrast(a, b, lambda i, j: i == j or same(i, j), lambda i, k: True, T),
    ),
    "soft_clip": (
        lambda a, b: soft_clip(a, b, like(FINDINGS, a), like(FINDINGS, a), T),
        lambda a, b: written.two_modalities(a, b, soft_target(FINDINGS), lambda i, k: True, T, 0.5),
    ),
    "siglip": (
        lambda a, b: siglip(a, b, scale=3.0, bias=-1.5),
        lambda a, b: written.siglip(a, b, 3.0, -1.5),
    ),
    "rank_n_contrast": (
        lambda a, b: rank_n_contrast(torch.cat([a, b]), torch.tensor(AGES * 2), temperature=2.0),
        lambda a, b: written.rank_n_contrast([*a, *b], AGES * 2, 2.0),
    ),
    "barlow_twins": (
        lambda a, b: barlow_twins(a, b, lambda_=0.02),
        lambda a, b: written.barlow_twins(a, b, 0.02),
    ),
    "vicreg": (
        lambda a, b: vicreg(a / 2, b / 2, invariance=3.0, variance=5.0, covariance=7.0),
        lambda a, b: written.vicreg([[x / 2 for x in z] for z in a], [[x / 2 for x in z] for z in b], (3, 5, 7)),
    ),
    "negative_cosine": (
        negative_cosine,
        lambda a, b: -written.mean([written.cosine(x, y) for x, y in zip(a, b, strict=True)]),
    ),
    "dec": (lambda a, b: deep_clusters(a, b[:K]), lambda a, b: written.dec(a, b[:K], 1.0)[0]),
    "scan": (lambda a, b: scan(a, b, entropy=2.0), lambda a, b: written.scan(a, b, 2.0)),
    "cc_instance": (
        lambda a, b: cc_instance(a, b, T),
        lambda a, b: written.two_views(a, b, other_view, lambda i, k: True, T),
    ),
    "cc_cluster": (lambda a, b: cc_cluster(a, b, 0.7), lambda a, b: written.cc_cluster(a, b, 0.7)),
}

WITHOUT_FULL_GRADIENT: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Formula]] = {
    "tico": (
        lambda a, b: tico(a, b, like(MOMENTS, a), rho=8.0, beta=0.7)[0],
        lambda a, b: written.tico(a, b, MOMENTS, 8.0, 0.7)[0],
    ),
    "nnclr": (
        lambda a, b: nnclr(a, b, MEMORY, temperature=T),
        lambda a, b: written.nnclr(a, b, MEMORY.tolist(), T, 1),
    ),
    "nnclr of three": (
        lambda a, b: nnclr(a, b, MEMORY, temperature=T, neighbours=3),
        lambda a, b: written.nnclr(a, b, MEMORY.tolist(), T, 3),
    ),
    "swav": (
        lambda a, b: swav(a / 9, b / 9, temperature=T, epsilon=0.1, iterations=4, further=[(a - b) / 9]),
        lambda a, b: written.swav(
            [
                [[x / 9 for x in z] for z in a],
                [[x / 9 for x in z] for z in b],
                [[(x - y) / 9 for x, y in zip(p, q, strict=True)] for p, q in zip(a, b, strict=True)],
            ],
            T,
            0.1,
            4,
        ),
    ),
}
"""Losses of which a part has no gradient."""


def inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    z0, z1 = torch.randn(2, N, D, generator=torch.Generator().manual_seed(4), dtype=torch.float32).to(dtype)
    return z0.requires_grad_(), z1.requires_grad_()


@pytest.mark.parametrize("name", [*LOSSES, *WITHOUT_FULL_GRADIENT])
def test_value_is_that_of_the_formula(name: str) -> None:
    ours, formula = (LOSSES | WITHOUT_FULL_GRADIENT)[name]
    z0, z1 = inputs()
    expected = formula(z0.tolist(), z1.tolist())
    assert ours(z0, z1).item() == pytest.approx(expected, abs=1e-10)
    single = ours(*inputs(torch.float32))
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "dec"])
def test_gradient_is_that_of_finite_differences(name: str) -> None:
    assert torch.autograd.gradcheck(LOSSES[name][0], inputs(), atol=1e-7)


@pytest.mark.parametrize("name", [*LOSSES, *WITHOUT_FULL_GRADIENT])
def test_gradient_in_single_precision_is_that_of_double(name: str) -> None:
    ours, _ = (LOSSES | WITHOUT_FULL_GRADIENT)[name]
    gradients = []
    for dtype in (torch.float64, torch.float32):
        z = inputs(dtype)
        gradients.append(torch.autograd.grad(ours(*z), z, allow_unused=True))
    for double, single in zip(*gradients, strict=True):
        assert (double is None) == (single is None)
        if double is not None:
            torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=1e-5 * double.abs().max().item())


def test_the_target_of_deep_clusters_has_no_gradient() -> None:
    z, centres = inputs()
    _, q, p = written.dec(z.tolist(), centres[:K].tolist(), 1.0)
    ours = dec_assignment(z, centres[:K])
    torch.testing.assert_close(ours, torch.tensor(q, dtype=torch.float64), rtol=0, atol=1e-14)
    torch.testing.assert_close(dec_target(ours), torch.tensor(p, dtype=torch.float64), rtol=0, atol=1e-14)
    target = torch.tensor(p, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: dec(dec_assignment(a, b), target), (z, centres[:K]))
    assert torch.autograd.grad(dec(ours, target), target, allow_unused=True) == (None,)


def test_neighbours_and_what_they_come_from_have_no_gradient() -> None:
    z0, z1 = inputs()
    memory = MEMORY.clone().requires_grad_()
    loss = nnclr(z0, z1, memory, T)
    of_z0, of_z1, of_memory = torch.autograd.grad(loss, (z0, z1, memory), allow_unused=True)
    assert of_z0 is None
    assert of_memory is None
    assert of_z1.abs().max() > 0
    assert torch.autograd.gradcheck(lambda z: nnclr(z0.detach(), z, MEMORY, T), z1)


def test_prediction_of_an_assignment_has_a_gradient_and_the_assignment_none() -> None:
    z0, z1 = inputs()
    q = sinkhorn(z1.detach() / 9, 0.1, 4)
    assert not sinkhorn(z1 / 9, 0.1, 4).requires_grad
    (gradient,) = torch.autograd.grad(swav(z0 / 9, z1.detach() / 9, T, 0.1, 4), z0)
    alone = -(q * (z0 / 9 / T).log_softmax(1)).sum(1).mean() / 2
    torch.testing.assert_close(gradient, torch.autograd.grad(alone, z0)[0], rtol=0, atol=1e-14)


def test_self_distillation_over_pairs_of_different_crops() -> None:
    draw = torch.Generator().manual_seed(6)
    student = torch.randn(3, N, K, generator=draw, dtype=torch.float64).requires_grad_()
    teacher = torch.randn(2, N, K, generator=draw, dtype=torch.float64).requires_grad_()
    center = like(CENTER, teacher)
    loss = dino(student, teacher, center, student_temperature=0.3, teacher_temperature=0.2)
    expected = written.dino(student.tolist(), teacher.tolist(), CENTER, 0.3, 0.2)
    assert loss.item() == pytest.approx(expected, abs=1e-12)
    assert torch.autograd.gradcheck(lambda s, t: dino(s, t, center, 0.3, 0.2), (student, teacher))
    one = dino(student[1], teacher[0], center)
    assert one.item() == pytest.approx(dino(student[:2], teacher[:1], center).item(), abs=1e-13)
    with pytest.raises(ValueError, match="two crops"):
        dino(student[:1], teacher[:1], center)
    moved = dino_center(center, teacher, momentum=0.75)
    torch.testing.assert_close(moved, 0.75 * center + 0.25 * teacher.detach().mean(dim=(0, 1)))
    assert not moved.requires_grad


def test_second_moments_of_tico_move() -> None:
    z0, z1 = inputs()
    _, moments = tico(z0, z1, like(MOMENTS, z0), 8.0, 0.7)
    expected = written.tico(z0.tolist(), z1.tolist(), MOMENTS, 8.0, 0.7)[1]
    torch.testing.assert_close(moments, like(expected, z0), rtol=0, atol=1e-13)
    assert not moments.requires_grad


def test_assignments_are_shared_out() -> None:
    scores = torch.randn(40, K, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    q = sinkhorn(scores, epsilon=0.05, iterations=2000)
    torch.testing.assert_close(q.sum(dim=1), torch.ones(40, dtype=torch.float64))
    torch.testing.assert_close(q.sum(dim=0), torch.full((K,), 10.0, dtype=torch.float64), rtol=0, atol=0.01)
    expected = like(written.sinkhorn((scores / 4).tolist(), 0.1, 3), scores)
    torch.testing.assert_close(sinkhorn(scores / 4, 0.1, 3), expected, rtol=0, atol=1e-13)
    with pytest.raises(ValueError, match="at least 1, not 0"):
        sinkhorn(scores, iterations=0)


def test_a_memory_without_enough_vectors_is_refused() -> None:
    z0, z1 = inputs()
    with pytest.raises(ValueError, match="between 1 and the 2 vectors of the memory, not 3"):
        nnclr(z0, z1, MEMORY[:2], neighbours=3)
