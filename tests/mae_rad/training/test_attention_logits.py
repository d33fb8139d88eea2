"""The largest attention logit is exact, and measuring it has no effect on the step."""

import math

import pytest
import torch

from mae_rad.data.batch import Patches
from mae_rad.encoders.vit import EncoderSettings, build_encoder
from mae_rad.training.attention_logits import AttentionLogits, largest_logit


def patches(films: int = 3, count: int = 20, patch: int = 16) -> Patches:
    generator = torch.Generator().manual_seed(0)
    values = torch.randint(0, 65536, (films, count, patch * patch), generator=generator).to(torch.uint16)
    return Patches(values, torch.rand(films, count, 2, generator=generator) * 14, torch.full((films, 2), 14.0))


def test_the_largest_logit_is_that_of_the_whole_matrix() -> None:
    qkv = torch.randn(2, 600, 3 * 24, generator=torch.Generator().manual_seed(1))
    query, key, _ = (part.reshape(2, 600, 4, 6).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
    whole = (query @ key.transpose(-2, -1)).abs().max() / math.sqrt(6)
    assert largest_logit(qkv, 4).item() == pytest.approx(whole.item(), rel=1e-6)


@pytest.mark.parametrize("kernel", ["plain", "fused"])
@pytest.mark.parametrize("recompute", [False, True])
def test_watching_changes_nothing(kernel: str, recompute: bool) -> None:
    torch.manual_seed(0)
    settings = EncoderSettings(model="vit_tiny", patch=16, attention=kernel, checkpoint_activations=recompute)
    encoder = build_encoder(settings)
    logits = AttentionLogits(encoder)

    def step(watch: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
        encoder.zero_grad()
        with logits.measuring(watch):
            pooled = encoder(patches()).pooled
        pooled.square().sum().backward()
        return pooled.detach(), [
            parameter.grad.clone() for parameter in encoder.parameters() if parameter.grad is not None
        ]

    (one, gradients), (two, again) = step(False), step(True)
    assert torch.equal(one, two) and all(map(torch.equal, gradients, again))
    assert logits.read() > 0
    step(False)
    assert logits.read() == 0


def test_a_layer_with_large_logits_is_found_at_any_depth() -> None:
    torch.manual_seed(0)
    encoder = build_encoder(EncoderSettings(model="vit_tiny", patch=16))
    logits = AttentionLogits(encoder)
    with logits.measuring(True), torch.no_grad():
        encoder(patches())
    before = logits.read()
    layer = logits._layers[-1].qkv
    layer.weight.data *= 30
    with logits.measuring(True), torch.no_grad():
        encoder(patches())
    assert logits.read() > 100 * before


def test_films_of_several_sizes_are_watched_film_by_film() -> None:
    torch.manual_seed(0)
    encoder = build_encoder(EncoderSettings(model="vit_tiny", patch=16))
    logits, groups = AttentionLogits(encoder), [patches(1, 30), patches(2, 11)]
    with torch.no_grad():
        with logits.measuring(True):
            for group in groups:
                encoder(group)
        alone = logits.read()
        with logits.measuring(True):
            encoder(groups)
    assert logits.read().item() == pytest.approx(alone.item(), rel=1e-5)
