import pytest
import torch
from torch import nn

from mae_rad.encoders.vit import Features
from mae_rad.heads.pooling import POOLS, AttentivePooling, Pooling, pool_each


def _features(films: int = 3, patches: int = 7, dim: int = 16) -> Features:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(films, patches, dim, generator=generator)
    return Features(tokens, tokens.mean(dim=1), torch.randn(films, dim, generator=generator))


@pytest.mark.parametrize("name", POOLS)
def test_every_pooling_gives_one_vector_of_its_width_per_film(name: str) -> None:
    pooling = Pooling(name, 16, 4)
    assert pooling(_features()).shape == (3, pooling.width)


def test_fixed_poolings_equal_their_definitions() -> None:
    features = _features()
    assert torch.equal(Pooling("cls", 16, 4)(features), features.cls)
    assert torch.equal(Pooling("mean", 16, 4)(features), features.tokens.mean(1))
    assert torch.equal(Pooling("cls_mean", 16, 4)(features), torch.cat([features.cls, features.tokens.mean(1)], 1))


def test_attentive_pooling_equals_multi_head_attention_of_torch() -> None:
    torch.manual_seed(0)
    tokens = _features().tokens.double()
    ours = AttentivePooling(16, 4).double()
    theirs = nn.MultiheadAttention(16, 4, batch_first=True).double()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([torch.eye(16), ours.key_value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([torch.zeros(16), ours.key_value.bias]))
        theirs.out_proj.weight.copy_(ours.projection.weight)
        theirs.out_proj.bias.copy_(ours.projection.bias)
    normed = ours.norm(tokens)
    expected, _ = theirs(ours.query.expand(3, 1, -1), normed, normed)
    assert torch.allclose(ours(tokens), expected[:, 0], atol=1e-12)


def test_attentive_pooling_does_not_depend_on_the_order_of_patches() -> None:
    pooling, tokens = AttentivePooling(16, 4), _features().tokens
    assert torch.allclose(pooling(tokens), pooling(tokens.flip(1)), atol=1e-6)


def test_many_poolings_together_equal_each_pooling_of_the_masked_patches() -> None:
    torch.manual_seed(0)
    poolings, tokens = [AttentivePooling(16, heads).double() for heads in (4, 2)], _features().tokens.double()
    for pooling in poolings:
        nn.init.normal_(pooling.norm.weight)
        nn.init.normal_(pooling.norm.bias)
    mask = torch.ones(3, 7, dtype=torch.bool)
    mask[1, 5:] = mask[2, :3] = False
    for pooling, together in zip(poolings, pool_each(poolings, tokens, mask), strict=True):
        for film in range(3):
            alone = tokens[film : film + 1, mask[film]]
            assert torch.allclose(together[film], pooling(alone)[0], atol=1e-12)
    first = poolings[0]
    outs = first(tokens), pool_each(poolings, tokens, mask | True)[0]
    gradients = [torch.autograd.grad(out.square().sum(), first.parameters()) for out in outs]
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-9)
