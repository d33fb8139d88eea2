"""Converted weights give the published features; unsuitable ones are refused by name."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from mae_rad.data.batch import Patches
from mae_rad.encoders.blocks import Shape
from mae_rad.errors import WeightsError
from mae_rad.export.convert import IMAGENET, ConvertSettings, convert_file, main
from mae_rad.export.encoder_folder import load_encoder
from mae_rad.losses import patchify, sincos_positions
from mae_rad.objectives.mae_decoder import Decoder
from tests.references.published_masking import random_masking

DIM, DEPTH, HEADS, PATCH, GRID = 32, 2, 2, 4, 14
DECODER_DIM, DECODER_HEADS = 16, 4
FITTING = ConvertSettings(heads=HEADS, decoder_heads=DECODER_HEADS)
Weights = dict[str, Tensor]


def table(dim: int, grid: int = GRID) -> Tensor:
    coords = torch.cartesian_prod(torch.arange(grid), torch.arange(grid)).double()
    return torch.cat([torch.zeros(1, dim), sincos_positions(coords, dim).float()])[None]


class Original(nn.Module):
    """The published model with its names, put together from timm's parts."""

    def __init__(self, colours: int = 3) -> None:
        super().__init__()
        self.encoder = timm_vit(colours)
        parts = VisionTransformer(img_size=PATCH * GRID, patch_size=PATCH, embed_dim=DECODER_DIM, depth=1, num_heads=4)
        self.embed = nn.Linear(DIM, DECODER_DIM)
        self.blocks = parts.blocks
        self.norm = nn.LayerNorm(DECODER_DIM, eps=1e-6)
        self.pred = nn.Linear(DECODER_DIM, PATCH * PATCH * colours)
        self.mask_token = nn.Parameter(torch.randn(1, 1, DECODER_DIM))

    def weights(self) -> Weights:
        names = {"embed": "decoder_embed", "norm": "decoder_norm", "pred": "decoder_pred", "blocks": "decoder_blocks"}
        state = {name: value for name, value in self.encoder.state_dict().items() if not name.startswith("head")}
        for name, value in self.state_dict().items():
            first, _, rest = name.partition(".")
            if first in names:
                state[f"{names[first]}.{rest}"] = value
        return state | {"mask_token": self.mask_token.detach(), "decoder_pos_embed": table(DECODER_DIM)}

    def predict(self, tokens: Tensor, restore: Tensor) -> Tensor:
        """[B, N, p*p] for encoded visible tokens with their class token, the colours averaged."""
        x = self.embed(tokens)
        hidden = self.mask_token.expand(len(x), restore.shape[1] + 1 - x.shape[1], -1)
        x_ = torch.cat([x[:, 1:], hidden], dim=1)
        x_ = x_.gather(1, restore[..., None].expand(-1, -1, DECODER_DIM))
        x = torch.cat([x[:, :1], x_], dim=1) + table(DECODER_DIM)
        pixels: Tensor = self.pred(self.norm(self.blocks(x)))[:, 1:]
        return pixels.unflatten(-1, (PATCH * PATCH, -1)).mean(-1)


def timm_vit(colours: int = 3, **more: Any) -> VisionTransformer:
    torch.manual_seed(0)
    model = VisionTransformer(
        img_size=PATCH * GRID, patch_size=PATCH, in_chans=colours, embed_dim=DIM, depth=DEPTH, num_heads=HEADS,
        num_classes=3, **more,
    )  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        model.pos_embed.copy_(table(DIM))
        model.pos_embed[:, 0] = 0.3  # of the class token: zero as published, but it may be anything
    return model.eval()


def film() -> tuple[Tensor, Patches]:
    """A grey film [1, 1, H, W] of display values, and its patches."""
    draw = torch.Generator().manual_seed(1)
    side = PATCH * GRID
    image = torch.randint(0, 65536, (1, 1, side, side), generator=draw, dtype=torch.int32)
    coords = torch.cartesian_prod(torch.arange(GRID), torch.arange(GRID)).float()[None]
    return image, Patches(patchify(image, PATCH).to(torch.uint16), coords, torch.full((1, 2), float(GRID)))


def published_features(model: VisionTransformer) -> Tensor:
    mean, std = (torch.tensor(part)[:, None, None] for part in IMAGENET)
    colours = (film()[0].float() / 65535).expand(-1, 3, -1, -1)
    features: Tensor = model.forward_features((colours - mean) / std)
    return features


