"""Export a checkpoint of an unfinished run, or of an earlier step, as an encoder folder with its decoder or head.

DeepSpeed's file is read by torch's restricted loader (``weights_only``), which runs no code, and only where the
checkpoint bears a seal of the user: see ``mae_rad/training/checkpoint_seal.py``.
"""

import hashlib
import json
import pickle
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from data_prep.bounded_reading import MAX_YAML_BYTES, parse_yaml, read_bounded, read_json
from mae_rad.data.resolution_schedule import tokens_at
from mae_rad.encoders.any_encoder import AnyEncoderSettings
from mae_rad.errors import WeightsError
from mae_rad.export.encoder_folder import check_fit, save_encoder, without_weights
from mae_rad.export.encoder_with_decoder_folder import SETTINGS
from mae_rad.objectives import FILM, objective_settings
from mae_rad.training.checkpoint_seal import has_valid_seal
from mae_rad.training.save_and_resume import find_change, read_record
from mae_rad.training.settings import OptimizerSettings
from mae_rad.training.weight_average import AVERAGE

WEIGHTS = "mp_rank_00_model_states.pt"
_PREFIX = "objective."
_ENCODER: TypeAdapter[AnyEncoderSettings] = TypeAdapter(AnyEncoderSettings)


def checkpoint_folder(run: Path, step: int | None, folder: Path, *, trusted: bool = False) -> Path:
    """Write an encoder folder from a checkpoint of a run.

    Args:
        run: run folder.
        step: optimiser steps that the checkpoint has taken; None takes the newest.
        folder: encoder folder to write.
        trusted: read a checkpoint that bears no seal of this user.

    Returns:
        ``folder``.

    Raises:
        WeightsError: the checkpoint is missing, damaged, bears no seal, or is partitioned by ZeRO stage 3.
    """
    try:
        latest = read_json(run / "checkpoints" / "latest.json")
        recorded = read_json(run / "run.json")
        config = parse_yaml(read_bounded(run / "config.yaml", MAX_YAML_BYTES).decode())
        if "task" in config:
            raise WeightsError(
                f"{run} is a finetuning, which has an encoder of its own only once it has finished with"
                " adaptation.encoder=finetuned. Export that of its start_from."
            )
        encoder = _ENCODER.validate_python(config["encoder"])
        optimizer = OptimizerSettings.model_validate(config["optimizer"])
        settings = objective_settings(config["objective"])
    except (FileNotFoundError, NotADirectoryError):
        raise WeightsError(f"{run} has neither an encoder nor a checkpoint. Give a run folder.") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise WeightsError(
            f"the settings in {run} are damaged or of another version. Give another copy of the run folder."
        ) from None
    if latest["zero_stage"] == 3:
        raise WeightsError(
            f"the checkpoints of {run} are partitioned (ZeRO stage 3). Finish the run, then export its encoder."
        )
    path = run / "checkpoints" / (latest["tag"] if step is None else f"step-{step:07d}") / WEIGHTS
    weights = _weights(path, run, trusted)
    with torch.device("meta"):
        objective = settings.build({FILM: without_weights(encoder)})
    check_fit(weights, objective, str(path))
    objective.load_state_dict(weights, assign=True)
    steps_taken = int(path.parent.name.removeprefix("step-"))
    save_encoder(
        objective.encoder,
        encoder,
        folder,
        tokens=tokens_at(steps_taken - 1, optimizer.scheduled_steps, settings.schedule, settings.tokens),
        precision=config.get("precision", "bf16"),
        provenance={
            "objective": settings.name,
            "steps": steps_taken,
            "films_seen": steps_taken * optimizer.batch,
            **{
                name: recorded[name] for name in ("dataset_sha256", "datasets", "distinct_patients") if name in recorded
            },
            "config_sha256": hashlib.sha256(json.dumps(recorded["settings"], sort_keys=True).encode()).hexdigest(),
            "version": version("mae_rad"),
            **({"average_decay": optimizer.average_decay} if optimizer.average_decay else {}),
        },
        objective=objective,
    )
    (folder / SETTINGS).write_text(settings.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return folder


def _weights(path: Path, run: Path, trusted: bool) -> dict[str, torch.Tensor]:
    if not path.is_file():
        kept = sorted(folder.name.removeprefix("step-").lstrip("0") for folder in (run / "checkpoints").glob("step-*"))
        raise WeightsError(
            f"{run} has no checkpoint {path.parent.name}. Choose one of its steps: {', '.join(kept) or 'none'}."
        )
    record = read_record(path.parent)
    if record is None or (change := find_change(path.parent, record)):
        raise WeightsError(
            f"{path.parent} is damaged ({'no record' if record is None else change}). Choose another step."
        )
    if not trusted and not has_valid_seal(record):
        raise WeightsError(
            f"{path.parent} bears no seal of yours: another user or an earlier release wrote it. If you trust"
            " whoever wrote this folder, resume the training with runtime.trust_run=true, or add --trust-run to the"
            " export."
        )
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        state: dict[str, Any] = checkpoint.get("mae_rad", {}).get(AVERAGE) or checkpoint["module"]
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError):
        raise WeightsError(f"{path} is damaged or holds more than weights. Choose another step.") from None
    return {name.removeprefix(_PREFIX): value for name, value in state.items()}
