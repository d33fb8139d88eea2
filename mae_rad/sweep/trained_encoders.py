"""The encoders of the arms of a sweep: the last one of each and, for curves, those of its checkpoints."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mae_rad.export.checkpoint_encoder import checkpoint_folder
from mae_rad.export.encoder_folder import read_card
from mae_rad.export.encoder_with_decoder_folder import encoder_folder
from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.sweep.arms import Arm


class TrainedEncoder(NamedTuple):
    """An encoder of an arm.

    Attributes:
        name: name in tables; that of the arm, or with the films drawn of an earlier checkpoint.
        arm: name of its arm.
        films: films drawn in its training.
        folder: run folder or encoder folder.
        is_last: whether it is the result of the training.
    """

    name: str
    arm: str
    films: int
    folder: Path
    is_last: bool


def trained_encoders(
    arms: Sequence[Arm[PretrainSettings]], exports: Path, *, with_checkpoints: bool
) -> list[TrainedEncoder]:
    """Find the encoders of finished arms.

    Args:
        arms: arms that have finished.
        exports: folder for the encoders of checkpoints; those that are there are not written again.
        with_checkpoints: also the encoders of all kept checkpoints before the last step
            (``runtime.keep_checkpoints``), for curves of score against films drawn.

    Returns:
        By arm, in ascending order of films.

    Raises:
        WeightsError: a run has no encoder, or a checkpoint is damaged.
    """
    return [encoder for arm in arms for encoder in _of_arm(arm, exports, with_checkpoints)]


def _of_arm(arm: Arm[PretrainSettings], exports: Path, with_checkpoints: bool) -> Iterator[TrainedEncoder]:
    run, optimizer = arm.settings.runtime.run_dir, arm.settings.optimizer
    if with_checkpoints:
        for step in _steps(run):
            if step >= optimizer.steps:
                continue
            films = step * optimizer.batch
            name = f"{arm.name} at {films:,} films"
            folder = exports / arm.name / f"step-{step:07d}"
            if not (folder / "encoder.json").is_file():
                folder.parent.mkdir(parents=True, exist_ok=True)
                checkpoint_folder(run, step, folder)
            yield TrainedEncoder(name, arm.name, films, folder, is_last=False)
    films_seen = read_card(encoder_folder(run)).provenance.get("films_seen")
    films = films_seen if isinstance(films_seen, int) else optimizer.steps * optimizer.batch
    yield TrainedEncoder(arm.name, arm.name, films, run, is_last=True)


def _steps(run: Path) -> list[int]:
    return sorted(
        int(path.name.removeprefix("step-")) for path in (run / "checkpoints").glob("step-*") if path.is_dir()
    )


def last_metrics(run: Path) -> dict[str, float]:
    """Read the last value of every metric that a run has logged; empty without a log.

    Args:
        run: run folder.
    """
    log = run / "metrics.jsonl"
    values: dict[str, float] = {}
    for line in log.read_text(encoding="utf-8").splitlines() if log.is_file() else ():
        values |= {name: value for name, value in json.loads(line).items() if isinstance(value, int | float)}
    return values
