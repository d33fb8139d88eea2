"""Count FLOPs and activation memory of a network of timm on the network itself, without computing anything."""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from mae_rad.encoders.timm_encoder import TimmEncoder, TimmSettings


class NetworkCost(NamedTuple):
    """Cost of one square film.

    Attributes:
        first: forward FLOPs of the first convolution, whose input needs no gradient.
        others: forward FLOPs of the other layers.
        kept: values that backward needs.
        largest: values of the largest of these tensors.
    """

    first: float
    others: float
    kept: float
    largest: float


def network_cost(settings: TimmSettings, patches: int) -> NetworkCost:
    """Count FLOPs (a multiply-add counts as two) and stored values of one square film.

    Args:
        settings: settings of the encoder.
        patches: number of patches of the film, a square number.
    """
    return _cost(settings.model_dump_json(), patches)


@lru_cache
def _cost(settings_json: str, patches: int) -> NetworkCost:
    settings = TimmSettings.model_validate_json(settings_json)
    films, side = 2, math.isqrt(patches) * settings.patch
    with torch.device("meta"):
        encoder = TimmEncoder(settings)
        images = torch.empty(films, settings.channels, side, side)
    network: Any = encoder.network
    weights = {id(parameter) for parameter in encoder.parameters()}
    stored: dict[int, Tensor] = {}
    first: list[float] = []

    def keep(value: Tensor) -> Tensor:
        if id(value) not in weights:
            stored[value.untyped_storage()._cdata] = value
        return value

    def count(layer: nn.Module, _: object, output: Tensor) -> None:
        first.append(2.0 * layer.get_parameter("weight").numel() * output[0, 0].numel())

    names = network.pretrained_cfg["first_conv"]
    handle = network.get_submodule(names if isinstance(names, str) else names[0]).register_forward_hook(count)
    with (
        torch.device("meta"),
        FlopCounterMode(display=False) as counter,
        saved_tensors_hooks(keep, lambda value: value),
    ):
        network.forward_features(images)
    handle.remove()
    sizes = [value.numel() / films for value in stored.values()]
    return NetworkCost(first[0], counter.get_total_flops() / films - first[0], sum(sizes), max(sizes))