def to_hugging_face(weights: Weights, *, since_5: bool) -> Weights:
    """The same weights by the names of ViTMAEForPreTraining, before or since transformers 5."""
    layer = "layers" if since_5 else "encoder.layer"
    inside = {
        "attn.proj": ("attention.output.dense", "attention.o_proj"), "norm1": ("layernorm_before",) * 2,
        "norm2": ("layernorm_after",) * 2, "mlp.fc1": ("intermediate.dense", "mlp.fc1"),
        "mlp.fc2": ("output.dense", "mlp.fc2"),
    }  # fmt: skip
    plain = {
        "cls_token": "vit.embeddings.cls_token", "pos_embed": "vit.embeddings.position_embeddings",
        "patch_embed.proj.weight": "vit.embeddings.patch_embeddings.projection.weight",
        "patch_embed.proj.bias": "vit.embeddings.patch_embeddings.projection.bias",
        "norm.weight": "vit.layernorm.weight", "norm.bias": "vit.layernorm.bias",
    }  # fmt: skip
    renamed = {}
    for name, value in weights.items():
        stack, _, rest = name.partition("blocks.")
        if not rest:
            renamed[plain.get(name, f"decoder.{name}")] = value
            continue
        place = f"decoder.decoder_layers.{rest[0]}" if stack else f"vit.{layer}.{rest[0]}"
        part, _, kind = rest[2:].rpartition(".")
        if part == "attn.qkv":
            for own, third in zip(("query", "key", "value"), value.chunk(3), strict=True):
                attention = f"attention.{own[0]}_proj" if since_5 else f"attention.attention.{own}"
                renamed[f"{place}.{attention}.{kind}"] = third.clone()
        else:
            renamed[f"{place}.{inside[part][since_5]}.{kind}"] = value
    return renamed


def save(weights: Weights, path: Path) -> Path:
    """As the suffix says: .pth as the original repository does, with what its training adds."""
    if path.suffix == ".safetensors":
        save_file({name: value.contiguous() for name, value in weights.items()}, path)
    else:
        settings = argparse.Namespace(model="mae_vit_base_patch16", lr=1e-4)
        torch.save({"model": weights, "epoch": 3, "args": settings}, path)
    return path


