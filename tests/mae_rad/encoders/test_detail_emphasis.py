"""The emphasis map is the weighted cosine transform, and one kernel can replace map and embedding."""

import numpy as np
import pytest
import torch
from scipy.fft import dctn

from data_prep.settings import load
from mae_rad.data.batch import Patches
from mae_rad.encoders.detail_emphasis import emphasis_map
from mae_rad.encoders.vit import EncoderSettings, ViT, build_encoder
from mae_rad.errors import SettingsError
from mae_rad.export.encoder_folder import load_encoder, save_encoder, start_encoder

PLAIN = EncoderSettings(dim=32, depth=1, heads=4, patch=4)
STRONG = PLAIN.model_copy(update={"emphasis": 1.5})


def made(settings: EncoderSettings, seed: int = 0) -> ViT:
    torch.manual_seed(seed)
    return build_encoder(settings).double().eval()


def patches() -> Patches:
    draw = torch.Generator().manual_seed(1)
    values = torch.randint(0, 65536, (2, 6, 16), generator=draw, dtype=torch.int32).to(torch.uint16)
    return Patches(values, torch.rand(2, 6, 2, generator=draw), torch.full((2, 2), 4.0))


@pytest.mark.parametrize("patch", [4, 16])
def test_the_map_is_the_cosine_transform_times_powers_of_the_frequency(patch: int) -> None:
    pixels = np.random.default_rng(0).normal(size=(patch, patch))
    frequency = np.add.outer(np.arange(patch), np.arange(patch))
    expected = dctn(pixels, norm="ortho") * ((1 + frequency) / 2.5) ** 1.5
    found = emphasis_map(patch, 1.5, torch.zeros((), dtype=torch.float64)) @ torch.from_numpy(pixels).flatten()
    np.testing.assert_allclose(found.reshape(patch, patch).numpy(), expected, atol=1e-12)


def test_exponent_0_only_turns_the_pixels() -> None:
    turned = emphasis_map(16, 0, torch.zeros((), dtype=torch.float64))
    torch.testing.assert_close(turned @ turned.T, torch.eye(256, dtype=torch.float64), rtol=0, atol=1e-12)


def test_one_kernel_stands_for_emphasis_and_embedding() -> None:
    strong, plain = made(STRONG), made(PLAIN, seed=1)
    weights = strong.state_dict() | {"embedding.weight": strong.patch_kernel}
    plain.load_state_dict(weights)
    given = patches()
    torch.testing.assert_close(plain(given).tokens, strong(given).tokens, rtol=0, atol=1e-10)
    assert not torch.allclose(made(PLAIN)(given).tokens, strong(given).tokens, atol=1e-3)  # it does something


@pytest.mark.parametrize(("theirs", "ours"), [(PLAIN, STRONG), (STRONG, PLAIN), (STRONG, STRONG)])
def test_training_starts_from_weights_of_another_emphasis(
    theirs: EncoderSettings, ours: EncoderSettings, tmp_path
) -> None:
    save_encoder(made(theirs).float(), theirs, tmp_path / "e", tokens=36, provenance={})
    started = made(ours, seed=1)
    start_encoder(tmp_path / "e", started)
    expected = load_encoder(tmp_path / "e")[0].double()
    assert expected.emphasis == theirs.emphasis
    torch.testing.assert_close(started(patches()).tokens, expected(patches()).tokens, rtol=0, atol=1e-6)


def test_what_is_faint_survives_bf16() -> None:
    """A checkerboard of a five-hundredth of the display range: bf16 values on bright pixels would round it away."""
    encoder = made(EncoderSettings(dim=32, depth=1, heads=4, patch=16, emphasis=1.5)).float()
    seen = []
    encoder.embedding.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].float()))
    board = 0.002 * (-1.0) ** torch.arange(16).add(torch.arange(16)[:, None])
    values = (65535 * (0.9 + board)).round().to(torch.int32).to(torch.uint16).reshape(1, 1, 256)
    given = Patches(values, torch.zeros(1, 1, 2), torch.full((1, 2), 1.0))
    with torch.autocast("cpu", torch.bfloat16):
        encoder(given)
    encoder(given)
    finest = [one.flatten()[-1].item() for one in seen]
    assert finest[0] == pytest.approx(finest[1], rel=0.01)
    assert abs(finest[1]) > 0.1


def test_it_is_off_by_default_and_bounded() -> None:
    assert EncoderSettings().emphasis == 0
    with pytest.raises(SettingsError, match="emphasis"):
        load(EncoderSettings, None, ["emphasis=-1"])
