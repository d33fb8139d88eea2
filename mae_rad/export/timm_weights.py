"""Convert published weights of a network of timm: files of timm, and what timm itself knows to read.

timm's readers (``checkpoint_filter_fn``) take the published files of DINOv2, DINOv3, CLIP, ConvNeXt, Swin and others;
those of transformers are renamed before, see :mod:`mae_rad.export.hugging_face_vision`. Every weight of the network
must be given; a classifier is left out.
"""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from pydantic import ValidationError
from torch import Tensor

from mae_rad.encoders.film_image import IMAGENET_MEAN, IMAGENET_STD
from mae_rad.encoders.timm_encoder import TimmEncoder, TimmSettings
from mae_rad.errors import WeightsError
from mae_rad.export.encoder_folder import check_fit
from mae_rad.export.hugging_face_vision import TimmArchitecture, timm_architecture, timm_names

_MOST_PREFIX_TOKENS = 9
"""Class and register tokens that a table of positions may hold before its patches."""


class TimmConversion(NamedTuple):
    """A converted network.

    Attributes:
        settings: settings of the encoder.
        weights: name in the encoder → weight.
        side: side in pixels of the images that it was trained on.
        report: lines that list what was assumed and left out.
    """

    settings: TimmSettings
    weights: dict[str, Tensor]
    side: int
    report: list[str]


def described_architecture(config: Mapping[str, Any]) -> TimmArchitecture | None:
    """Return the network of timm that a ``config.json`` of timm or transformers describes; None without one.

    Args:
        config: content of the file.
    """
    if isinstance(config.get("architecture"), str):
        arguments = dict(config.get("model_args") or {})
        for given in ("in_chans", "num_classes"):
            arguments.pop(given, None)
        return TimmArchitecture(config["architecture"], arguments)
    return timm_architecture(config)


def convert_timm(
    state: Mapping[str, Tensor], architecture: TimmArchitecture, chosen: Mapping[str, Any], facts: Mapping[str, Any]
) -> TimmConversion:
    """Convert published weights to those of a network of timm.

    Args:
        state: name in the source → weight.
        architecture: the network.
        chosen: settings of the encoder that the user gives: ``patch``, ``pool``, ``mean``, ``std``; None for defaults.
        facts: ``mean`` and ``std`` where the source's configuration files state them.

    Raises:
        WeightsError: timm has no such network, or its weights are others.
    """
    left_out: list[str] = []
    if any(".patch_embedding" in f".{name}" for name in state):
        state, left_out = timm_names(state)
    given = {name: value for name, value in chosen.items() if value is not None}
    values: dict[str, Any] = {"timm": architecture.name, "args": _with_image_size(architecture, state)} | given
    encoder = _without_weights(values)
    weights = _read_by_timm(dict(state), encoder)
    channels = _channels(weights, encoder)
    if channels != encoder.channels:
        encoder = _without_weights(values | {"channels": channels})
    network: Any = encoder.network
    cfg = network.pretrained_cfg
    report = [f"converted to {architecture.name} of timm"]
    if channels == 3:
        known = {name: given.get(name) or facts.get(name) or cfg.get(name) for name in ("mean", "std")}
        values |= {name: value or default for (name, value), default in zip(known.items(), _IMAGENET, strict=True)}
        if not facts.get("mean") and "mean" not in given:
            report.append(f"mean of the source's colours assumed: {values['mean']}; give mean=[…] if that is wrong")
    classifiers = _as_tuple(cfg.get("classifier") or ())
    heads = tuple(f"{name}." for name in classifiers)
    left_out += sorted(name for name in weights if name.startswith(heads))
    weights = {f"network.{name}": value for name, value in weights.items() if not name.startswith(heads)}
    for name, value in encoder.state_dict().items():
        if name.endswith("num_batches_tracked") and name not in weights:
            weights[name] = torch.zeros((), dtype=value.dtype)
    check_fit(weights, encoder, f"the source, read as {architecture.name},")
    report.append(f"left out: {', '.join(left_out) or 'nothing'}")
    settings = _settings(values | {"channels": channels})
    side: Any = settings.args.get("img_size") or settings.facts.side
    return TimmConversion(settings, weights, int(side[0] if isinstance(side, list) else side), report)


_IMAGENET = (IMAGENET_MEAN, IMAGENET_STD)


def _settings(values: Mapping[str, Any]) -> TimmSettings:
    try:
        return TimmSettings.model_validate(values)
    except ValidationError as error:
        raise WeightsError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None


def _without_weights(values: Mapping[str, Any]) -> TimmEncoder:
    settings = _settings(values)
    with torch.device("meta"):
        return TimmEncoder(settings)


def _with_image_size(architecture: TimmArchitecture, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of the network, with the size of the source's images where its table of positions has another."""
    arguments = dict(architecture.arguments)
    table = next((value for name, value in state.items() if name.endswith(("pos_embed", "positional_embedding"))), None)
    encoder = _without_weights({"timm": architecture.name, "args": arguments})
    patch, own = encoder.facts.patch, getattr(encoder.network, "pos_embed", None)
    if "img_size" in arguments or table is None or patch is None or own is None:
        return arguments
    prefixes = range(_MOST_PREFIX_TOKENS) if table.ndim >= 2 else range(0)
    sides = [math.isqrt(table.shape[-2] - prefix) for prefix in prefixes]
    fitting = [side for prefix, side in zip(prefixes, sides, strict=True) if side**2 == table.shape[-2] - prefix]
    if not fitting or fitting[0] * patch == encoder.facts.side:
        return arguments
    return arguments | {"img_size": fitting[0] * patch}


def _read_by_timm(state: dict[str, Tensor], encoder: TimmEncoder) -> dict[str, Tensor]:
    """Convert weights as timm does when it loads published files."""
    module = sys.modules[type(encoder.network).__module__]
    read: Callable[[dict[str, Tensor], Any], dict[str, Tensor]] | None = getattr(module, "checkpoint_filter_fn", None)
    if read is None:
        return state
    try:
        return dict(read(state, encoder.network))
    except Exception as error:  # the readers index what they expect
        raise WeightsError(
            f"timm cannot read these weights as this network ({type(error).__name__}). Give timm=NAME of the network"
            " that they are of."
        ) from None


def _channels(weights: Mapping[str, Tensor], encoder: TimmEncoder) -> int:
    """Number of input channels of the first convolution of the source."""
    network: Any = encoder.network
    kernel = weights.get(f"{_as_tuple(network.pretrained_cfg['first_conv'])[0]}.weight")
    return int(kernel.shape[1]) if kernel is not None and kernel.ndim == 4 else encoder.channels


def _as_tuple(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)
