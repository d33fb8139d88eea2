"""A converted network of timm or transformers has the features that it has there."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mae_rad.encoders.timm_encoder import TimmEncoder, TimmSettings
from mae_rad.errors import WeightsError
from mae_rad.export.convert import ConvertSettings, convert_file
from mae_rad.export.encoder_folder import load_encoder
from tests.builders.trained_run import as_embedded, films
from tests.references.timm_networks import TINY, VIT, pixels_of

SIZES = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 64, "patch_size": 16}
REGISTERS = {"num_register_tokens": 4}
TYPES = {
    "Dinov2": {"mlp_ratio": 4},
    "Dinov2WithRegisters": {"mlp_ratio": 4} | REGISTERS,
    "DINOv3ViT": {"intermediate_size": 192} | REGISTERS,
    "CLIPVision": {"intermediate_size": 192},
    "SiglipVision": {"intermediate_size": 192},
    "ViT": {"intermediate_size": 192},
}
"""Type of transformers → settings besides the sizes."""


def shaken(network: nn.Module) -> nn.Module:
    """The network with weights that none of its parts hides: biases, scales and tokens are not at their start."""
    torch.manual_seed(3)
    with torch.no_grad():
        for name, value in network.named_parameters():
            if not name.endswith(("in_proj_weight", ".weight")) or value.ndim == 1:
                value.add_(torch.randn_like(value) * 0.2)
        for name, statistics in network.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                statistics.uniform_(0.5, 1.5)
    return network.eval()


def converted(source: Path, folder: Path, **settings: Any) -> tuple[TimmEncoder, TimmSettings]:
    convert_file(source, folder, ConvertSettings.model_validate(settings))
    encoder, card = load_encoder(folder)
    assert isinstance(encoder, TimmEncoder) and isinstance(card.encoder, TimmSettings)
    return encoder, card.encoder


def tokens_of(last: Tensor, network: Any) -> Tensor:
    """timm's last features as [B, N, D], without class and register tokens."""
    if last.ndim == 3:
        return last[:, network.num_prefix_tokens :]
    return last.flatten(1, 2) if getattr(network, "output_fmt", None) == "NHWC" else last.flatten(2).transpose(1, 2)


@pytest.mark.parametrize("name", TINY)
@torch.no_grad()
def test_a_converted_network_has_the_features_of_timm(name: str, tmp_path: Path) -> None:
    given = TINY[name]
    arguments, channels = given.get("args", {}), given.get("channels", 3)
    network: Any = shaken(timm.create_model(given["timm"], num_classes=7, in_chans=channels, **arguments))
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    encoder, settings = converted(
        tmp_path / "weights.safetensors", tmp_path / "encoder", timm=given["timm"], args=arguments
    )
    assert settings.channels == channels
    side = arguments.get("img_size") or (settings.facts.side if settings.facts.options else 4 * settings.patch)
    patches = as_embedded(films(side, side), settings.patch)
    last = network.forward_features(pixels_of(patches, settings))
    features = encoder(patches)
    torch.testing.assert_close(features.tokens, tokens_of(last, network), rtol=0, atol=1e-5)
    own = network.forward_head(last, pre_logits=True)
    expected = features.tokens.mean(dim=1) if name == "DINOv3" else features.cls  # timm gives its mean to a classifier
    torch.testing.assert_close(expected, own, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", TYPES)
@torch.no_grad()
def test_a_folder_of_hugging_face_gives_the_features_of_transformers(name: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import transformers

        config = getattr(transformers, f"{name}Config")(**SIZES, **TYPES[name])
        model = shaken(getattr(transformers, f"{name}Model")(config))
        model.save_pretrained(tmp_path / "source")
    (tmp_path / "source" / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]})
    )
    encoder, settings = converted(tmp_path / "source", tmp_path / "encoder")
    assert settings.mean == (0.4, 0.5, 0.6)
    patches = as_embedded(films(64, 64), 16)
    output = model(pixel_values=pixels_of(patches, settings))
    features = encoder(patches)
    last = output.last_hidden_state
    if name == "CLIPVision":  # transformers applies its last norm to the class token only
        last = model.post_layernorm(last)
    torch.testing.assert_close(features.tokens, last[:, -16:], rtol=0, atol=1e-5)
    cls = output.pooler_output if name == "SiglipVision" else last[:, 0]
    torch.testing.assert_close(features.cls, cls, rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_published_file_of_dinov2_is_read_as_timm_does(tmp_path: Path) -> None:
    network: Any = shaken(
        timm.create_model("vit_small_patch14_reg4_dinov2", num_classes=0, **VIT, img_size=70, dynamic_img_size=True)
    )
    state = network.state_dict()
    cls = torch.randn(1, 1, 48)
    published = {name: value for name, value in state.items() if name not in ("cls_token", "reg_token", "pos_embed")}
    published |= {
        "cls_token": state["cls_token"] - cls,
        "pos_embed": torch.cat([cls, state["pos_embed"]], dim=1),
        "register_tokens": state["reg_token"],
        "mask_token": torch.zeros(1, 48),
    }
    torch.save({"model": published}, tmp_path / "dinov2.pth")
    encoder, settings = converted(
        tmp_path / "dinov2.pth", tmp_path / "encoder", timm="vit_small_patch14_reg4_dinov2", args=VIT
    )
    assert settings.args["img_size"] == 70  # of the table of positions
    patches = as_embedded(films(70, 98), 14)
    expected = network.forward_features(pixels_of(patches, settings))
    features = encoder(patches)
    torch.testing.assert_close(features.tokens, expected[:, 5:], rtol=0, atol=1e-5)
    torch.testing.assert_close(features.cls, expected[:, 0], rtol=0, atol=1e-5)


def test_other_weights_are_refused_in_one_line(tmp_path: Path) -> None:
    network = timm.create_model("test_resnet", num_classes=0)
    state = network.state_dict()
    save_file(state, tmp_path / "whole.safetensors")
    save_file({name: value for name, value in state.items() if "layer4" not in name}, tmp_path / "part.safetensors")
    cases: dict[tuple[str, str], str] = {
        ("whole", "resnet18"): "weights of the source, read as resnet18, do not fit its settings",
        ("part", "test_resnet"): "layer4",
        ("whole", "resnet_none"): "timm has no network 'resnet_none'",
        ("whole", "cait_xxs24_224"): "does not take films of any shape",
    }
    for (file, name), message in cases.items():
        with pytest.raises(WeightsError, match=message) as refused:
            converted(tmp_path / f"{file}.safetensors", tmp_path / "encoder", timm=name)
        assert "\n" not in str(refused.value)
    with pytest.raises(WeightsError, match="heads do not apply to a network of timm"):
        converted(tmp_path / "whole.safetensors", tmp_path / "encoder", timm="test_resnet", heads=4)
    assert not (tmp_path / "encoder").exists()
