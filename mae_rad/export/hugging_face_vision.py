"""Vision Transformers of Hugging Face's transformers as networks of timm: DINOv2 (RAD-DINO), DINOv3, CLIP, SigLIP, ViT.

``config.json`` names the type and the sizes; names of weights before and since transformers 5 are known. What is not of
the image encoder (text encoder, projections, mask token) is left out, and any other name is an error of the caller.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mae_rad.errors import WeightsError

ARCHITECTURES = {
    "dinov2": "vit_small_patch14_dinov2",
    "dinov2_with_registers": "vit_small_patch14_reg4_dinov2",
    "dinov3_vit": "vit_small_patch16_dinov3_qkvb",
    "clip_vision_model": "vit_base_patch16_clip_224",
    "siglip_vision_model": "vit_base_patch16_siglip_224",
    "vit": "vit_base_patch16_224",
}
"""Type of a model → timm's architecture, whose sizes are given as arguments."""

_WHOLE = {"clip": "clip_vision_model", "siglip": "siglip_vision_model"}
"""Type of a model of images and texts → type of its image encoder."""

_QUICK_GELU = {"vit_base_patch16_clip_224": "vit_base_patch16_clip_quickgelu_224"}

_LEFT_OUT = re.compile(
    r"^(text_model\.|visual_projection\.|text_projection\.|logit_scale$|logit_bias$|embeddings\.mask_token$"
    r"|embeddings\.position_ids$|pooler\.|classifier\.)"
)
_BLOCK = r"^(?:encoder\.)?layers?\.(\d+)\."
_NAMES = {
    r"^embeddings\.(?:cls_token|class_embedding)$": "cls_token",
    r"^embeddings\.register_tokens$": "reg_token",
    r"^embeddings\.(?:position_embeddings|position_embedding\.weight)$": "pos_embed",
    r"^embeddings\.(?:patch_embeddings\.projection|patch_embeddings|patch_embedding)\.": "patch_embed.proj.",
    r"^pre_layrnorm\.": "norm_pre.",
    r"^(?:layernorm|post_layernorm|norm)\.": "norm.",
    _BLOCK + r"(?:norm1|layer_norm1|layernorm_before)\.": r"blocks.\1.norm1.",
    _BLOCK + r"(?:norm2|layer_norm2|layernorm_after)\.": r"blocks.\1.norm2.",
    _BLOCK + r"(?:attention|self_attn)\.(?:attention\.)?(?:q_proj|query)\.": r"blocks.\1.attn.query.",
    _BLOCK + r"(?:attention|self_attn)\.(?:attention\.)?(?:k_proj|key)\.": r"blocks.\1.attn.key.",
    _BLOCK + r"(?:attention|self_attn)\.(?:attention\.)?(?:v_proj|value)\.": r"blocks.\1.attn.value.",
    _BLOCK + r"(?:attention|self_attn)\.(?:o_proj|out_proj|output\.dense)\.": r"blocks.\1.attn.proj.",
    _BLOCK + r"(?:mlp\.fc1|mlp\.up_proj|intermediate\.dense)\.": r"blocks.\1.mlp.fc1.",
    _BLOCK + r"(?:mlp\.fc2|mlp\.down_proj|output\.dense)\.": r"blocks.\1.mlp.fc2.",
    _BLOCK + r"layer_scale1\.lambda1$": r"blocks.\1.ls1.gamma",
    _BLOCK + r"layer_scale2\.lambda1$": r"blocks.\1.ls2.gamma",
    r"^head\.probe$": "attn_pool.latent",
    r"^head\.attention\.out_proj\.": "attn_pool.proj.",
    r"^head\.attention\.in_proj_": "attn_pool.in_proj.",
    r"^head\.layernorm\.": "attn_pool.norm.",
    r"^head\.mlp\.": "attn_pool.mlp.",
}


class TimmArchitecture(NamedTuple):
    """A network of timm: its name, and the arguments that differ from those of the name."""

    name: str
    arguments: dict[str, Any]


