"""Losses against values and gradients of public implementations, which lie beside the checkout."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

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
    pair_nce,
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

FIXTURES = Path(__file__).resolve().parents[3].parent / "shared" / "fixtures"

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not FIXTURES.is_dir(), reason="the reference values lie beside the checkout"),
]

Arrays = dict[str, Tensor]
Loss = Callable[[Arrays], Tensor]


def all_views(x: Arrays) -> Tensor:
    return torch.cat([x["z0"], x["z1"]])


def twice(x: Arrays, name: str = "y") -> Tensor:
    return x[name].repeat(2)


def class_one(x: Arrays) -> Tensor:
    """Labels in which only class 1 is a class."""
    return torch.where(x["y"].long() == 1, 1, -1)


def within(x: Arrays, weights: Tensor) -> Tensor:
    z = normalize(all_views(x), dim=1)
    return pair_nce(z @ z.T / 0.1, weights, ~torch.eye(len(z), dtype=torch.bool))


def tabular(x: Arrays) -> Tensor:
    own = torch.eye(24, dtype=torch.bool).roll(12, 1)
    return within(x, (x["S"] >= 0.65).repeat(2, 2).fill_diagonal_(False) | own)


def inside_the_logarithm(x: Arrays) -> Tensor:
    """L_in of SupCon without its constant: one more column is the sum over the positives, outside the denominator."""
    z, y = normalize(all_views(x), dim=1), twice(x)
    own = torch.eye(len(z), dtype=torch.bool)
    similarity = z @ z.T / 0.1
    positives = similarity.masked_fill((y[:, None] != y[None]) | own, -torch.inf).logsumexp(dim=1, keepdim=True)
    column = torch.ones(len(z), 1, dtype=torch.bool)
    weights = torch.cat([torch.zeros_like(own), column], dim=1)
    return pair_nce(torch.cat([similarity, positives], dim=1), weights, torch.cat([~own, ~column], dim=1))


def dino_of_views(x: Arrays) -> Tensor:
    student, teacher = (torch.stack([x[name] for name in names]) for names in (("s0", "s1", "s2"), ("t0", "t1")))
    return dino(student, teacher, torch.zeros(10, dtype=student.dtype), 0.1, 0.04)


def deep_clusters(x: Arrays) -> Tensor:
    q = dec_assignment(x["z"], x["mu"])
    return dec(q, dec_target(q))


PUBLISHED: dict[str, Loss] = {
    "lightly_ntxent_small_t0.1": lambda x: nt_xent(x["z0"], x["z1"], 0.1),
    "lightly_ntxent_small_t0.5": lambda x: nt_xent(x["z0"], x["z1"], temperature=0.5),
    "pml_ntxent_small": lambda x: nt_xent(x["z0"], x["z1"], 0.1),
    "solo_simclr_small": lambda x: nt_xent(x["z0"], x["z1"], 0.1),
    "supcontrast_simclr_small": lambda x: nt_xent(x["z0"], x["z1"], 0.1),
    "mmcl_ntxent_small": lambda x: nt_xent(x["out0"], x["out1"], 0.1),
    "yaware_ntxent_small": lambda x: 2 * nt_xent(x["z0"], x["z1"], 0.1),
    "cc_instance_small": lambda x: cc_instance(x["z0"], x["z1"], 0.5),
    "lightly_dcl_small": lambda x: dcl(x["z0"], x["z1"], temperature=0.1),
    "supcontrast_supcon_small": lambda x: supcon(all_views(x), twice(x), temperature=0.1),
    "pml_supcon_small": lambda x: supcon(all_views(x), twice(x), 0.1),
    "solo_simclr_supervised_small": inside_the_logarithm,
    "yaware_small_sigma5.0": lambda x: 2 * y_aware(x["z0"], x["z1"], x["age"], 5.0, 0.1, normalise="columns"),
    "ref_yaware_rownorm_small_sigma5.0": lambda x: within(x, x["w"]),
    "ref_tabular_guided_small": tabular,
    "medclip_softclip_small": lambda x: soft_clip(x["out0"], x["out1"], x["lab"], x["lab"], 0.07),
    "solo_nnclr_small": lambda x: nnclr(x["z0"].detach(), x["z1"], x["z0"].detach(), 0.1),
    "siglip_loss": lambda x: siglip(x["out0"], x["out1"], x["log_scale"].exp(), x["bias"]),
    "rnc_small": lambda x: rank_n_contrast(all_views(x), twice(x, "age"), temperature=2.0),
    "lightly_barlow_small": lambda x: barlow_twins(x["z0"], x["z1"], lambda_=5e-3),
    "fb_barlow_small": lambda x: barlow_twins(x["z0"], x["z1"], 5e-3),
    "solo_barlow_small": lambda x: 0.025 * barlow_twins(x["z0"], x["z1"], 5e-3),
    "lightly_vicreg_small": lambda x: vicreg(x["z0"], x["z1"]),
    "fb_vicreg_small": lambda x: vicreg(x["z0"], x["z1"], 25, 25, 1),
    "solo_vicreg_small": lambda x: vicreg(x["z0"], x["z1"], invariance=25, variance=50, covariance=1),
    "lightly_tico_small": lambda x: tico(x["z0"], x["z1"], torch.zeros(16, 16))[0],
    "lightly_negcos_small": lambda x: negative_cosine(x["z0"], x["z1"]),
    "solo_simsiam_small": lambda x: negative_cosine(x["z0"], x["z1"].detach()),
    "solo_byol_small": lambda x: 2 + 2 * negative_cosine(x["z0"], x["z1"].detach()),
    "lightly_dino_small": dino_of_views,
    "lightly_swav_small": lambda x: swav(x["s0"], x["s1"], 0.1, 0.05, 3, further=[x["s2"]]).reshape(1),
    "dec_small": deep_clusters,
    "scan_small": lambda x: scan(x["s0"], x["s1"], entropy=5.0),
    "cc_cluster_small": lambda x: cc_cluster(x["s0"], x["s1"], 1.0),
    "mmcl_authors_unittest_removefn": lambda x: clip_without_false_negatives(x["out0"], x["out1"], x["y"], 0.1, 0.5),
}

ONE_NEIGHBOUR_ITSELF = {"solo_nnclr_small"}
"""The peer has a gradient by the neighbours, which come from a memory here."""

BETWEEN_MODALITIES: dict[str, Callable[..., Tensor]] = {
    "mmcl_clip_small": lambda x, b: clip(x["out0"], x["out1"], temperature=0.1, balance=b),
    "ref_clip_excludepos_small": lambda x, b: clip(x["out0"], x["out1"], 0.1, b, own_in_denominator=False),
    "mmcl_removefn_small": lambda x, b: clip_without_false_negatives(x["out0"], x["out1"], x["y"], 0.1, b),
    "mmcl_removefn_binary_boollabels_small": lambda x, b: clip_without_false_negatives(
        x["out0"], x["out1"], class_one(x), 0.1, b
    ),
    "ref_clip_fne_excludepos_small": lambda x, b: clip_without_false_negatives(
        x["out0"], x["out1"], x["y"], 0.1, b, own_in_denominator=False
    ),
    "ref_clip_supcon_symmetric_small": lambda x, b: clip_with_classes(x["out0"], x["out1"], x["y"], 0.1, b),
    "ref_clip_supcon_binary_symmetric_small": lambda x, b: clip_with_classes(
        x["out0"], x["out1"], class_one(x), 0.1, b
    ),
}

for balance in (0.3, 0.5):
    for name, loss in BETWEEN_MODALITIES.items():
        PUBLISHED[f"{name}_lam{balance}"] = partial(loss, b=balance)


def read(name: str, precision: str) -> tuple[dict[str, np.ndarray], Arrays]:
    """The stored arrays, and the inputs in a precision."""
    stored = dict(np.load(FIXTURES / f"{name}.npz", allow_pickle=False))
    dtype = torch.float64 if precision == "f64" else torch.float32
    inputs = {key[3:]: torch.from_numpy(value) for key, value in stored.items() if key.startswith("in_")}
    return stored, {key: x.to(dtype) if x.is_floating_point() else x for key, x in inputs.items()}


def assert_equal(actual: Tensor | None, expected: np.ndarray, precision: str, name: str) -> None:
    values = np.zeros_like(expected) if actual is None else actual.detach().numpy()
    tolerance = 1e-10 if precision == "f64" else 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(values, expected, rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("precision", ["f64", "f32"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_value_and_gradient_are_the_published_ones(name: str, precision: str) -> None:
    stored, x = read(name, precision)
    leaves = {key: x[key].requires_grad_() for key in x if f"grad_{key}_{precision}" in stored}
    assert leaves
    loss = PUBLISHED[name](x)
    assert_equal(loss, stored[f"loss_{precision}"], precision, "loss")
    loss.sum().backward()
    for key, leaf in leaves.items():
        if not (name in ONE_NEIGHBOUR_ITSELF and key == "z0"):
            assert_equal(leaf.grad, stored[f"grad_{key}_{precision}"], precision, key)


def with_constant_in_logarithm(x: Arrays, labels: Tensor) -> Tensor:
    """SupCon between modalities as shipped: 1e-6 inside the logarithm is one more column."""
    weights = (labels[:, None] == labels[None]) & (labels >= 0)[:, None] | torch.eye(len(labels), dtype=torch.bool)
    similarity = normalize(x["out0"], dim=1) @ normalize(x["out1"], dim=1).T / 0.1
    constant = torch.full((len(labels), 1), math.log(1e-6), dtype=similarity.dtype)
    weights = torch.cat([weights, torch.zeros(len(labels), 1, dtype=torch.bool)], dim=1)
    return pair_nce(torch.cat([similarity, constant], dim=1), weights, torch.ones_like(weights))


@pytest.mark.parametrize("name", ["small_lam0.3", "small_lam0.5", "binary_small_lam0.3", "binary_small_lam0.5", None])
def test_the_published_slip_of_supcon_between_modalities_is_a_setting(name: str | None) -> None:
    stored, x = read(f"mmcl_supconclip_{name}" if name else "mmcl_authors_unittest_supcon", "f64")
    labels = class_one(x) if name and "binary" in name else x["y"]
    leaves = [x["out0"].requires_grad_(), x["out1"].requires_grad_()]
    exact = with_constant_in_logarithm(x, labels)
    assert_equal(exact, stored["loss_f64"], "f64", "with the peer's constant")
    for key, gradient in zip(("out0", "out1"), torch.autograd.grad(exact, leaves), strict=True):
        assert_equal(gradient, stored[f"grad_{key}_f64"], "f64", key)
    loss = clip_with_classes(x["out0"], x["out1"], labels, 0.1, 0.3, as_published=True)
    assert loss.item() == pytest.approx(float(stored["loss_f64"]), abs=2e-7)
    assert abs(clip_with_classes(x["out0"], x["out1"], labels, 0.1, 0.3) - loss).item() > 1e-3


def test_the_wrong_sign_of_the_published_supcon_is_not_ours() -> None:
    stored, x = read("mmcl_supcon_unimodal_small", "f64")
    ours = supcon(torch.cat([x["out0"], x["out1"]]), twice(x), 0.1)
    assert ours.item() == pytest.approx(-float(stored["loss_f64"]), abs=1e-4)  # 1e-6 in its logarithm


@pytest.mark.parametrize("name", ["small_lam0.3", "small_lam0.5"])
def test_integer_labels_do_not_give_nan_as_published(name: str) -> None:
    stored, x = read(f"mmcl_removefn_binary_longlabels_{name}", "f64")
    assert np.isnan(stored["loss_f64"])
    assert clip_without_false_negatives(x["out0"], x["out1"], class_one(x), 0.1).isfinite()


def test_the_kernel_of_age_has_the_published_weights() -> None:
    stored, x = read("yaware_small_sigma5.0", "f64")
    row_normalised, _ = read("ref_yaware_rownorm_small_sigma5.0", "f64")
    ours = y_aware(x["z0"], x["z1"], x["age"], 5.0, 0.1)
    assert ours.item() == pytest.approx(
        float(row_normalised["loss_f64"]), abs=1e-8
    )  # its kernel is in single precision
    assert abs(2 * ours.item() - float(stored["loss_f64"])) > 0.01


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("precision", ["f64", "f32"])
def test_nearest_neighbours(k: int, precision: str) -> None:
    stored, x = read("nnclr_topk", precision)
    bank = torch.from_numpy(stored["bank"]).to(x["z0"].dtype)
    leaves = [x["p0"].requires_grad_(), x["p1"].requires_grad_()]
    there = nnclr(x["z0"], x["p1"], bank, temperature=0.1, neighbours=k)
    loss = (there + nnclr(x["z1"], x["p0"], bank, temperature=0.1, neighbours=k)) / 2
    assert_equal(loss, stored[f"loss_{precision}_k{k}"], precision, "loss")
    for key, gradient in zip(("p0", "p1"), torch.autograd.grad(loss, leaves), strict=True):
        assert_equal(gradient, stored[f"grad_{key}_{precision}_k{k}"], precision, key)


@pytest.mark.parametrize("precision", ["f64", "f32"])
def test_the_centre_of_self_distillation_moves_after_the_loss(precision: str) -> None:
    stored, x = read("dino_centering", precision)
    center = torch.zeros(12, dtype=x["student"].dtype)
    for step in range(3):
        student = x["student"][step].clone().requires_grad_()
        loss = dino(student, x["teacher"][step], center, student_temperature=0.1, teacher_temperature=0.04)
        assert_equal(loss, stored[f"loss_{precision}"][step], precision, "loss")
        (gradient,) = torch.autograd.grad(loss, student)
        assert_equal(gradient, stored[f"grad_student_{precision}"][step], precision, "gradient")
        center = dino_center(center, x["teacher"][step], momentum=0.9)
        assert_equal(center, stored[f"center_after_{precision}"][step], precision, "centre")


@pytest.mark.parametrize("term", ["invariance", "variance", "covariance"])
def test_the_terms_of_vicreg_apart(term: str) -> None:
    stored, x = read("vicreg_terms", "f64")
    leaves = [x["z0"].requires_grad_(), x["z1"].requires_grad_()]
    weights = {"invariance": 0.0, "variance": 0.0, "covariance": 0.0, term: 1.0}
    loss = vicreg(*leaves, **weights)
    assert_equal(loss, stored[f"{term}_f64"], "f64", term)
    for key, gradient in zip(("z0", "z1"), torch.autograd.grad(loss, leaves), strict=True):
        assert_equal(gradient, stored[f"grad_{term}_{key}_f64"], "f64", key)
    assert_equal(vicreg(*leaves), stored["total_f64"], "f64", "total")
    constant = torch.ones(12, 16, dtype=torch.float64)
    if term != "invariance":
        assert_equal(vicreg(constant, constant, **weights), stored[f"{term}_of_a_constant_f64"], "f64", "constant")


def test_assignments_of_sinkhorn() -> None:
    stored, _ = read("swav_sinkhorn_small", "f64")
    q = sinkhorn(torch.from_numpy(stored["scores"]).double(), epsilon=0.05, iterations=3)
    assert_equal(q, stored["q"], "f64", "facebookresearch")
    assert_equal(q, stored["q_lightly"], "f64", "lightly")
    np.testing.assert_allclose(q, stored["q_mmcl"], rtol=0, atol=1e-7)  # in single precision


def test_assignments_and_targets_of_deep_clusters() -> None:
    stored, x = read("dec_small", "f64")
    q = dec_assignment(x["z"], x["mu"])
    assert_equal(q, stored["out1_f64"], "f64", "q")
    assert_equal(dec_target(q), stored["out2_f64"], "f64", "p")
