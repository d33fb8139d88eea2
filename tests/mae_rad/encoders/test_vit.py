"""The encoder has the published sizes and initialisation, and depends only on its patches."""

import math
from functools import partial
from typing import get_args

import pytest
import torch
from pydantic import ValidationError
from timm.models.vision_transformer import Block
from torch.nn import LayerNorm, Sequential

from data_prep.settings import load
from mae_rad.data.batch import Patches
from mae_rad.encoders import blocks
from mae_rad.encoders.attention import Kernel, attend
from mae_rad.encoders.vit import EncoderSettings, ViT, build_encoder
from mae_rad.errors import SettingsError

SMALL = EncoderSettings(dim=32, depth=2, heads=4, patch=4)


@pytest.fixture
def encoder() -> ViT:
    torch.manual_seed(0)
    return build_encoder(SMALL).double().eval()


def patches(count: int = 9, films: int = 3) -> Patches:
    draw = torch.Generator().manual_seed(count)
    values = torch.randint(0, 65536, (films, count, 16), generator=draw, dtype=torch.int32).to(torch.uint16)
    return Patches(values, 14 * torch.rand(films, count, 2, generator=draw), torch.full((films, 2), 14.0))


def pick(given: Patches, order: torch.Tensor) -> Patches:
    return Patches(given.values[:, order], given.coords[:, order], given.size)


@pytest.mark.parametrize(
    ("model", "millions"), [("vit_tiny", 5.7), ("vit_small", 22.1), ("vit_base", 86.6), ("vit_large", 304.3)]
)
def test_models_have_their_published_size(model: str, millions: float) -> None:
    with torch.device("meta"):
        encoder = build_encoder(EncoderSettings(model=model))
    dim = encoder.dim
    # Published: three channels, a learned table of 197 positions, a head of 1000 classes.
    published = sum(p.numel() for p in encoder.parameters()) + 2 * 256 * dim + 197 * dim + 1000 * (dim + 1)
    assert published / 1e6 == pytest.approx(millions, abs=0.05)


def test_features_have_their_shapes(encoder: ViT) -> None:
    features = encoder(patches())
    assert features.tokens.shape == (3, 9, 32)
    assert features.pooled.shape == features.cls.shape == (3, 32)
    assert (encoder.dim, encoder.patch) == (32, 4)


@pytest.mark.parametrize("recompute", [False, True])
def test_films_of_several_sizes_together_give_what_each_gives_alone(encoder: ViT, recompute: bool) -> None:
    encoder.blocks.recompute = recompute
    groups = [patches(9, films=3), patches(1, films=1), patches(6, films=2)]
    for together, alone in zip(encoder(groups), [encoder(group) for group in groups], strict=True):
        for found, expected in zip(together, alone, strict=True):
            torch.testing.assert_close(found, expected)
    sum(features.pooled.square().sum() for features in encoder(groups)).backward()
    gradient = encoder.embedding.weight.grad.clone()
    encoder.zero_grad()
    for group in groups:
        encoder(group).pooled.square().sum().backward()
    torch.testing.assert_close(gradient, encoder.embedding.weight.grad)


def test_the_pooled_vector_is_that_of_the_settings(encoder: ViT) -> None:
    features = encoder(patches())
    torch.testing.assert_close(features.pooled, features.tokens.mean(dim=1))
    encoder.pool = "cls"
    assert torch.equal(encoder(patches()).pooled, features.cls)


def test_the_order_of_patches_means_nothing(encoder: ViT) -> None:
    order = torch.tensor([4, 0, 8, 2, 7, 1, 3, 6, 5])
    plain, shuffled = encoder(patches()), encoder(pick(patches(), order))
    torch.testing.assert_close(shuffled.tokens, plain.tokens[:, order], rtol=0, atol=1e-12)
    torch.testing.assert_close(shuffled.pooled, plain.pooled, rtol=0, atol=1e-12)


def test_films_of_a_batch_do_not_see_each_other(encoder: ViT) -> None:
    given = patches()
    alone = encoder(Patches(*(part[1:2] for part in given.parts)))
    torch.testing.assert_close(alone.tokens, encoder(given).tokens[1:2], rtol=0, atol=1e-12)


def test_position_and_brightness_both_matter(encoder: ViT) -> None:
    given = patches()
    moved = encoder(given._replace(coords=given.coords.flip(-1))).pooled
    darker = encoder(given._replace(values=(given.values.float() / 2).to(torch.uint16))).pooled
    for other in (moved, darker):
        assert (other - encoder(given).pooled).abs().max() > 1e-3


def test_display_values_are_normalised_by_the_settings() -> None:
    torch.manual_seed(0)
    encoder = build_encoder(EncoderSettings(dim=32, depth=1, heads=4, patch=4, mean=0.25, std=0.5)).double()
    seen = []
    encoder.embedding.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    values = torch.tensor([0, 65535, 16384, 40000] * 4, dtype=torch.int32).to(torch.uint16).reshape(1, 1, 16)
    encoder(Patches(values, torch.zeros(1, 1, 2), torch.full((1, 2), 14.0)))
    expected = [(value / 65535 - 0.25) / 0.5 for value in (0, 65535, 16384, 40000)]
    assert seen[0][0, 0, :4].tolist() == pytest.approx(expected, abs=1e-12)