def assert_features(folder: Path, expected: Tensor) -> None:
    encoder, _ = load_encoder(folder)
    with torch.no_grad():
        features = encoder(film()[1])
    torch.testing.assert_close(features.tokens, expected[:, 1:], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(features.cls, expected[:, 0], rtol=1e-4, atol=1e-4)


def test_timm_weights_give_timms_features(tmp_path: Path) -> None:
    model = timm_vit()
    report = convert_file(save(model.state_dict(), tmp_path / "w.safetensors"), tmp_path / "e", FITTING)
    assert_features(tmp_path / "e", published_features(model))
    assert "left out: head.bias, head.weight" in report[0]
    assert not (tmp_path / "e" / "objective.safetensors").exists()
    card = load_encoder(tmp_path / "e")[1]
    assert (card.preprocessing.tokens, card.preprocessing.patch) == (196, PATCH)
    assert card.provenance["converted_from"] == "original or timm"
    assert str(tmp_path) not in (tmp_path / "e" / "encoder.json").read_text()


@pytest.mark.parametrize("source", ["original", "hugging face 4", "hugging face 5"])
def test_an_autoencoder_with_decoder_keeps_features_and_predictions(source: str, tmp_path: Path) -> None:
    model = Original().eval()
    weights = model.weights()
    if source != "original":
        weights = to_hugging_face(weights, since_5=source.endswith("5"))
    path = save(weights, tmp_path / ("w.pth" if source == "original" else "w.safetensors"))
    convert_file(path, tmp_path / "e", FITTING)
    expected = published_features(model.encoder)
    assert_features(tmp_path / "e", expected)

    decoder = Decoder(DIM, PATCH**2, Shape(DECODER_DIM, 1, DECODER_HEADS), attention="self")
    held = load_file(tmp_path / "e" / "objective.safetensors")
    decoder.load_state_dict({name.removeprefix("decoder."): value for name, value in held.items()})
    masking = random_masking(torch.rand(1, GRID * GRID, generator=torch.Generator().manual_seed(2)), 49)
    encoder, _ = load_encoder(tmp_path / "e")
    patches = film()[1]
    with torch.no_grad():
        features = encoder(patches)  # of all patches, but decoded as if some were hidden: the decoder is what is asked
        seen = features._replace(tokens=features.tokens[:, masking.visible[0]])
        coords = patches.coords
        guess = decoder(seen, coords[:, masking.visible[0]], coords[:, masking.removed[0]])
        kept = torch.cat([expected[:, :1], expected[:, 1:][:, masking.visible[0]]], dim=1)
        theirs = model.predict(kept, masking.restore)[:, masking.removed[0]]
    torch.testing.assert_close(guess, theirs, rtol=1e-3, atol=1e-4)


def test_it_equals_transformers_own_model(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ViTMAEConfig(
        hidden_size=DIM, num_hidden_layers=DEPTH, num_attention_heads=HEADS, intermediate_size=4 * DIM,
        image_size=PATCH * GRID, patch_size=PATCH, decoder_hidden_size=DECODER_DIM, decoder_num_hidden_layers=1,
        decoder_num_attention_heads=DECODER_HEADS, decoder_intermediate_size=4 * DECODER_DIM, mask_ratio=0.0,
        layer_norm_eps=1e-6,
    )  # fmt: skip
    model = transformers.ViTMAEForPreTraining(config).eval()
    with torch.no_grad():  # published files hold the tables; a fresh model of some versions has zeros
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        model.vit.embeddings.position_embeddings.copy_(table(DIM))
        model.decoder.decoder_pos_embed.copy_(table(DECODER_DIM))
    model.save_pretrained(tmp_path / "theirs")
    convert_file(tmp_path / "theirs", tmp_path / "e", ConvertSettings())
    mean, std = (torch.tensor(part)[:, None, None] for part in IMAGENET)
    pixels = ((film()[0].float() / 65535).expand(-1, 3, -1, -1) - mean) / std
    with torch.no_grad():
        theirs = model.vit(pixels, noise=torch.arange(GRID * GRID)[None].float()).last_hidden_state
    assert_features(tmp_path / "e", theirs)


def test_heads_and_colours_are_read_from_a_model_folder(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    save(to_hugging_face(Original().weights(), since_5=False), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"num_attention_heads": 2, "decoder_num_attention_heads": 4}))
    inputs = {"image_mean": IMAGENET[0], "image_std": IMAGENET[1]}
    (folder / "preprocessor_config.json").write_text(json.dumps(inputs))
    report = convert_file(folder, tmp_path / "e", ConvertSettings())
    assert not any("assumed" in line for line in report)
    assert load_encoder(tmp_path / "e")[1].encoder.shape.heads == 2
    assert_features(tmp_path / "e", published_features(Original().encoder.eval()))


def test_one_channel_weights_keep_their_normalisation(tmp_path: Path) -> None:
    model = timm_vit(colours=1)
    settings = FITTING.model_copy(update={"mean": [0.3], "std": [0.2]})
    convert_file(save(model.state_dict(), tmp_path / "w.safetensors"), tmp_path / "e", settings)
    assert_features(tmp_path / "e", model.forward_features((film()[0].float() / 65535 - 0.3) / 0.2).detach())


def test_learned_positions_are_refused_or_replaced_on_request(tmp_path: Path) -> None:
    model = timm_vit()
    with torch.no_grad():
        model.pos_embed[:, 1:].normal_()
    path = save(model.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="the 196 positions of the source are not those of a sine-cosine grid"):
        convert_file(path, tmp_path / "e", FITTING)
    replaced = FITTING.model_copy(update={"positions": "replace"})
    report = convert_file(path, tmp_path / "e", replaced)
    assert any("positions replaced: the features differ" in line for line in report)
    with torch.no_grad():
        model.pos_embed[:, 1:] = table(DIM)[:, 1:]
    assert_features(tmp_path / "e", published_features(model))


WRONG = {
    "blocks.0.attn.qkv.weight": (None, "attn.qkv.weight is missing"),
    "norm.bias": (None, "norm.bias is missing"),
    "cls_token": (None, "weights are missing: cls"),
    "blocks.1.mlp.fc1.weight": (torch.zeros(64, DIM), r"fc1.weight is \(64, 32\), not \(128, 32\)"),
    "blocks.0.ls1.gamma": (torch.ones(DIM), r"does not have these weights: blocks\.0\.ls1\.gamma"),
    "reg_token": (torch.ones(1, 4, DIM), "does not have these weights: reg_token"),
    "patch_embed.proj.weight": (torch.zeros(DIM, 4, PATCH, PATCH), "1 or 3 colours"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_missing_unknown_or_of_another_shape_is_named(name: str, tmp_path: Path) -> None:
    value, message = WRONG[name]
    weights = {key: part for key, part in timm_vit().state_dict().items() if key != name}
    if value is not None:
        weights[name] = value
    with pytest.raises(WeightsError, match=message):
        convert_file(save(weights, tmp_path / "w.safetensors"), tmp_path / "e", FITTING)
    assert not (tmp_path / "e").exists()


class Harmful:
    """Pickled code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("run",)


def test_files_with_code_or_without_weights_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": {"cls_token": Harmful()}}, tmp_path / "bad.pth")
    (tmp_path / "torn.pth").write_bytes(b"PK\x03\x04 torn")
    (tmp_path / "torn.safetensors").write_bytes(b"\x80")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / "resnet.pth")
    (tmp_path / "empty").mkdir()
    for name, message in {
        "bad.pth": "could run code",
        "torn.pth": "cannot be read as weights",
        "torn.safetensors": "not a safetensors file",
        "list.pth": "no mapping of weights",
        "resnet.pth": "no patch embedding; its first weights are conv1.weight",
        "empty": "holds neither model.safetensors nor pytorch_model.bin",
        "nowhere.pth": "does not exist",
    }.items():
        with pytest.raises(WeightsError, match=message):
            convert_file(tmp_path / name, tmp_path / "e", FITTING)
    assert "run" not in capsys.readouterr().out


def test_the_command_reports_and_fails_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(timm_vit().state_dict(), tmp_path / "w.pth")
    assert main([str(path), "--out", str(tmp_path / "e"), "heads=2"]) == 0
    out = capsys.readouterr().out
    assert "mean of the source's colours assumed: 0.485, 0.456, 0.406" in out
    assert "positions computed; they equal the source's" in out
    assert main([str(path), "--out", str(tmp_path / "f"), "heads=5"]) == 2
    assert "Give the heads=N of the source" in capsys.readouterr().err


def _timm_file(folder: Path, **more: Tensor) -> Path:
    folder.mkdir()
    save_file({**timm_vit(3).state_dict(), **more}, folder / "model.safetensors")
    return folder


def test_heads_that_nobody_states_are_not_guessed(tmp_path: Path) -> None:
    folder = _timm_file(tmp_path / "m")
    with pytest.raises(WeightsError, match="do not show the number of attention heads"):
        convert_file(folder, tmp_path / "e", ConvertSettings())
    (folder / "config.json").write_text(json.dumps({"model_args": {"num_heads": 4}}))
    convert_file(folder, tmp_path / "e", ConvertSettings())
    assert load_encoder(tmp_path / "e")[1].encoder.shape.heads == 4


@pytest.mark.parametrize(
    "config",
    [
        {"hidden_act": "relu"},
        {"hidden_act": "quick_gelu"},
        {"layer_norm_eps": 0.01},
        {"model_args": {"act_layer": "silu"}},
    ],
)
def test_another_activation_or_epsilon_is_refused(config: dict[str, Any], tmp_path: Path) -> None:
    folder = _timm_file(tmp_path / "m")
    (folder / "config.json").write_text(json.dumps({"num_attention_heads": HEADS, "hidden_act": "gelu"} | config))
    with pytest.raises(WeightsError, match="Only encoders with"):
        convert_file(folder, tmp_path / "e", FITTING)
    (folder / "config.json").write_text(json.dumps({"hidden_act": "gelu", "layer_norm_eps": 1e-12}))
    convert_file(folder, tmp_path / "e", FITTING)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_half_precision_are_converted_as_they_are(dtype: torch.dtype, tmp_path: Path) -> None:
    state = {name: value.to(dtype) for name, value in timm_vit(3).state_dict().items()}
    save_file(state, tmp_path / "half.safetensors")
    report = convert_file(tmp_path / "half.safetensors", tmp_path / "e", FITTING)
    assert "positions computed; they equal the source's" in report
    state["pos_embed"] = state["pos_embed"] + 0.02
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="positions of the source are not those"):
        convert_file(tmp_path / "other.safetensors", tmp_path / "f", FITTING)


def test_quantised_weights_are_refused(tmp_path: Path) -> None:
    name = "blocks.0.mlp.fc1.weight"
    folder = _timm_file(tmp_path / "m", **{name: torch.ones(4 * DIM, DIM, dtype=torch.int8)})
    with pytest.raises(WeightsError, match=f"{name} is int8"):
        convert_file(folder, tmp_path / "e", FITTING)


def test_what_is_no_file_of_weights_is_told_as_what_it_is(tmp_path: Path) -> None:
    pointer = tmp_path / "pointer.pth"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    with pytest.raises(WeightsError, match="pointer of Git LFS"):
        convert_file(pointer, tmp_path / "e", FITTING)
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(WeightsError, match="in several files"):
        convert_file(tmp_path / "parts", tmp_path / "e", FITTING)
    pooled = _timm_file(tmp_path / "pooled", **{"fc_norm.weight": torch.ones(DIM), "fc_norm.bias": torch.zeros(DIM)})
    with pytest.raises(WeightsError, match="pools before its last norm"):
        convert_file(pooled, tmp_path / "e", FITTING)
    with pytest.raises(WeightsError, match="Convert published weights first"):
        load_encoder(pointer)
