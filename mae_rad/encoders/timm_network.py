"""Build networks of timm (https://github.com/huggingface/pytorch-image-models), and read what timm says about them.

Nothing is known of a network by its name: its sizes are those of timm's ``feature_info``, and whether it takes films of
any shape is tried without computing anything, on the meta device. Weights are never downloaded.
"""

import difflib
import inspect
import json
import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import nn

ANY_SHAPE: Mapping[str, bool] = {"dynamic_img_size": True, "strict_img_size": False}
"""Arguments that make a network of timm take images of any shape, where it has them."""

GIVEN = frozenset(
    {
        "in_chans", "num_classes", "features_only", "out_indices", "pretrained", "pretrained_cfg", "checkpoint_path",
        "pretrained_cfg_overlay", "pretrained_strict", "cache_dir", "scriptable", "exportable", "no_jit",
        "dynamic_img_size", "strict_img_size", "dynamic_img_pad",
    }
)  # fmt: skip
"""Arguments of ``timm.create_model`` that are derived, or would read weights from elsewhere."""

DEFAULT_PATCH = 16
"""Patch side in pixels of a network whose tokens are not one per patch."""

_TRIED_GRID = (9, 13)
"""Rows and columns of patches of the film that a network is tried with: oblong, odd, larger than a window."""

_MAX_HEADS = 8


class NetworkFacts(NamedTuple):
    """What timm says about a network.

    Attributes:
        dim: channels D of its features.
        block_dims: channels of the blocks (of a ViT) or maps (of a convolutional network) that it can return.
        strides: pixels per cell of each of them.
        patch: patch side in pixels that the network itself has, with one token per patch; None for a network whose
            maps become coarser.
        has_batch_norm: whether films of a forward pass depend on each other.
        side: side in pixels of the images of its published weights.
        options: arguments that make it take films of any shape.
    """

    dim: int
    block_dims: tuple[int, ...]
    strides: tuple[int, ...]
    patch: int | None
    has_batch_norm: bool
    side: int
    options: tuple[tuple[str, bool], ...]

    @property
    def heads(self) -> int:
        """Heads of an attention on its features."""
        return math.gcd(self.dim, _MAX_HEADS)


def network_facts(name: str, arguments: Mapping[str, Any], channels: int) -> NetworkFacts:
    """Return what timm says about a network.

    Args:
        name: its name in timm.
        arguments: arguments of ``timm.create_model`` that differ from those of the name.
        channels: number of channels of its input.

    Raises:
        ValueError: timm has no such network or does not take the arguments, or the network cannot serve as an encoder.
    """
    return _facts(name, json.dumps(arguments, sort_keys=True), channels)


def build_network(name: str, arguments: Mapping[str, Any], channels: int, options: Mapping[str, bool]) -> nn.Module:
    """Build a network with initial weights and without a classifier.

    Args:
        name: its name in timm.
        arguments: arguments of ``timm.create_model`` that differ from those of the name.
        channels: number of channels of its input.
        options: ``NetworkFacts.options``.
    """
    import timm  # noqa: PLC0415 - takes a second, and other encoders do without it

    values = {key: tuple(value) if isinstance(value, list) else value for key, value in arguments.items()}
    network: nn.Module = timm.create_model(
        name, pretrained=False, num_classes=0, in_chans=channels, **values, **options
    )
    return network


def layers_above(network: nn.Module) -> dict[str, int]:
    """Count the layers between each parameter and the features, as timm groups them (``group_matcher``).

    Args:
        network: a network of timm without a classifier.

    Returns:
        Parameter → number of blocks (stages of a convolutional network) from its own to the last; 0 after the last
        block, one more than the number of blocks before the first.
    """
    from timm.models import group_parameters  # noqa: PLC0415

    matcher: Mapping[str, Any] = network.group_matcher(coarse=True)  # type: ignore[operator]
    groups: dict[str, int] = group_parameters(network, matcher, reverse=True)
    forms = [entry for value in matcher.values() for entry in ([(value, None)] if isinstance(value, str) else value)]
    before, after = ([form for form, joined in forms if bool(joined) is is_after] for is_after in (False, True))
    blocks = {
        name: group
        for name, group in groups.items()
        if any(re.match(form, name) for form in before) and not any(re.match(form, name) for form in after)
    }
    return {name: max(blocks.values()) + 1 - blocks[name] if name in blocks else 0 for name in groups}


def check_image(name: str, arguments: Mapping[str, Any], channels: int, patch: int) -> None:
    """Check that a network takes films of any number of patches.

    Args:
        name: its name in timm.
        arguments: arguments of ``timm.create_model`` that differ from those of the name.
        channels: number of channels of its input.
        patch: patch side in pixels.

    Raises:
        ValueError: it takes images of one size, or sizes that are no multiples of the patch.
    """
    if problem := _try_image(name, json.dumps(arguments, sort_keys=True), channels, patch):
        raise ValueError(problem)


@lru_cache(maxsize=64)
def _facts(name: str, arguments_json: str, channels: int) -> NetworkFacts:
    import timm  # noqa: PLC0415

    arguments = json.loads(arguments_json)
    if "/" in name or ":" in name or not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=1)
        raise ValueError(f"timm has no network {name!r}{f', did you mean {near[0]!r}' if near else ''}")
    if derived := sorted(GIVEN & set(arguments)):
        raise ValueError(f"args may not name {', '.join(derived)}: this is derived, or not supported")
    network: Any = _build(name, arguments, channels, {})
    taken = inspect.signature(type(network).__init__).parameters
    options = {option: value for option, value in ANY_SHAPE.items() if option in taken}
    network = _build(name, arguments, channels, options) if options else network
    info = getattr(network, "feature_info", None)
    if not info or not hasattr(network, "forward_intermediates"):
        raise ValueError(f"{name} states no features of its blocks (feature_info), so it cannot serve as an encoder")
    strides = tuple(int(block["reduction"]) for block in info)
    return NetworkFacts(
        dim=int(network.num_features),
        block_dims=tuple(int(block["num_chs"]) for block in info),
        strides=strides,
        patch=strides[0] if len(set(strides)) == 1 else None,
        has_batch_norm=any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules()),
        side=int(network.pretrained_cfg["input_size"][-1]),
        options=tuple(options.items()),
    )


def _build(name: str, arguments: Mapping[str, Any], channels: int, options: Mapping[str, bool]) -> nn.Module:
    """Build a network on the meta device: names and shapes without memory or random numbers."""
    try:
        with torch.device("meta"):
            return build_network(name, arguments, channels, options)
    except Exception as error:  # networks check their arguments in many ways
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"timm cannot build {name} with args {dict(arguments)}: {reason}") from None


@lru_cache(maxsize=64)
def _try_image(name: str, arguments_json: str, channels: int, patch: int) -> str | None:
    """Return why a network does not take an oblong film; None if it does."""
    facts = _facts(name, arguments_json, channels)
    network = _build(name, json.loads(arguments_json), channels, dict(facts.options)).eval()
    rows, columns = (patch * count for count in _TRIED_GRID)
    try:
        with torch.device("meta"), torch.no_grad():
            network.forward_features(torch.empty(1, channels, rows, columns))  # type: ignore[operator]
    except Exception:  # networks check their input in many ways
        return (
            f"{name} does not take films of any shape, such as {rows} x {columns} pixels. Choose a ViT with"
            " dynamic_img_size, a convolutional network, or another patch"
        )
    return None
