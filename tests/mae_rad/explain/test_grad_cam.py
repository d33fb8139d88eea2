"""Heat maps against closed forms, independent implementations and planted patches; no hook or gradient remains."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mae_rad.data.batch import Patches
from mae_rad.encoders.attention import SelfAttention
from mae_rad.encoders.vit import EncoderSettings, Features, ViT, build_encoder
from mae_rad.explain.attention_rollout import attention_rollout, mean_attention, token_weights
from mae_rad.explain.grad_cam import grad_cam
from mae_rad.heads.pooling import POOLS, Pooling, PoolName
from mae_rad.heads.window_attention import Windows, window_features

GRID = (5, 4)
COUNT = GRID[0] * GRID[1]


def encoder(depth: int = 3, *, dim: int = 32, heads: int = 2) -> ViT:
    torch.manual_seed(0)
    return build_encoder(EncoderSettings(model="vit_tiny", dim=dim, depth=depth, heads=heads, patch=4)).eval()


def films(count: int = 2, seed: int = 0, grid: tuple[int, int] = GRID) -> Patches:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(0, 65536, (count, grid[0] * grid[1], 16), generator=generator, dtype=torch.int32).to(
        torch.uint16
    )
    rows, columns = np.indices(grid, dtype=np.float32).reshape(2, -1)
    coords = torch.from_numpy(np.stack((rows, columns), axis=1)).expand(count, -1, -1)
    return Patches(values, coords, torch.tensor(grid, dtype=torch.float32).expand(count, -1))


def score(model: ViT, name: PoolName, labels: int = 3) -> tuple[Pooling, Any]:
    torch.manual_seed(1)
    pooling = Pooling(name, model.dim, model.heads).eval()
    last = nn.Linear(pooling.width, labels)
    return pooling, lambda features: last(pooling(features))


def attentions_of(model: ViT, patches: Patches) -> list[Tensor]:
    """[B, H, M, M] of every block, by the weights that torch's own multi-head attention tells."""
    seen: list[Tensor] = []

    def look(layer: SelfAttention, inputs: tuple[Tensor], _: Tensor) -> None:
        theirs = nn.MultiheadAttention(model.dim, model.heads, batch_first=True).eval()
        with torch.no_grad():
            theirs.in_proj_weight.copy_(layer.qkv.weight)
            theirs.in_proj_bias.copy_(layer.qkv.bias)
        seen.append(theirs(inputs[0], inputs[0], inputs[0], average_attn_weights=False)[1])

    hooks = [block.attn.register_forward_hook(look) for block in model.blocks]
    with torch.no_grad():
        model(patches)
    for hook in hooks:
        hook.remove()
    return seen


def test_attention_is_that_of_torch() -> None:
    model, patches = encoder(1), films()
    (theirs,) = attentions_of(model, patches)
    ours = mean_attention(model.blocks[0].attn, model.blocks[0].norm1(model.embed(patches)))
    torch.testing.assert_close(ours, theirs.mean(dim=1), rtol=1e-5, atol=1e-6)


def test_rollout_is_the_published_recursion() -> None:
    model, patches = encoder(), films()
    pooling, _ = score(model, "cls")
    flow = np.eye(1 + COUNT)[None]
    for block in attentions_of(model, patches):  # the reference repository: add the identity, then normalise the rows
        mixed = block.mean(dim=1).double().numpy() + np.eye(1 + COUNT)
        flow = mixed / mixed.sum(axis=-1, keepdims=True) @ flow
    ours = attention_rollout(model, pooling, patches)
    np.testing.assert_allclose(ours.numpy(), flow[:, 0, 1:], rtol=1e-4, atol=1e-7)


def test_rollout_of_uniform_attention_is_its_closed_form() -> None:
    model = encoder(depth=4)
    for block in model.blocks:
        nn.init.zeros_(block.attn.qkv.weight)  # every token attends to all alike: A = 1/M
    pooling, _ = score(model, "cls")
    flow = attention_rollout(model, pooling, films())
    wanted = (1 - 0.5**4) / (1 + COUNT)  # (I + U)/2 to the fourth is I/16 + 15/16 U, as U is idempotent
    torch.testing.assert_close(flow, torch.full_like(flow, wanted))


@pytest.mark.parametrize("name", POOLS)
def test_token_weights_of_a_pooling_sum_to_one(name: PoolName) -> None:
    model, patches = encoder(), films()
    pooling, _ = score(model, name)
    weights = token_weights(pooling, model(patches))
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2))
    rolled = attention_rollout(model, pooling, patches)
    assert rolled.shape == (2, COUNT)
    assert (rolled >= 0).all()
    assert (rolled.sum(dim=1) <= 1 + 1e-5).all()


