"""Read predictors of release 0.2 and before whose encoder was a ResNet of torchvision, as networks of timm.

The layers are the same under other names: without published weights the norms were GroupNorm, with them frozen batch
norm, and the input has one channel.

earlier            timm
stem.0, stem.1     conv1, bn1
stages.N           layer(N + 1)
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

_NAMES = {
    r"^encoder\.stem\.0\.": "encoder.network.conv1.",
    r"^encoder\.stem\.1\.": "encoder.network.bn1.",
    r"^encoder\.stages\.0\.": "encoder.network.layer1.",
    r"^encoder\.stages\.1\.": "encoder.network.layer2.",
    r"^encoder\.stages\.2\.": "encoder.network.layer3.",
    r"^encoder\.stages\.3\.": "encoder.network.layer4.",
}


def timm_settings_of(encoder: Any) -> Any:
    """Return the settings of an encoder on a predictor's card, those of an earlier ResNet as ``{timm: …}``."""
    if not isinstance(encoder, Mapping) or not str(encoder.get("model")).startswith("resnet"):
        return encoder
    return {
        "timm": encoder["model"],
        "args": {} if encoder.get("weights") else {"norm_layer": "groupnorm"},
        "channels": 1,
        "patch": encoder.get("patch", 16),
        "mean": [encoder.get("mean", 0.5)],
        "std": [encoder.get("std", 0.25)],
    }


def timm_weights_of(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a predictor, those of an earlier ResNet under timm's names.

    Args:
        weights: name → weight of encoder and head.
    """
    if "encoder.stem.0.weight" not in weights:
        return dict(weights)
    renamed = {_rename(name): value for name, value in weights.items()}
    counters = {
        name.replace("running_mean", "num_batches_tracked"): torch.tensor(0)
        for name in renamed
        if name.endswith(".running_mean")
    }
    return renamed | counters


def _rename(name: str) -> str:
    for pattern, replacement in _NAMES.items():
        name = re.sub(pattern, replacement, name)
    return name
