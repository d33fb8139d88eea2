"""What of a published model its weights do not show: attention heads, activation, epsilon. Nothing of it is guessed."""

import json
from pathlib import Path
from typing import Any

from mae_rad.errors import WeightsError

MAX_EPSILON = 1e-5
"""Largest epsilon of a layer norm that counts as that of this package, 1e-6: the features differ by rounding."""
_GELU = {"gelu", "gelu_python"}


def check_arithmetic(path: Path) -> None:
    """Refuse a model whose configuration states another activation or epsilon than that of the encoder.

    Args:
        path: file of weights, or downloaded model folder.

    Raises:
        WeightsError: the configuration beside the weights states another one.
    """
    config = _config(path)
    arguments = _arguments(config)
    for activation in (config.get("hidden_act"), arguments.get("act_layer")):
        if activation is not None and str(activation).lower() not in _GELU:
            raise WeightsError(f"the activation of the source is {activation}. Only encoders with gelu are converted.")
    epsilon = config.get("layer_norm_eps", 0)
    if not isinstance(epsilon, int | float) or not 0 <= epsilon <= MAX_EPSILON:
        raise WeightsError(
            f"the layer_norm_eps of the source is {epsilon}. Only encoders with {MAX_EPSILON:g} or less are converted."
        )


def stated_heads(path: Path) -> dict[str, int]:
    """Read the attention heads that the configuration of timm states; empty without one."""
    heads = _arguments(_config(path)).get("num_heads")
    return {"heads": heads} if isinstance(heads, int) else {}


def _arguments(config: dict[str, Any]) -> dict[str, Any]:
    arguments = config.get("model_args")
    return arguments if isinstance(arguments, dict) else {}


def _config(path: Path) -> dict[str, Any]:
    folder = path if path.is_dir() else path.parent
    try:
        value = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
