"""A predictor of an earlier release, whose encoder was a ResNet of torchvision, is still read and predicts the same."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.models import resnet18
from torchvision.ops.misc import FrozenBatchNorm2d

from mae_rad.encoders.film_image import as_image
from mae_rad.encoders.timm_encoder import TimmEncoder, TimmSettings
from mae_rad.export.earlier_resnet import timm_settings_of, timm_weights_of
from mae_rad.export.predictor_folder import load_predictor
from tests.builders.small_predictor import write_predictor
from tests.builders.trained_run import as_embedded, films

CARD = {"model": "resnet18", "weights": None, "patch": 16, "mean": 0.4, "std": 0.3}


def earlier_names(network: nn.Module) -> dict[str, Tensor]:
    """Weights of torchvision's network as the earlier encoder named them."""
    names = {"conv1.": "stem.0.", "bn1.": "stem.1."} | {
        f"layer{number + 1}.": f"stages.{number}." for number in range(4)
    }
    return {
        "encoder." + re.sub(r"^(conv1\.|bn1\.|layer\d\.)", lambda found: names[found[1]], name): value.clone()
        for name, value in network.state_dict().items()
        if not name.startswith("fc.")
    }


@pytest.mark.parametrize("weights", [None, "imagenet.safetensors"])
@torch.no_grad()
def test_the_maps_are_those_of_torchvision(weights: str | None) -> None:
    torch.manual_seed(0)
    norm = FrozenBatchNorm2d if weights else lambda channels: nn.GroupNorm(32, channels)
    network: Any = resnet18(weights=None, norm_layer=norm)
    network.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    for name, value in network.state_dict().items():
        if "bn" in name or "downsample.1" in name:
            value.uniform_(0.5, 1.5)
    encoder = TimmEncoder(TimmSettings.model_validate(timm_settings_of(CARD | {"weights": weights}))).eval()
    nn.ModuleDict({"encoder": encoder}).load_state_dict(timm_weights_of(earlier_names(network)))
    patches = as_embedded(films(96, 144), 16)
    cells = network.maxpool(network.relu(network.bn1(network.conv1((as_image(patches, 16) / 65535 - 0.4) / 0.3))))
    for number, found in enumerate(encoder.maps(patches), 1):
        cells = getattr(network, f"layer{number}")(cells)
        torch.testing.assert_close(found, cells, rtol=1e-4, atol=1e-4)


def test_an_earlier_folder_is_read(tmp_path: Path) -> None:
    encoder = TimmSettings.model_validate(timm_settings_of(CARD))
    folder = write_predictor(tmp_path / "model", encoder=encoder)
    patches = as_embedded(films(96, 144), 16)
    expected = load_predictor(folder).predict(patches).probabilities
    weights, card = folder / "predictor.safetensors", json.loads((folder / "predictor.json").read_text())
    state = load_file(weights)
    network = {name.removeprefix("encoder.network."): value for name, value in state.items() if "network." in name}
    holder = nn.Module()
    holder.state_dict = lambda: network  # type: ignore[method-assign, assignment]
    head = {name: value for name, value in state.items() if name.startswith("head.")}
    save_file(earlier_names(holder) | head, weights)
    card |= {"encoder": CARD, "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest()}
    (folder / "predictor.json").write_text(json.dumps(card))
    found = load_predictor(folder).predict(patches).probabilities
    assert expected is not None and found is not None
    assert torch.equal(found, expected)
