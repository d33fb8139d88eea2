"""Export an encoder as a timm VisionTransformer (Apache-2.0, https://github.com/huggingface/pytorch-image-models).

config.json          as timm writes it: architecture, arguments, mean and standard deviation of the input
model.safetensors    weights under timm's names, positions as a table for one film size
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from mae_rad.encoders.vit import EncoderSettings, ViT
from mae_rad.export.fixed_size import FilmSize, kernels

ARCHITECTURES = {
    "vit_tiny": "vit_tiny_patch16_224",
    "vit_small": "vit_small_patch16_224",
    "vit_base": "vit_base_patch16_224",
    "vit_large": "vit_large_patch16_224",
}
"""Model → timm's architecture; differences from it are given as arguments."""


def timm_weights(encoder: ViT, size: FilmSize) -> dict[str, Tensor]:
    """Rename the weights to timm's names.

    Args:
        encoder: encoder with its weights.
        size: film size of the table of positions.

    Returns:
        Name → float32 weight on the CPU.
    """
    state = {name: value.detach() for name, value in encoder.state_dict().items()}
    weights = {name: value for name, value in state.items() if name.startswith(("blocks.", "norm."))}
    weights["patch_embed.proj.weight"] = kernels(encoder, size.channels)
    weights["patch_embed.proj.bias"] = state["embedding.bias"]
    weights["cls_token"] = state["cls"][None, None]
    weights["pos_embed"] = size.positions(encoder.patch, encoder.dim)
    return {name: value.to("cpu", torch.float32).contiguous() for name, value in weights.items()}


def timm_config(settings: EncoderSettings, size: FilmSize) -> dict[str, Any]:
    """Build timm's ``config.json``; ``model_args`` are the arguments of ``timm.create_model``.

    Args:
        settings: settings of the encoder.
        size: film size that the export is fixed to.
    """
    dim, depth, heads = settings.shape
    pool = "avg" if settings.pool == "mean" else "token"
    return {
        "architecture": ARCHITECTURES[settings.model],
        "num_classes": 0,
        "num_features": dim,
        "global_pool": pool,
        "model_args": {
            "img_size": [size.rows, size.columns],
            "patch_size": settings.patch,
            "in_chans": size.channels,
            "embed_dim": dim,
            "depth": depth,
            "num_heads": heads,
            "global_pool": pool,
            "fc_norm": False,  # tokens are normalised, then pooled
            "num_classes": 0,
        },
        "pretrained_cfg": {
            "input_size": [size.channels, size.rows, size.columns],
            "fixed_input_size": True,
            "mean": [settings.mean] * size.channels,
            "std": [settings.std] * size.channels,
            "num_classes": 0,
            "pool_size": None,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        },
    }


def write_timm(encoder: ViT, settings: EncoderSettings, size: FilmSize, folder: Path) -> str:
    """Write a folder for ``timm.create_model("local-dir:…")``.

    Args:
        encoder: encoder with its weights.
        settings: its settings.
        size: film size that the export is fixed to.
        folder: existing folder to write into.

    Returns:
        Markdown that shows how to load the folder.
    """
    save_file(timm_weights(encoder, size), folder / "model.safetensors", metadata={"format": "pt"})
    config = timm_config(settings, size)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    channels = "one channel" if size.channels == 1 else "three equal channels"
    return f"""```python
import timm

model = timm.create_model("local-dir:this folder", pretrained=True).eval()
# images: [B, {size.channels}, {size.rows}, {size.columns}] float display values in [0, 1], {channels}
pooled = model((images - {settings.mean}) / {settings.std})  # [B, {settings.shape.dim}]
```

Or by hand: `timm.create_model("{config["architecture"]}", pretrained=False, **config["model_args"])`, then
`load_state_dict(safetensors.torch.load_file("model.safetensors"), strict=True)`.
"""
