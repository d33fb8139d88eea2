"""The stem embeds patches independently, and detects details at any position and brightness."""

import pytest
import torch

from mae_rad.data.batch import Patches
from mae_rad.encoders.convolutional_stem import PatchStem
from mae_rad.encoders.vit import EncoderSettings, ViT, build_encoder
from mae_rad.errors import WeightsError
from mae_rad.export.encoder_folder import load_encoder, save_encoder, start_encoder

SMALL = EncoderSettings(dim=32, depth=1, heads=4, patch=16, stem="convolutional")


@pytest.fixture
def stem() -> PatchStem:
    torch.manual_seed(0)
    return PatchStem(16, 8).double()


def made(seed: int = 0) -> ViT:
    torch.manual_seed(seed)
    return build_encoder(SMALL).eval()


def patches(count: int = 6) -> Patches:
    draw = torch.Generator().manual_seed(count)
    values = torch.randint(0, 65536, (2, count, 256), generator=draw, dtype=torch.int32).to(torch.uint16)
    return Patches(values, 14 * torch.rand(2, count, 2, generator=draw), torch.full((2, 2), 14.0))


def detail(row: int, column: int) -> torch.Tensor:
    """A patch with one bright square of 3 x 3 pixels."""
    pixels = torch.zeros(16, 16, dtype=torch.float64)
    pixels[row : row + 3, column : column + 3] = 1
    return pixels.reshape(1, 1, 256)


def test_patches_are_embedded_independently(stem: PatchStem) -> None:
    values = torch.randn(2, 5, 256, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    alone = torch.stack([stem(values[:, place : place + 1])[:, 0] for place in range(5)], dim=1)
    torch.testing.assert_close(stem(values), alone, rtol=0, atol=1e-12)


def test_a_detail_counts_alike_wherever_in_the_patch_it_lies(stem: PatchStem) -> None:
    nothing, here = stem(torch.zeros(1, 1, 256, dtype=torch.float64)), stem(detail(5, 5))
    for place in ((9, 5), (5, 9), (9, 9)):  # whole strides away; what is left comes from the edges of the patch
        assert (stem(detail(*place)) - here).norm() < 0.05 * (here - nothing).norm()


def test_brightness_is_none_of_its_business(stem: PatchStem) -> None:
    torch.testing.assert_close(stem(detail(5, 5) + 0.7), stem(detail(5, 5)), rtol=0, atol=1e-12)


def test_bf16_rounds_what_is_left_without_brightness() -> None:
    torch.manual_seed(0)
    stem = PatchStem(16, 8)
    faint = 0.004 * detail(5, 5).float()
    with torch.autocast("cpu", torch.bfloat16):
        dark, bright = stem(faint), stem(faint + 1.9)  # where the steps of bf16 are 0.008 wide
    torch.testing.assert_close(bright, dark, rtol=0, atol=2e-3)


def test_the_encoder_takes_part_of_the_patches_and_several_sizes() -> None:
    encoder, groups = made(), [patches(6), patches(3)]
    alone = [encoder(group).tokens for group in groups]
    for together, one in zip(encoder(groups), alone, strict=True):
        torch.testing.assert_close(together.tokens, one)
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    given = groups[0]
    shuffled = encoder(Patches(given.values[:, order], given.coords[:, order], given.size))
    torch.testing.assert_close(shuffled.tokens, alone[0][:, order], rtol=0, atol=1e-5)


def test_an_encoder_with_a_stem_trains_and_loads_again(tmp_path) -> None:
    encoder = made()
    encoder(patches()).pooled.square().sum().backward()
    assert encoder.stem is not None
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in encoder.stem.parameters())
    save_encoder(encoder, SMALL, tmp_path / "e", tokens=36, provenance={})
    back, card = load_encoder(tmp_path / "e")
    assert card.encoder.stem == "convolutional"
    assert "Its patches are filtered by two convolutions." in (tmp_path / "e" / "README.md").read_text()
    assert torch.equal(back(patches()).tokens, encoder(patches()).tokens)
    plain = build_encoder(SMALL.model_copy(update={"stem": "linear"}))
    with pytest.raises(WeightsError, match=r"stem\.\S+ is not expected"):
        start_encoder(tmp_path / "e", plain)


def test_an_encoder_without_it_begins_as_before() -> None:
    plain = SMALL.model_copy(update={"stem": "linear"})
    torch.manual_seed(0)
    expected = {name: value for name, value in build_encoder(SMALL).state_dict().items() if "stem" not in name}
    torch.manual_seed(0)
    found = build_encoder(plain).state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())