def timm_architecture(config: Mapping[str, Any]) -> TimmArchitecture | None:
    """Return the network of timm that a ``config.json`` of transformers describes; None for another type.

    Args:
        config: content of the file.
    """
    kind = str(config.get("model_type"))
    if kind in _WHOLE:
        kind, config = _WHOLE[kind], config.get("vision_config") or {}
    if kind not in ARCHITECTURES:
        return None
    dim, hidden = config.get("hidden_size", 768), config.get("intermediate_size")
    arguments = {
        "img_size": config.get("image_size", 224),
        "patch_size": config.get("patch_size", 16),
        "embed_dim": dim,
        "depth": config.get("num_hidden_layers", 12),
        "num_heads": config.get("num_attention_heads", 12),
        "mlp_ratio": hidden / dim if hidden else config.get("mlp_ratio", 4),
    }
    if "register" in kind or kind == "dinov3_vit":
        arguments["num_reg_tokens" if kind == "dinov3_vit" else "reg_tokens"] = config.get("num_register_tokens", 4)
    if config.get("hidden_act") == "gelu_pytorch_tanh" or (
        kind == "siglip_vision_model" and "hidden_act" not in config
    ):
        arguments["act_layer"] = "gelu_tanh"
    name = ARCHITECTURES[kind]
    if config.get("hidden_act") == "quick_gelu" or (kind == "clip_vision_model" and "hidden_act" not in config):
        name = _QUICK_GELU.get(name, name)
    return TimmArchitecture(name, arguments)


def timm_names(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Rename weights of transformers to timm's names.

    Args:
        state: name in transformers → weight.

    Returns:
        Name in timm → weight, and the names that are left out.

    Raises:
        WeightsError: a weight has another name than those of the known types.
    """
    prefix = next((name.partition("embeddings.")[0] for name in state if ".patch_embedding" in f".{name}"), "")
    renamed: dict[str, Tensor] = {}
    left_out: list[str] = []
    unknown: list[str] = []
    for name, value in state.items():
        short = name.removeprefix(prefix)
        short = short.removeprefix("model.") if short.startswith("model.layer.") else short
        target = next((re.sub(form, new, short) for form, new in _NAMES.items() if re.search(form, short)), None)
        if target is not None:
            renamed[target] = value
        else:
            (left_out if _LEFT_OUT.search(short) else unknown).append(name)
    if unknown:
        raise WeightsError(f"the image encoders that are known do not have these weights: {', '.join(unknown[:5])}.")
    return _timm_layout(renamed), left_out


def _timm_layout(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Join and reshape what timm stores otherwise."""
    if "pos_embed" in weights and weights["pos_embed"].ndim == 2:
        weights["pos_embed"] = weights["pos_embed"][None]
    if "cls_token" in weights:
        weights["cls_token"] = weights["cls_token"].reshape(1, 1, -1)
    if "reg_token" in weights and "pos_embed" in weights:  # timm's registers lie outside of the positions
        weights["cls_token"] = weights["cls_token"] + weights["pos_embed"][:, :1]
        weights["pos_embed"] = weights["pos_embed"][:, 1:]
    for kind in ("weight", "bias"):
        if f"attn_pool.in_proj.{kind}" in weights:
            query, rest = _split_query(weights.pop(f"attn_pool.in_proj.{kind}"))
            weights |= {f"attn_pool.q.{kind}": query, f"attn_pool.kv.{kind}": rest}
    return _join_attention(weights)


def _split_query(joined: Tensor) -> tuple[Tensor, Tensor]:
    third = len(joined) // 3
    return joined[:third], joined[third:]


def _join_attention(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Join query, key and value; without a bias of the key (DINOv3) timm has separate ones, and another layer scale."""
    out = {name: value for name, value in weights.items() if not re.search(r"\.attn\.(query|key|value)\.", name)}
    for name in [name for name in weights if ".attn.query." in name]:
        parts = [weights.get(name.replace("query", part)) for part in ("query", "key", "value")]
        if all(part is not None for part in parts):
            out[name.replace("query", "qkv")] = torch.cat([part for part in parts if part is not None])
        else:
            block = name.removesuffix("query.bias")
            out |= {f"{block}q_bias": weights[name], f"{block}v_bias": weights[name.replace("query", "value")]}
    if any(name.endswith(".q_bias") for name in out):
        out = {re.sub(r"\.ls(\d)\.gamma$", r".gamma_\1", name): value for name, value in out.items()}
    return out