def test_initialisation_is_the_published_one() -> None:
    torch.manual_seed(0)
    encoder = build_encoder(EncoderSettings(model="vit_tiny"))
    for module in encoder.modules():
        if isinstance(module, torch.nn.Linear):
            bound = math.sqrt(6 / (module.in_features + module.out_features))
            assert bound * 0.99 < module.weight.abs().max() <= bound
            assert not module.bias.any()
        elif isinstance(module, torch.nn.LayerNorm):
            assert module.eps == 1e-6
            assert module.weight.eq(1).all()
            assert not module.bias.any()
    assert encoder.cls.std().item() == pytest.approx(0.02, rel=0.2)


@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_every_parameter_learns(pool: str) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(SMALL.model_copy(update={"pool": pool}))
    encoder(patches()).pooled.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in encoder.parameters())


def test_recomputed_activations_give_the_same_gradient() -> None:
    gradients = []
    for recompute in (False, True):
        torch.manual_seed(0)
        encoder = build_encoder(SMALL.model_copy(update={"checkpoint_activations": recompute}))
        encoder(patches()).pooled.square().sum().backward()
        gradients.append([parameter.grad for parameter in encoder.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


@pytest.mark.parametrize(("queries", "keys"), [(5, 7), (600, 600)])
def test_attention_equals_its_formula_by_every_kernel(queries: int, keys: int) -> None:
    draw = torch.Generator().manual_seed(0)
    given = [torch.randn(2, 3, count, 8, generator=draw, dtype=torch.float64) for count in (queries, keys, keys)]
    query, key, value = given
    weights = torch.einsum("bhnd,bhmd->bhnm", query, key).div(math.sqrt(8)).exp()
    expected = torch.einsum("bhnm,bhmd->bhnd", weights / weights.sum(-1, keepdim=True), value)
    for kernel in get_args(Kernel):
        torch.testing.assert_close(attend(query, key, value, kernel), expected, rtol=0, atol=1e-12)


def test_attention_has_the_same_gradient_by_every_kernel() -> None:
    """600 tokens: the plain kernel computes its weights again in the backward pass."""
    draw = torch.Generator().manual_seed(0)
    given = [torch.randn(1, 2, 600, 8, generator=draw, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    weights = (given[0] @ given[1].transpose(-2, -1) / math.sqrt(8)).softmax(dim=-1)
    expected = torch.autograd.grad((weights @ given[2]).square().sum(), given)
    kept: list[int] = []

    def count(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    for kernel in get_args(Kernel):
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            loss = attend(*given, kernel).square().sum()
        for mine, theirs in zip(torch.autograd.grad(loss, given), expected, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)
    assert max(kept) < 2 * 600 * 600


def test_blocks_equal_those_of_timm(encoder: ViT) -> None:
    tokens = torch.randn(2, 7, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    theirs = Sequential(*(Block(32, 4, qkv_bias=True, norm_layer=partial(LayerNorm, eps=1e-6)) for _ in range(2)))
    theirs.double().load_state_dict(encoder.blocks.state_dict())
    torch.testing.assert_close(encoder.blocks(tokens), theirs(tokens), rtol=0, atol=1e-12)


def test_autocast_keeps_the_residual_stream_and_features_in_float32() -> None:
    torch.manual_seed(0)
    encoder = build_encoder(SMALL).eval()
    exact = encoder(patches())
    inside = []
    encoder.blocks[1].register_forward_pre_hook(lambda _, inputs: inside.append(inputs[0].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        features = encoder(patches())
    assert inside == [torch.float32]
    assert features.pooled.dtype == torch.float32
    torch.testing.assert_close(features.pooled, exact.pooled, rtol=0, atol=0.05)


def test_weights_in_bfloat16_run_without_autocast() -> None:
    assert build_encoder(SMALL).bfloat16()(patches()).pooled.dtype == torch.bfloat16


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValidationError, match="multiple of 4 and of heads"):
        EncoderSettings(dim=30, heads=4)
    with pytest.raises(SettingsError, match="did you mean 'depth'"):
        load(EncoderSettings, None, ["dept=3"])


def test_drop_path_drops_the_branches_of_whole_films() -> None:
    torch.manual_seed(0)
    block, tokens = blocks.Block(8, 2, drop_path=0.5).train(), torch.ones(64 * 3 + 32 * 5, 8)
    dropped = block._drop(tokens, [(64, 3), (32, 5)])
    films = [*dropped[: 64 * 3].unflatten(0, (64, 3)), *dropped[64 * 3 :].unflatten(0, (32, 5))]
    values = [film.unique().tolist() for film in films]
    assert {tuple(of_film) for of_film in values} == {(0.0,), (2.0,)}  # all tokens of a film alike
    assert 30 < sum(of_film == [0.0] for of_film in values) < 66
    assert torch.equal(block.eval()._drop(tokens, [(64, 3), (32, 5)]), tokens)
    assert [one.drop_path for one in blocks.Blocks(blocks.Shape(8, 3, 2), drop_path=0.2)] == pytest.approx(
        [0, 0.1, 0.2]
    )
