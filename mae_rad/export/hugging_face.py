"""Export an encoder as Hugging Face's ViTModel, and with its published decoder as ViTMAEForPreTraining.

config.json                 shape of the model
model.safetensors           weights under the names that transformers 4 wrote and 5 still reads
preprocessor_config.json    settings of the image processor
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mae_rad.encoders.blocks import EPSILON, Shape
from mae_rad.encoders.vit import EncoderSettings, ViT
from mae_rad.errors import WeightsError
from mae_rad.export.fixed_size import FilmSize, kernels
from mae_rad.objectives.interface import PixelDecoder

_BLOCK = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}


def write_vit(encoder: ViT, settings: EncoderSettings, size: FilmSize, folder: Path) -> str:
    """Write a folder for ``ViTModel.from_pretrained``.

    Args:
        encoder: encoder with its weights.
        settings: its settings.
        size: film size that the export is fixed to.
        folder: existing folder to write into.

    Returns:
        Markdown that shows how to load the folder.
    """
    _save(_encoder(encoder, size), folder)
    _write(folder / "config.json", {"architectures": ["ViTModel"], "model_type": "vit"} | _shape(settings, size))
    _write(folder / "preprocessor_config.json", _processor(settings, size))
    token = "hidden[:, 0]" if settings.pool == "cls" else "hidden[:, 1:].mean(dim=1)"
    return f"""```python
from transformers import ViTModel

model = ViTModel.from_pretrained("this folder", add_pooling_layer=False)  # its pooling layer was never trained
hidden = model((images - {settings.mean}) / {settings.std}).last_hidden_state
pooled = {token}  # [B, {settings.shape.dim}]
```
{_input_note(size)}"""


def write_vit_mae(encoder: ViT, decoder: PixelDecoder, settings: EncoderSettings, size: FilmSize, folder: Path) -> str:
    """Write a folder for ``ViTMAEForPreTraining.from_pretrained``.

    Args:
        encoder: encoder with its weights.
        decoder: its decoder.
        settings: settings of the encoder.
        size: film size that the export is fixed to, square.
        folder: existing folder to write into.

    Returns:
        Markdown that shows how to load the folder.

    Raises:
        WeightsError: the films are not square, or that class cannot represent the encoder.
    """
    if size.rows != size.columns:
        raise WeightsError(
            f"ViTMAEForPreTraining takes square films only, not {size.rows}x{size.columns}. Give a square --size."
        )
    weights = {f"vit.{name}": value for name, value in _encoder(encoder, size).items()}
    _save(weights | _decoder(decoder, settings, size), folder)
    config = {
        "architectures": ["ViTMAEForPreTraining"],
        "model_type": "vit_mae",
        "decoder_hidden_size": decoder.shape.dim,
        "decoder_num_hidden_layers": decoder.shape.depth,
        "decoder_num_attention_heads": decoder.shape.heads,
        "decoder_intermediate_size": 4 * decoder.shape.dim,
        "mask_ratio": 1 - decoder.visible,
        "norm_pix_loss": decoder.normalised,
    }
    _write(folder / "config.json", config | _shape(settings, size))
    _write(folder / "preprocessor_config.json", _processor(settings, size))
    floor = (
        f"\nIts loss has no variance floor (here {decoder.variance_floor}), so near-black patches weigh more in it."
        if decoder.normalised and decoder.variance_floor
        else ""
    )
    return f"""```python
from transformers import ViTMAEForPreTraining

model = ViTMAEForPreTraining.from_pretrained("this folder")
output = model((images - {settings.mean}) / {settings.std})
output.logits  # [B, N, {settings.patch**2 * size.channels}], the prediction of every patch
```
{_input_note(size)}{floor}
"""


def _encoder(encoder: ViT, size: FilmSize) -> dict[str, Tensor]:
    return {
        "embeddings.cls_token": encoder.cls.detach()[None, None],
        "embeddings.position_embeddings": size.positions(encoder.patch, encoder.dim),
        "embeddings.patch_embeddings.projection.weight": kernels(encoder, size.channels),
        "embeddings.patch_embeddings.projection.bias": encoder.embedding.bias.detach(),
        **_blocks(encoder.blocks, "encoder.layer"),
        **_named(encoder.norm, "layernorm"),
    }


def _decoder(pixels: PixelDecoder, encoder: EncoderSettings, size: FilmSize) -> dict[str, Tensor]:
    decoder = pixels.decoder
    weight, bias = decoder.head.weight.detach(), decoder.head.bias.detach()
    if not pixels.normalised:  # ViTMAE predicts the normalised input, this decoder display values
        weight, bias = weight / encoder.std, (bias - encoder.mean) / encoder.std
    return {
        **_named(decoder.embedding, "decoder.decoder_embed"),
        "decoder.mask_token": decoder.mask_token.detach()[None, None],
        "decoder.decoder_pos_embed": size.positions(encoder.patch, decoder.dim),
        **_blocks(decoder.blocks, "decoder.decoder_layers"),
        **_named(decoder.norm, "decoder.decoder_norm"),
        # The channel is the fastest index of a patch vector.
        "decoder.decoder_pred.weight": weight.repeat_interleave(size.channels, dim=0),
        "decoder.decoder_pred.bias": bias.repeat_interleave(size.channels),
    }


def _blocks(blocks: nn.Module, prefix: str) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}
    for name, value in blocks.state_dict().items():
        number, _, path = name.partition(".")
        part, _, kind = path.rpartition(".")
        if part == "attn.qkv":
            for role, third in zip(("query", "key", "value"), value.chunk(3), strict=True):
                weights[f"{prefix}.{number}.attention.attention.{role}.{kind}"] = third
        else:
            weights[f"{prefix}.{number}.{_BLOCK[part]}.{kind}"] = value
    return weights


def _named(module: nn.Module, prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": value for name, value in module.state_dict().items()}


def _shape(settings: EncoderSettings, size: FilmSize) -> dict[str, Any]:
    shape: Shape = settings.shape
    return {
        "hidden_size": shape.dim,
        "num_hidden_layers": shape.depth,
        "num_attention_heads": shape.heads,
        "intermediate_size": 4 * shape.dim,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": EPSILON,
        "qkv_bias": True,
        "image_size": size.rows if size.rows == size.columns else [size.rows, size.columns],
        "patch_size": settings.patch,
        "num_channels": size.channels,
    }


def _processor(settings: EncoderSettings, size: FilmSize) -> dict[str, Any]:
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": size.rows, "width": size.columns},
        "resample": 2,  # bilinear with antialiasing, the closest to area averaging of its methods
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [settings.mean] * size.channels,
        "image_std": [settings.std] * size.channels,
        "do_convert_rgb": size.channels == 3,
    }


def _input_note(size: FilmSize) -> str:
    channels = "one channel" if size.channels == 1 else "three equal channels"
    return f"""
`images` are [B, {size.channels}, {size.rows}, {size.columns}] float display values in [0, 1], {channels}. The image
processor of this folder takes 8-bit pictures (it divides by 255) and stretches them to {size.rows} x {size.columns};
films of more bits keep them only by the lines above.
"""


def _save(weights: Mapping[str, Tensor], folder: Path) -> None:
    portable = {name: value.detach().to("cpu", torch.float32).contiguous() for name, value in weights.items()}
    save_file(portable, folder / "model.safetensors", metadata={"format": "pt"})


def _write(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
