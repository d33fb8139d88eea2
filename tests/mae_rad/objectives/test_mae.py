"""The masked autoencoder against an independent implementation of the paper, and its extensions."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from mae_rad.data.augmentation import Augmentation
from mae_rad.data.batch import Batch, Patches, View
from mae_rad.encoders.vit import EncoderSettings, build_encoder
from mae_rad.losses import patchify
from mae_rad.objectives import FILM, MAESettings
from mae_rad.objectives.mae import MAE
from tests.references.published_mae import MEAN, PATCH, SIDE, STD, Published, images, noise
from tests.references.published_masking import random_masking, unpatchify

ENCODER = EncoderSettings(dim=32, depth=2, heads=4, patch=PATCH, mean=MEAN, std=STD)
DECODER: dict[str, Any] = {"decoder_dim": 16, "decoder_depth": 2, "decoder_heads": 2}
PAPER = MAESettings(visible=0.25, predicted="all", variance_floor=0, decoder="self", **DECODER)
CHEAP = MAESettings(visible=0.25, predicted=0.25, decoder="cross", variance_floor=0, **DECODER)
KEEP = SIDE * SIDE // 4


def build(settings: MAESettings = PAPER, encoder: EncoderSettings = ENCODER) -> MAE:
    torch.manual_seed(0)
    objective = settings.build({FILM: build_encoder(encoder)})
    assert isinstance(objective, MAE)
    with torch.no_grad():  # away from the initial ones and zeros, so that every parameter shows
        for parameter in objective.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return objective


def batch(pixels: Tensor, visible: Tensor, predicted: Tensor, content: Tensor | None = None) -> Batch:
    """What a loader would make of square images and chosen patch indices."""
    cut = patchify(pixels, PATCH)
    coords = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE)).float()

    def take(index: Tensor) -> Patches:
        values = cut.gather(1, index[..., None].expand(-1, -1, PATCH * PATCH)).to(torch.uint16)
        return Patches(values, coords[index], torch.full((len(index), 2), float(SIDE)))

    film = torch.arange(len(pixels))
    views = {"film": View(take(visible), take(predicted), content)}
    return Batch(views, tuple(map(str, film.tolist())))


def masked_batch(content: Tensor | None = None, predict: int | None = None) -> Batch:
    masking = random_masking(noise(), KEEP)
    return batch(images(), masking.visible, masking.removed[:, :predict], content)


def gradients(loss: Tensor, objective: MAE) -> dict[str, Tensor]:
    names, parameters = zip(*objective.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


def assert_equal(objective: MAE, loss: Tensor, expected: Tensor, tolerance: float) -> None:
    """Value and gradient, absolute in float64, relative to the largest of each weight in float32."""
    assert loss.item() == pytest.approx(expected.item(), abs=tolerance)
    mine, theirs = gradients(loss, objective), gradients(expected, objective)
    for name, gradient in theirs.items():
        scale = 1.0 if gradient.dtype == torch.float64 else gradient.abs().max().item()
        assert (mine[name] - gradient).abs().max() <= tolerance * scale, name
        assert gradient.any(), name


RECOMPUTED = ({"checkpoint_activations": True}, {"checkpoint_activations": "decoder"})
PRECISIONS = pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])


@pytest.mark.parametrize("normalise", [True, False])
@PRECISIONS
def test_equals_the_published_one_in_value_and_gradient(dtype: torch.dtype, tolerance: float, normalise: bool) -> None:
    objective = build(PAPER.model_copy(update={"normalise_pixels": normalise})).to(dtype)
    published = Published(dict(objective.named_parameters()), heads=4, decoder_heads=2)
    expected = published.loss(images().to(dtype) / 65535, noise(), KEEP, normalise)
    assert_equal(objective, objective(masked_batch()).loss, expected, tolerance)


@PRECISIONS
def test_cross_decoder_equals_its_port_in_value_and_gradient(dtype: torch.dtype, tolerance: float) -> None:
    objective = build(CHEAP).to(dtype)
    published = Published(dict(objective.named_parameters()), heads=4, decoder_heads=2)
    expected = published.cross_loss(images().to(dtype) / 65535, noise(), KEEP, 10)
    assert_equal(objective, objective(masked_batch(predict=10)).loss, expected, tolerance)


@pytest.mark.parametrize("settings", [PAPER, CHEAP])
def test_every_kernel_and_recomputation_give_the_same_value_and_gradient(settings: MAESettings) -> None:
    expected = build(settings).double()
    for change in ({"attention": "fused"}, {"attention": "plain"}, *RECOMPUTED):
        other = build(settings, ENCODER.model_copy(update=change)).double()
        assert {other.encoder.blocks.kernel, other.decoder.blocks.kernel} == {change.get("attention", "auto")}
        loss = other(masked_batch()).loss
        torch.testing.assert_close(loss, expected(masked_batch()).loss, rtol=0, atol=1e-12)
        theirs = gradients(expected(masked_batch()).loss, expected)
        for name, gradient in gradients(loss, other).items():
            torch.testing.assert_close(gradient, theirs[name], rtol=0, atol=1e-12)


@pytest.mark.parametrize("settings", [PAPER, CHEAP])
def test_recomputation_keeps_less_for_backward(settings: MAESettings) -> None:
    kept = []
    for recompute in (False, "decoder", True):
        objective = build(settings, ENCODER.model_copy(update={"checkpoint_activations": recompute}))
        sizes: list[int] = []

        def count(tensor: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            objective(masked_batch())
        kept.append(sum(sizes))
    assert kept[2] < 0.5 * kept[0]
    assert kept[2] < kept[1] < kept[0]


@pytest.mark.parametrize("settings", [PAPER, CHEAP])
def test_initialisation_is_the_published_one(settings: MAESettings) -> None:
    torch.manual_seed(0)
    decoder = settings.build({FILM: build_encoder(ENCODER)}).get_submodule("decoder")
    for module in decoder.modules():
        if isinstance(module, torch.nn.Linear):
            bound = (6 / (module.in_features + module.out_features)) ** 0.5
            assert 0.9 * bound < module.weight.abs().max() <= bound
            assert not module.bias.any()
        elif isinstance(module, torch.nn.LayerNorm):
            assert module.eps == 1e-6
            assert module.weight.eq(1).all()
            assert not module.bias.any()
    assert 0.01 < decoder.get_parameter("mask_token").std().item() < 0.03


def test_the_prediction_of_a_patch_does_not_depend_on_other_predicted_patches() -> None:
    objective = build(CHEAP)
    alone, among = (objective.reconstruct(masked_batch(predict=count).views["film"]) for count in (3, 27))
    torch.testing.assert_close(alone, among[:, :3], rtol=1e-4, atol=1)


def test_the_cost_of_the_decoder_follows_the_predicted_patches() -> None:
    masking = random_masking(noise(), KEEP)
    for settings, expected in ((PAPER, [1 + KEEP + 10]), (CHEAP, [10, 1 + KEEP])):
        objective = build(settings)
        sizes: list[int] = []
        objective.decoder.blocks.register_forward_pre_hook(
            lambda _, inputs, sizes=sizes: sizes.extend(tokens.shape[1] for tokens in inputs)
        )
        objective(batch(images(), masking.visible, masking.removed[:, :10]))
        assert sizes == expected


def test_the_prediction_does_not_depend_on_hidden_pixels() -> None:
    masking = random_masking(noise(), KEEP)
    objective = build(PAPER.model_copy(update={"normalise_pixels": False}))
    picture = objective.reconstruct(batch(images(), masking.visible, masking.removed).views["film"])
    cut = patchify(images(), PATCH)
    changed = torch.where(masking.mask[..., None].bool(), 65535 - cut, cut)
    other = unpatchify(changed, PATCH, SIDE, SIDE)
    assert torch.equal(objective.reconstruct(batch(other, masking.visible, masking.removed).views["film"]), picture)


def test_errors_of_content_and_background_are_separate() -> None:
    content = torch.rand(2, SIDE * SIDE * 3 // 4, generator=torch.Generator().manual_seed(4)) < 0.7
    output = build()(masked_batch(content))
    share = content.float().mean()
    mixed = share * output.metrics["loss_content"] + (1 - share) * output.metrics["loss_background"]
    assert mixed.item() == pytest.approx(output.loss.item(), rel=1e-5)
    assert not output.metrics["loss_content"].requires_grad
    everything = build()(masked_batch(torch.ones_like(content)))
    assert everything.metrics["loss_content"].item() == pytest.approx(everything.loss.item(), rel=1e-5)
    assert everything.metrics["loss_background"].isnan()


def test_normalised_pictures_have_brightness_and_contrast_of_the_truth() -> None:
    view = masked_batch().views["film"]
    objective = build()
    with torch.no_grad():
        objective.decoder.head.weight.zero_()
        objective.decoder.head.bias.zero_()
    assert view.predicted is not None
    expected = view.predicted.values.float().mean(-1, keepdim=True).expand(-1, -1, PATCH * PATCH)
    torch.testing.assert_close(objective.reconstruct(view), expected, rtol=1e-5, atol=0.1)


def test_pictures_stay_in_the_display_range() -> None:
    objective = build(PAPER.model_copy(update={"normalise_pixels": False}))
    with torch.no_grad():
        objective.decoder.head.weight.mul_(50)
    picture = objective.reconstruct(masked_batch().views["film"])
    assert (picture.min().item(), picture.max().item()) == (0, 65535)


@pytest.mark.parametrize("settings", [PAPER, CHEAP])
def test_loss_stays_in_float32_under_autocast(settings: MAESettings) -> None:
    objective = build(settings)
    exact = objective(masked_batch()).loss
    with torch.autocast("cpu", torch.bfloat16):
        output = objective(masked_batch())
    assert output.loss.dtype == torch.float32
    assert output.loss.item() == pytest.approx(exact.item(), rel=0.02)


@pytest.mark.parametrize("settings", [pytest.param(PAPER, marks=pytest.mark.slow), CHEAP])
def test_it_learns_to_continue_a_picture(settings: MAESettings) -> None:
    """Smooth ramps can be continued from a quarter of their patches, better than by a constant guess."""
    torch.manual_seed(0)
    steps = torch.linspace(0, 1, SIDE * PATCH)
    films = torch.rand(32, 3, generator=torch.Generator().manual_seed(7))
    ramps = films[:, 0, None, None] * steps[:, None] + films[:, 1, None, None] * steps + films[:, 2, None, None]
    pixels = (ramps / 3 * 65535).int()[:, None]
    masking = random_masking(noise(32), KEEP)
    objective = settings.model_copy(update={"normalise_pixels": False}).build({FILM: build_encoder(ENCODER)})
    optimizer = torch.optim.AdamW(objective.parameters(), lr=1e-2)
    given = batch(pixels, masking.visible, masking.removed)
    for _ in range(180):
        loss = objective(given).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5 * (pixels / 65535).var().item()


def test_the_view_follows_the_settings() -> None:
    view = MAESettings(tokens=1024, visible=0.1, predicted=0.4, window=0.3, crop=(0.5, 1.0)).view
    assert view.budgets == (102, 409)
    assert view.augmentation == Augmentation(window=0.3, crop=(0.5, 1.0))
    assert MAESettings(visible=0.1, predicted="all").view.budgets == (19, 177)
    assert MAESettings(padded=True).view.padded


@pytest.mark.parametrize(
    "wrong",
    [
        {"visible": 0.6, "predicted": 0.5},
        {"visible": 0.001},
        {"tokens": 200},
        {"crop": (0.0, 1.0)},
        {"decoder_dim": 20},
        {"predicted": "some"},
        {"decoder": "none"},
        {"padded": True, "crop": (0.5, 1.0)},
        {"visible": 0.05, "tokens": 196, "schedule": [{"until": 0.5, "tokens": 16}]},
        {"schedule": [{"until": 0.5, "tokens": 200}]},
        {"schedule": [{"until": 1.0, "tokens": 196}]},
        {"schedule": [{"until": 0.5, "tokens": 64}, {"until": 0.4, "tokens": 100}]},
        {"gamma": 1.5},
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        MAESettings.model_validate(wrong)
