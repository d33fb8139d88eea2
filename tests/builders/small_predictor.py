"""An untrained predictor, and films for it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from data_prep.sharding.single_film import PreparationSettings
from mae_rad.encoders.timm_encoder import TimmSettings
from mae_rad.encoders.vit import EncoderSettings
from mae_rad.export.predictor_card import Scope
from mae_rad.export.predictor_folder import build_model, save_predictor
from mae_rad.heads import ClassificationSettings, DetectionSettings, TaskSettings
from mae_rad.heads.interface import Calibration

LABELS = ("fracture", "foreign_object")
SMALL = EncoderSettings(model="vit_tiny", dim=32, depth=2, heads=2, patch=8)
HALF = {"sensitivity_90": dict.fromkeys(LABELS, 0.5), "sensitivity_95": dict.fromkeys(LABELS, 0.1)}


def write_predictor(
    folder: Path,
    *,
    points: Mapping[str, Mapping[str, float]] = HALF,
    body_parts: tuple[str, ...] = ("HAND", "CHEST"),
    views: tuple[str, ...] = ("PA", "LATERAL"),
    preparation: PreparationSettings | None = None,
    boxes: bool = False,
    encoder: EncoderSettings | TimmSettings = SMALL,
    where: Mapping[str, Mapping[str, Any]] | None = None,
    window: int | None = None,
    pool: str = "attentive",
    other: TaskSettings | None = None,
    calibration: Mapping[str, Calibration] | None = None,
    chance_warnings: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Path:
    """Two labels on a small encoder, T = 36, with scores that differ from film to film.

    ``where`` is label → which films are asked for it; ``other`` is a task of numbers or exclusive classes instead.
    """
    labels = [{"label": label, "where": (where or {}).get(label, {})} for label in LABELS]
    task: TaskSettings = ClassificationSettings.model_validate({"labels": labels, "window": window, "pool": pool})
    if boxes:
        task = DetectionSettings.model_validate(
            {"labels": labels, "channels": 32, "convolutions": 1, "least": 0, "most": 5}
        )
    task = other or task
    torch.manual_seed(seed)
    model, head = build_model(encoder, task)
    for layer in head.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.3)
    card: dict[str, Any] = {
        "encoder": encoder,
        "tokens": 36,
        "task": task,
        "calibration": dict(calibration or {}),
        "operating_points": {} if other else {name: dict(of_label) for name, of_label in points.items()},
        "scope": Scope(body_parts=dict.fromkeys(body_parts, 10), views=dict.fromkeys(views, 10)),
        "film": preparation or PreparationSettings(max_side=64),
        "chance_warnings": dict(chance_warnings or {}),
        "provenance": {},
    }
    save_predictor(model, head, folder, card)
    return folder
