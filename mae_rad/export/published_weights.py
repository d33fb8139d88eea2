"""Read published Vision Transformer weights: original masked autoencoder, timm, Hugging Face.

Files are read without pickled code: safetensors, or ``torch.load(weights_only=True)``. A checkpoint of Lightning names
classes of its training beside the weights: empty stand-ins replace them, and nothing of them runs. An unknown weight is
an error, since the encoder without it would compute something else; only heads behind the features are left out.
"""

import argparse
import math
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from data_prep.bounded_reading import read_json
from mae_rad.encoders.positions import sincos_positions
from mae_rad.errors import WeightsError

FILES = ("model.safetensors", "pytorch_model.bin")
"""Weight files of a downloaded model folder."""

_HEADS = re.compile(r"^(head|head_drop|fc_norm|pre_logits|pooler|classifier|fc|embeddings\.mask_token)(\.|$)")
_PART = r"\.(weight|bias)$"

_TIMM_BLOCK = r"\.(\d+)\.(norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)" + _PART
_ORIGINAL = {  # timm's names, which the original repository shares
    r"^cls_token$": "encoder.cls",
    r"^pos_embed$": "encoder.positions",
    r"^patch_embed\.proj" + _PART: r"encoder.embedding.\1",
    r"^blocks" + _TIMM_BLOCK: r"encoder.blocks.\1.\2.\3",
    r"^norm" + _PART: r"encoder.norm.\1",
    r"^mask_token$": "decoder.mask_token",
    r"^decoder_pos_embed$": "decoder.positions",
    r"^decoder_embed" + _PART: r"decoder.embedding.\1",
    r"^decoder_blocks" + _TIMM_BLOCK: r"decoder.blocks.\1.\2.\3",
    r"^decoder_norm" + _PART: r"decoder.norm.\1",
    r"^decoder_pred" + _PART: r"decoder.head.\1",
}


def _layers(source: str, target: str) -> dict[str, str]:
    """Patterns of Hugging Face's layer names, before and since transformers 5."""
    inside = {
        "layernorm_before": "norm1",
        "layernorm_after": "norm2",
        r"attention\.(?:attention\.query|q_proj)": "attn.query",
        r"attention\.(?:attention\.key|k_proj)": "attn.key",
        r"attention\.(?:attention\.value|v_proj)": "attn.value",
        r"attention\.(?:output\.dense|o_proj)": "attn.proj",
        r"(?:intermediate\.dense|mlp\.fc1)": "mlp.fc1",
        r"(?:output\.dense|mlp\.fc2)": "mlp.fc2",
    }
    return {rf"^{source}\.(\d+)\.{pattern}{_PART}": rf"{target}.\1.{name}.\2" for pattern, name in inside.items()}


_HUGGING_FACE = {
    r"^embeddings\.cls_token$": "encoder.cls",
    r"^embeddings\.position_embeddings$": "encoder.positions",
    r"^embeddings\.patch_embeddings\.projection" + _PART: r"encoder.embedding.\1",
    **_layers(r"(?:encoder\.layer|layers)", "encoder.blocks"),
    r"^layernorm" + _PART: r"encoder.norm.\1",
    r"^decoder\.mask_token$": "decoder.mask_token",
    r"^decoder\.decoder_pos_embed$": "decoder.positions",
    r"^decoder\.decoder_embed" + _PART: r"decoder.embedding.\1",
    **_layers(
        r"decoder\.decoder_(?:layers|encoder\.layer)", "decoder.blocks"
    ),  # the second name in transformers 5 only
    r"^decoder\.decoder_norm" + _PART: r"decoder.norm.\1",
    r"^decoder\.decoder_pred" + _PART: r"decoder.head.\1",
}

_WRAPPERS = re.compile(r"^(?:module\.|net\.|_orig_mod\.)+")
"""What training programs put before the names of weights: parallel and compiled modules, Lightning's attribute."""
_LIGHTNING = "pytorch-lightning_version"

_TYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
"""Types of weights; all others are quantised."""
MAX_EPSILON = 1e-5
"""Largest epsilon of a layer norm that counts as that of this package, 1e-6: the features differ by rounding."""
_GELU = {"gelu", "gelu_python"}
_LFS = b"version https://git-lfs"
"""Beginning of a file that stands for another one in a repository."""

