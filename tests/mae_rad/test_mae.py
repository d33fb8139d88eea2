"""The masked autoencoder against an independent writing of the published one, and what this one adds."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn.functional import conv2d, gelu

from mae_rad.data.batch import Batch, Patches, View
from mae_rad.encoders.vit import EncoderSettings, build_encoder
from mae_rad.losses import patchify, random_masking, unpatchify
from mae_rad.objectives import MAESettings, build_objective
from mae_rad.objectives.mae import MAE

PATCH, SIDE, HEADS, DECODER_HEADS = 4, 6, 4, 2
ENCODER = EncoderSettings(dim=32, depth=2, heads=HEADS, patch=PATCH, mean=0.45, std=0.3)
PAPER = MAESettings(
    visible=0.25, predicted=0.75, variance_floor=0, decoder_dim=16, decoder_depth=2, decoder_heads=DECODER_HEADS
)


def build(settings: MAESettings = PAPER) -> MAE:
    torch.manual_seed(0)
    objective = build_objective(settings, build_encoder(ENCODER))
    assert isinstance(objective, MAE)
    with torch.no_grad():  # away from the initial ones and zeros, so that every parameter shows
        for parameter in objective.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return objective


def images(films: int = 2) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randint(0, 65536, (films, 1, SIDE * PATCH, SIDE * PATCH), generator=draw, dtype=torch.int32)


def noise(films: int = 2) -> Tensor:
    return torch.rand(films, SIDE * SIDE, generator=torch.Generator().manual_seed(2))


def batch(pixels: Tensor, visible: Tensor, predicted: Tensor, content: Tensor | None = None) -> Batch:
    """What a loader would make of square images and chosen patch indices."""
    cut = patchify(pixels, PATCH)
    coords = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE)).float()

    def take(index: Tensor) -> Patches:
        values = cut.gather(1, index[..., None].expand(-1, -1, PATCH * PATCH)).to(torch.uint16)
        return Patches(values, coords[index], torch.full((len(index), 2), float(SIDE)))

    film = torch.arange(len(pixels))
    views = {"film": View(take(visible), take(predicted), content)}
    return Batch(views, film, film, tuple(map(str, film.tolist())))


def masked_batch(content: Tensor | None = None) -> Batch:
    masking = random_masking(noise(), SIDE * SIDE // 4)
    return batch(images(), masking.visible, masking.removed, content)


class Published:
    """The published masked autoencoder on square images, written from its description; weights by the names of ours."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.w = weights

    def loss(self, pixels: Tensor, noise: Tensor, keep: int, normalise: bool) -> Tensor:
        kernel = self.w["encoder.embedding.weight"].reshape(-1, 1, PATCH, PATCH)
        x = conv2d((pixels - ENCODER.mean) / ENCODER.std, kernel, self.w["encoder.embedding.bias"], stride=PATCH)
        x = x.flatten(2).transpose(1, 2)
        x = x + self.table(x.shape[-1]).to(x)
        order = noise.argsort(1)
        x = torch.stack([film[chosen[:keep]] for film, chosen in zip(x, order, strict=True)])
        x = torch.cat([self.w["encoder.cls"].expand(len(x), 1, -1), x], 1)
        x = self.norm(self.stack(x, "encoder.blocks", ENCODER.shape.depth, HEADS), "encoder.norm")
        x = self.linear(x, "decoder.embedding")
        unshuffled = self.w["decoder.mask_token"].expand(len(x), SIDE * SIDE, -1).clone()
        for film, chosen in enumerate(order):
            unshuffled[film, chosen[:keep]] = x[film, 1:]
        x = torch.cat([x[:, :1], unshuffled + self.table(x.shape[-1]).to(x)], 1)
        x = self.norm(self.stack(x, "decoder.blocks", PAPER.decoder_depth, DECODER_HEADS), "decoder.norm")
        prediction = self.linear(x, "decoder.head")[:, 1:]
        target = pixels.reshape(len(x), SIDE, PATCH, SIDE, PATCH).transpose(2, 3).reshape(len(x), SIDE * SIDE, -1)
        if normalise:
            target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6) ** 0.5
        errors = ((prediction - target) ** 2).mean(-1)
        mask = torch.ones_like(errors)
        for film, chosen in enumerate(order):
            mask[film, chosen[:keep]] = 0
        return (errors * mask).sum() / mask.sum()

    @staticmethod
    def table(dim: int) -> Tensor:
        rows = []
        for row in range(SIDE):
            for column in range(SIDE):
                waves = np.outer([column, row], 1 / 10000 ** (np.arange(dim // 4) / (dim / 4)))
                rows.append(np.concatenate([np.sin(waves[0]), np.cos(waves[0]), np.sin(waves[1]), np.cos(waves[1])]))
        return torch.from_numpy(np.stack(rows))

    def stack(self, x: Tensor, name: str, depth: int, heads: int) -> Tensor:
        for block in (f"{name}.{number}" for number in range(depth)):
            x = x + self.attention(self.norm(x, f"{block}.norm1"), f"{block}.attn", heads)
            hidden = gelu(self.linear(self.norm(x, f"{block}.norm2"), f"{block}.mlp.fc1"))
            x = x + self.linear(hidden, f"{block}.mlp.fc2")
        return x

    def attention(self, x: Tensor, name: str, heads: int) -> Tensor:
        split = [part.chunk(heads, -1) for part in self.linear(x, f"{name}.qkv").chunk(3, -1)]
        mixed = [
            (q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])).softmax(-1) @ v for q, k, v in zip(*split, strict=True)
        ]
        return self.linear(torch.cat(mixed, -1), f"{name}.proj")

    def norm(self, x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        return scaled * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_equals_the_published_one_in_value_and_gradient(dtype: torch.dtype, tolerance: float, normalise: bool) -> None:
    objective = build(PAPER.model_copy(update={"normalise_pixels": normalise})).to(dtype)
    names, parameters = zip(*objective.named_parameters(), strict=True)
    loss = objective(masked_batch()).loss
    gradients = torch.autograd.grad(loss, parameters)
    published = Published(dict(zip(names, parameters, strict=True)))
    expected = published.loss(images().to(dtype) / 65535, noise(), SIDE * SIDE // 4, normalise)
    assert loss.item() == pytest.approx(expected.item(), abs=tolerance)
    for name, mine, theirs in zip(names, gradients, torch.autograd.grad(expected, parameters), strict=True):
        scale = 1.0 if dtype == torch.float64 else theirs.abs().max().item()
        assert (mine - theirs).abs().max() <= tolerance * scale, name
        assert theirs.any(), name


def test_a_part_of_the_hidden_patches_is_predicted_at_its_own_cost() -> None:
    masking = random_masking(noise(), SIDE * SIDE // 4)
    objective = build()
    sizes = []
    objective.decoder.blocks.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape[1]))
    objective(batch(images(), masking.visible, masking.removed[:, :10]))
    assert sizes == [1 + SIDE * SIDE // 4 + 10]


def test_hidden_pixels_are_not_seen() -> None:
    masking = random_masking(noise(), SIDE * SIDE // 4)
    objective = build(PAPER.model_copy(update={"normalise_pixels": False}))
    picture = objective.reconstruct(batch(images(), masking.visible, masking.removed).views["film"])
    cut = patchify(images(), PATCH)
    changed = torch.where(masking.mask[..., None].bool(), 65535 - cut, cut)
    other = unpatchify(changed, PATCH, SIDE, SIDE)
    assert torch.equal(objective.reconstruct(batch(other, masking.visible, masking.removed).views["film"]), picture)


def test_content_and_background_are_told_apart() -> None:
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


def test_loss_stays_in_float32_under_autocast() -> None:
    objective = build()
    exact = objective(masked_batch()).loss
    with torch.autocast("cpu", torch.bfloat16):
        output = objective(masked_batch())
    assert output.loss.dtype == torch.float32
    assert output.loss.item() == pytest.approx(exact.item(), rel=0.02)


def test_recomputed_activations_give_the_same_gradient() -> None:
    gradients = []
    for recompute in (False, True):
        torch.manual_seed(0)
        encoder = build_encoder(ENCODER.model_copy(update={"checkpoint_activations": recompute}))
        objective = build_objective(PAPER, encoder)
        objective(masked_batch()).loss.backward()
        gradients.append([parameter.grad for parameter in objective.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_it_learns_to_continue_a_picture() -> None:
    """Smooth ramps can be continued from a quarter of their patches, better than by a constant guess."""
    torch.manual_seed(0)
    steps = torch.linspace(0, 1, SIDE * PATCH)
    films = torch.rand(32, 3, generator=torch.Generator().manual_seed(7))
    ramps = films[:, 0, None, None] * steps[:, None] + films[:, 1, None, None] * steps + films[:, 2, None, None]
    pixels = (ramps / 3 * 65535).int()[:, None]
    masking = random_masking(noise(32), SIDE * SIDE // 4)
    objective = build_objective(PAPER.model_copy(update={"normalise_pixels": False}), build_encoder(ENCODER))
    optimizer = torch.optim.AdamW(objective.parameters(), lr=1e-2)
    given = batch(pixels, masking.visible, masking.removed)
    for _ in range(180):
        loss = objective(given).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5 * (pixels / 65535).var().item()


def test_view_is_what_the_settings_say() -> None:
    view = MAESettings(tokens=1024, visible=0.1, predicted=0.4, jitter=0.3, crop=(0.5, 1.0)).view
    assert view.budgets == (102, 409)
    assert (view.jitter, view.crop) == (0.3, (0.5, 1.0))


@pytest.mark.parametrize(
    "wrong",
    [
        {"visible": 0.6, "predicted": 0.5},
        {"visible": 0.001},
        {"tokens": 200},
        {"crop": (0.0, 1.0)},
        {"decoder_dim": 20},
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        MAESettings.model_validate(wrong)
