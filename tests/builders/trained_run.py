"""A run folder as training writes it, and films for comparison with other frameworks."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor, nn

from mae_rad.data.batch import Patches
from mae_rad.data.patch_layout import Region, film_layout
from mae_rad.data.views import cut_into_patches, stack
from mae_rad.encoders.vit import EncoderSettings, Features, ViT, build_encoder
from mae_rad.export.encoder_folder import save_encoder
from mae_rad.objectives import FILM, Objective, ObjectiveSettings

PATCH = 4
ENCODER: dict[str, Any] = {"dim": 32, "depth": 2, "heads": 2, "patch": PATCH, "mean": 0.45, "std": 0.3}
DECODER: dict[str, Any] = {"decoder": "self", "decoder_dim": 16, "decoder_depth": 2, "decoder_heads": 4}


def train(run: Path, settings: ObjectiveSettings, **encoder: Any) -> Objective:
    """Write ``run`` as if trained; every weight differs from its initial value."""
    torch.manual_seed(0)
    chosen = EncoderSettings.model_validate(ENCODER | encoder)
    objective = settings.build({FILM: build_encoder(chosen)})
    stir(objective)
    made = {"tokens": 196, "precision": "f32", "provenance": {"steps": 3}}
    save_encoder(objective.encoder, chosen, run / "encoder", objective=objective, **made)  # type: ignore[arg-type]
    resolved = {"encoder": chosen.model_dump(mode="json"), "objective": settings.model_dump(mode="json")}
    (run / "config.yaml").write_text(yaml.safe_dump(resolved))
    return objective.eval()


def stir(module: nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))


def films(rows: int, columns: int) -> np.ndarray:
    """[3, rows, columns] uint16 display values."""
    return np.random.default_rng(5).integers(0, 65536, (3, rows, columns), dtype=np.uint16)


def as_images(values: np.ndarray, channels: int) -> Tensor:
    """[3, channels, rows, columns] float32 in [0, 1], as other frameworks take them."""
    return torch.from_numpy(values.astype(np.float32) / 65535)[:, None].repeat(1, channels, 1, 1)


def as_embedded(values: np.ndarray, patch: int = PATCH) -> Patches:
    """The films as ``launch/embed.py`` would lay them out, all of them content."""
    rows, columns = values.shape[1:]
    tokens = (rows // patch) * (columns // patch)
    layout = film_layout(rows, columns, Region(0, 0, rows, columns), tokens, patch)
    assert layout.grid == (rows // patch, columns // patch)
    return stack([cut_into_patches(film, layout, patch) for film in values])


@torch.no_grad()
def our_features(encoder: ViT, values: np.ndarray) -> Features:
    features: Features = encoder(as_embedded(values, encoder.patch))
    return features