def test_token_weights_of_attentive_pooling_give_its_output() -> None:
    model, patches = encoder(heads=1), films()
    pooling, _ = score(model, "attentive")
    assert pooling.attention is not None
    features = model(patches)
    weights = token_weights(pooling, features)[:, 1:]
    values = pooling.attention.key_value(pooling.attention.norm(features.tokens))[..., model.dim :]
    by_hand = pooling.attention.projection((weights[:, :, None] * values).sum(dim=1))
    torch.testing.assert_close(by_hand, pooling(features), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("blocks", [1, 2])
def test_grad_cam_is_the_published_formula(name: PoolName, blocks: int) -> None:
    model, patches = encoder(), films()
    _, ask = score(model, name)
    kept: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        kept.append(inputs[0].detach().requires_grad_())
        return (kept[-1],)

    hook = model.blocks[len(model.blocks) - blocks].register_forward_pre_hook(keep)
    scores = ask(model(patches))
    hook.remove()
    ours = grad_cam(model, ask, patches, [2, 0], blocks=blocks)
    for place, label in enumerate((2, 0)):
        (gradient,) = torch.autograd.grad(scores[:, label].sum(), kept[0], retain_graph=True)
        alpha = gradient[:, 1:].mean(dim=1, keepdim=True)
        wanted = torch.relu((alpha * kept[0][:, 1:]).sum(dim=-1))
        torch.testing.assert_close(ours[:, place], wanted.detach(), rtol=1e-4, atol=1e-7)


def test_a_planted_patch_is_highlighted_and_its_opposite_is_not() -> None:
    """Blocks that pass tokens on, and a linear score that reads brightness: the right answer is known."""
    model = encoder(depth=2)
    for block in model.blocks:
        for layer in (block.attn.proj, block.mlp.fc2):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
    model.norm = nn.Identity()  # type: ignore[assignment]
    direction = torch.randn(model.dim, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        model.embedding.weight.copy_((direction / 100)[:, None].expand(-1, 16))  # brightness along one direction
        model.embedding.bias.zero_()

    def bright(features: Features) -> Tensor:
        along = features.tokens.mean(dim=1) @ direction
        return torch.stack([along, -along], dim=1)

    for place in (0, 7, COUNT - 1):
        patches = films(1)
        patches.values[:] = 0
        patches.values[0, place] = 65535
        patches.coords[:] = 0
        found = grad_cam(model, bright, patches, [0, 1])[0]
        assert found[0].argmax() == place
        # closed form: the score grows along every token by direction / N
        tokens = model.embed(patches)[0, 1:]
        torch.testing.assert_close(found[0], torch.relu(tokens @ direction / COUNT), rtol=1e-4, atol=1e-6)
        assert found[1, place] == 0


def hooks_of(model: nn.Module) -> int:
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, name)) for module in model.modules() for name in names)


def test_no_hook_or_gradient_remains() -> None:
    model, patches = encoder(), films()
    pooling, ask = score(model, "attentive")
    before = model(patches).tokens
    grad_cam(model, ask, patches, [0])
    attention_rollout(model, pooling, patches)

    def fails(_: Features) -> Tensor:
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        grad_cam(model, fails, patches, [0])
    assert hooks_of(model) == hooks_of(pooling) == 0
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(model(patches).tokens, before)
    assert torch.is_grad_enabled()


def test_the_map_of_a_film_does_not_depend_on_its_batch() -> None:
    model, patches = encoder(), films(3)
    _, ask = score(model, "attentive")
    together = grad_cam(model, ask, patches, [1])
    for place in range(3):
        alone = grad_cam(model, ask, Patches(*(part[place : place + 1] for part in patches.parts)), [1])
        torch.testing.assert_close(alone[0], together[place], rtol=1e-4, atol=1e-7)


def test_maps_of_a_head_with_windows_are_those_of_its_windows() -> None:
    """2 x 2 windows of 3 x 4 patches, a column of them added: by hand, with gradients at what enters the last block."""
    model, patches = encoder(), films(grid=(6, 7))
    pooling, _ = score(model, "attentive")
    cut = Windows.of(patches, 4)
    assert cut == ((6, 7), (6, 8), (3, 4))
    entering = model.embed(cut.cut(patches))
    for block in [*model.blocks][:-1]:
        entering = block(entering)
    entering = entering.detach().requires_grad_()
    features = cut.features(model, model.features(model.blocks[-1](entering)))
    torch.testing.assert_close(features.tokens, window_features(model, [patches], 4)[0].tokens)
    (gradient,) = torch.autograd.grad(pooling(features)[:, 3].sum(), entering)
    alpha = cut.join(gradient[:, 1:]).mean(dim=1, keepdim=True)
    wanted = torch.relu((alpha * cut.join(entering[:, 1:])).sum(dim=-1, keepdim=True))
    found = grad_cam(model, pooling, patches, [3], window=4)
    assert found.shape == (2, 1, 42)
    torch.testing.assert_close(found[:, 0], cut.crop_padding(wanted)[..., 0].detach(), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", POOLS)
def test_rollout_of_windows_leaves_out_the_padding(name: PoolName) -> None:
    model, patches = encoder(), films(grid=(6, 7))
    pooling, _ = score(model, name)
    rolled = attention_rollout(model, pooling, patches, window=4)
    assert rolled.shape == (2, 42)
    assert (rolled >= 0).all()
    assert (rolled.sum(dim=1) <= 1 + 1e-5).all()
    whole = attention_rollout(model, pooling, patches)
    torch.testing.assert_close(attention_rollout(model, pooling, patches, window=7), whole)
    upper = patches.values.clone()
    upper[:, :21] = 0  # the upper windows alone change, and so does what they give
    other = attention_rollout(model, pooling, patches._replace(values=upper), window=4)
    if name != "attentive":  # whose weights depend on all tokens
        torch.testing.assert_close(other[:, 21:], rolled[:, 21:])
    assert not torch.allclose(other[:, :21], rolled[:, :21])


def test_maps_are_computed_under_no_grad() -> None:
    model, patches = encoder(), films()
    _, ask = score(model, "mean")
    with torch.no_grad():
        assert grad_cam(model, ask, patches, [0]).shape == (2, 1, COUNT)