LAYOUTS = {
    "original or timm": ("patch_embed.proj.weight", _ORIGINAL),
    "Hugging Face": ("embeddings.patch_embeddings.projection.weight", _HUGGING_FACE),
}


class PublishedWeights(NamedTuple):
    """Weights under this package's names, in the shapes of the source.

    Attributes:
        layout: naming scheme of the source.
        weights: ``encoder.…``, and ``decoder.…`` where the file holds one; ``….positions`` are the tables.
        left_out: names of the heads that are left out.
    """

    layout: str
    weights: dict[str, Tensor]
    left_out: list[str]


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a file of weights, or a downloaded model folder, under the names of the source.

    Raises:
        WeightsError: the file cannot be read, or holds no mapping of weights.
    """
    return _unwrap(_load(_weights_file(path)), path)


def read_published(path: Path) -> PublishedWeights:
    """Read a Vision Transformer from a file of weights, or a downloaded model folder.

    Raises:
        WeightsError: the file cannot be read, has no known layout, or holds weights that the encoder does not have.
    """
    state = read_state(path)
    for layout, (mark, table) in LAYOUTS.items():
        prefix = next((name.removesuffix(mark) for name in state if name.endswith(mark)), None)
        if prefix is not None and f"{prefix}fc_norm.weight" in state:
            raise WeightsError(
                f"{path} pools before its last norm (fc_norm of global_pool=avg), which this encoder does not. Give"
                " weights that have norm.weight."
            )
        if prefix is not None:
            weights, left_out = _rename({name.removeprefix(prefix): value for name, value in state.items()}, table)
            return PublishedWeights(layout, _join_qkv(weights), left_out)
    raise WeightsError(
        f"{path} has no patch embedding; its first weights are {', '.join(sorted(state)[:3])}. Give a Vision"
        " Transformer of the original masked autoencoder, timm or Hugging Face, or timm=NAME of a network of timm."
    )


def source_config(path: Path) -> dict[str, Any]:
    """Read the ``config.json`` of a downloaded model; empty without one."""
    return _json(_folder(path) / "config.json")


def source_facts(path: Path) -> dict[str, Any]:
    """Read mean, std and heads from the configuration files of a downloaded model: timm's or Hugging Face's."""
    config, inputs = source_config(path), _json(_folder(path) / "preprocessor_config.json")
    timm = config.get("pretrained_cfg") or {}
    facts = {
        "mean": timm.get("mean") or inputs.get("image_mean"),
        "std": timm.get("std") or inputs.get("image_std"),
        "heads": config.get("num_attention_heads"),
        "decoder_heads": config.get("decoder_num_attention_heads"),
    }
    return {name: value for name, value in facts.items() if value is not None}


def check_arithmetic(path: Path) -> None:
    """Refuse a model whose configuration states another activation or epsilon than that of the encoder.

    Args:
        path: file of weights, or downloaded model folder.

    Raises:
        WeightsError: the configuration beside the weights states another one.
    """
    config = source_config(path)
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
    heads = _arguments(source_config(path)).get("num_heads")
    return {"heads": heads} if isinstance(heads, int) else {}


def _arguments(config: dict[str, Any]) -> dict[str, Any]:
    arguments = config.get("model_args")
    return arguments if isinstance(arguments, dict) else {}


def _json(path: Path) -> dict[str, Any]:
    try:
        value = read_json(path)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _folder(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _weights_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    for name in FILES:
        if (path / name).is_file():
            return path / name
    if any(path.glob("*.index.json")):
        raise WeightsError(f"the weights of {path} are in several files. Save them as one model.safetensors.")
    raise WeightsError(f"{path} holds neither {' nor '.join(FILES)}. Give the file of the weights.")


def _load(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            if file.read(len(_LFS)) == _LFS:
                raise WeightsError(f"{path} is a pointer of Git LFS, not the weights. Fetch them: git lfs pull")
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals([argparse.Namespace]):  # the original's training checkpoints hold one
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(f"{path} does not exist. Give a .pth, .bin or .safetensors file.") from None
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a safetensors file ({error}). Download it again.") from None
    except pickle.UnpicklingError:
        if (checkpoint := _load_lightning(path)) is not None:
            return checkpoint
        raise WeightsError(
            f"{path} holds more than weights, and unpickling it could run code. Save its state_dict as safetensors."
        ) from None
    except (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{path} cannot be read as weights ({type(error).__name__}). Download it again.") from None


class _StandIn:
    """Takes the place of an object that is no weight; it holds nothing, whatever it is made of."""

    def __new__(cls, *values: object, **named: object) -> Self:
        """Make an empty one."""
        del values, named
        return super().__new__(cls)

    def __init__(self, *values: object, **named: object) -> None:
        """Accept anything."""

    def __setstate__(self, state: object) -> None:
        """Accept anything."""


def _load_lightning(path: Path) -> dict[str, Any] | None:
    """The weights of a checkpoint of Lightning, whose other objects are replaced; None where it is none."""
    try:
        named = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        stand_ins = [(type(name.rpartition(".")[2], (_StandIn,), {}), name) for name in named]
        with torch.serialization.safe_globals([argparse.Namespace, *stand_ins]):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, TypeError, pickle.UnpicklingError):
        return None
    if not isinstance(loaded, dict) or _LIGHTNING not in loaded or not isinstance(loaded.get("state_dict"), Mapping):
        return None
    return {"state_dict": loaded["state_dict"]}


def _unwrap(loaded: Any, path: Path) -> dict[str, Tensor]:
    for wrapper in ("model", "state_dict"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise WeightsError(f"{path} holds no mapping of weights. Give a state_dict.")
    named = {_WRAPPERS.sub("", str(name)): value for name, value in loaded.items()}
    if len(named) < len(loaded):
        raise WeightsError(f"{path} holds two models of the same names. Give the state_dict of one.")
    return named


def _rename(state: Mapping[str, Tensor], table: Mapping[str, str]) -> tuple[dict[str, Tensor], list[str]]:
    weights: dict[str, Tensor] = {}
    left_out, unknown = [], []
    for name, value in state.items():
        renamed = next((re.sub(form, new, name) for form, new in table.items() if re.search(form, name)), None)
        if renamed is not None:
            if value.dtype not in _TYPES:
                raise WeightsError(
                    f"{name} is {str(value.dtype).removeprefix('torch.')}, and its scale is not known. Give the weights"
                    " before they were quantised."
                )
            weights[renamed] = value.double()
        elif _HEADS.search(name):
            left_out.append(name)
        else:
            unknown.append(name)
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise WeightsError(
            f"a plain Vision Transformer does not have these weights: {', '.join(sorted(unknown)[:5])}{more}."
            " Give the weights of a plain Vision Transformer."
        )
    return weights, sorted(left_out)


def _join_qkv(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    joined = {name: value for name, value in weights.items() if not re.search(r"\.attn\.(query|key|value)\.", name)}
    for name in weights:
        if ".attn.query." in name:
            parts = [weights.get(name.replace("query", part)) for part in ("query", "key", "value")]
            if all(part is not None for part in parts):  # otherwise it is reported as missing
                joined[name.replace("query", "qkv")] = torch.cat([part for part in parts if part is not None])
    return joined


def sincos_grid(table: Tensor) -> tuple[int, int] | None:
    """Find the grid whose sine-cosine positions a table holds.

    Args:
        table: [1 + N, dim] position of the class token, then of the patches.

    Returns:
        (rows, columns), of several the most square; None where the positions are others, such as learned ones.
    """
    count = len(table) - 1
    if table.shape[1] % 4 or count < 1:
        return None
    divisors = [side for side in range(1, count + 1) if count % side == 0]
    for rows in sorted(divisors, key=lambda side: abs(math.log(side * side / count))):
        grid = torch.cartesian_prod(torch.arange(rows), torch.arange(count // rows)).to(table.dtype)
        if torch.allclose(table[1:], sincos_positions(grid, table.shape[1]), rtol=0, atol=_rounding(table)):
            return rows, count // rows
    return None


def _rounding(table: Tensor) -> float:
    """Largest error of positions, which are from -1 to 1, by the type in which the source saved them."""
    for dtype, error in ((torch.bfloat16, 2**-8), (torch.float16, 2**-11)):
        if torch.equal(table.to(dtype).to(table.dtype), table):
            return error
    return 1e-4
