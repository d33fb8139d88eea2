"""What a run leaves behind, and how it is taken up again.

RUN/
  config.yaml       resolved settings
  run.json          what a resumed run must share: settings that change results, dataset, code version
  checkpoints/      step-0000500/ …, latest.json: see ``checkpoints.py``
  encoder/          exported encoder: safetensors, preprocessing, model card (where one was trained)
  best.safetensors  best weights so far, of which step and by which metric (of a finetuning, as what follows)
  predictor/        encoder and head: safetensors, calibration, operating points, model card
  evaluation/       tables and pictures of the final evaluation
  metrics.jsonl     one line per logged step
  mlflow_run        id of the MLflow run
  samples/          reconstructions of held-out films
  non_finite.json   only after a loss or gradient that is not finite: step and film keys
"""

import errno
import json
import logging
import math
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from data_prep.runtime.atomic_write import atomic_file, atomic_text, remove_temporary, temporary_paths
from data_prep.runtime.folder_lock import LOCK_FILE, locked
from mae_rad.errors import RunError
from mae_rad.training.settings import TrainingSettings

FAULT = "non_finite.json"
OWN_NAMES = {
    "config.yaml", "run.json", "checkpoints", "encoder", "metrics.jsonl", "mlflow_run", "samples", LOCK_FILE, FAULT,
    "best.safetensors", "predictor", "evaluation",
}  # fmt: skip

_log = logging.getLogger(__name__)


class RunFolder:
    """A run folder that belongs to these settings and these shards."""

    def __init__(self, settings: TrainingSettings, dataset_sha256: str) -> None:
        self.path = settings.runtime.run_dir
        self.checkpoints = self.path / "checkpoints"
        self.encoder = self.path / "encoder"
        self.best = self.path / "best.safetensors"
        self.predictor = self.path / "predictor"
        self.evaluation = self.path / "evaluation"
        self.samples = self.path / "samples"
        self.metrics = self.path / "metrics.jsonl"
        self._unwritten: list[str] = []
        self._reported: set[str] = set()
        self._settings = settings
        self._held = ExitStack()
        self._identity = {"settings": settings.results(), "dataset_sha256": dataset_sha256}

    def check(self) -> None:
        """Refuse a folder of another run.

        Raises:
            RunError: settings that change results, or shards, differ from those the run began with.
        """
        path = self.path / "run.json"
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file; give a new or empty folder as runtime.run_dir")
        if self.path.exists() and (
            other := {entry.name for entry in self.path.iterdir()}
            - OWN_NAMES
            - {path.name for path in temporary_paths(self.path, *OWN_NAMES)}
        ):
            raise RunError(f"{self.path} holds other files ({min(other)}, …); give a new or empty runtime.run_dir")
        if not any(self.checkpoints.glob("step-*")):
            return  # nothing was learned yet: it may begin anew with any settings
        try:
            began: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise RunError(f"{path} is damaged, so the run cannot go on; give a new runtime.run_dir") from None
        if began["dataset_sha256"] != self._identity["dataset_sha256"]:
            raise RunError(
                f"{self.path} was begun on other shards; give the same data.shards (and data.generations,"
                " if they have grown), or a new runtime.run_dir"
            )
        now, chosen = self._identity["settings"], self._settings.model_dump(mode="json", exclude_defaults=True)
        differing = _differences(began["settings"], json.loads(json.dumps(now)), chosen)
        if differing:
            raise RunError(
                f"{self.path} was begun with other settings: {'; '.join(differing)};"
                " a result setting cannot change on resume: set it back, or give a new runtime.run_dir"
            )

    def begin(self) -> None:
        """Make the folder and write the settings.

        Raises:
            RunError: another process trains in this folder.
        """
        self.samples.mkdir(parents=True, exist_ok=True)
        self._lock()
        remove_temporary(self.path, *OWN_NAMES)
        self.checkpoints.mkdir(exist_ok=True)
        for folder in (self.samples, self.checkpoints, self.evaluation):
            if folder.is_dir():
                remove_temporary(folder)
        if not any(self.checkpoints.glob("step-*")):
            self.best.unlink(missing_ok=True)  # of a training that ended before it saved itself, perhaps another one
        resolved = yaml.safe_dump(self._settings.model_dump(mode="json"), sort_keys=False)
        atomic_text(self.path / "config.yaml", resolved)
        atomic_text(self.path / "run.json", json.dumps(self._identity, indent=1))

    def release(self) -> None:
        """Let another process train in this folder."""
        self._held.close()

    def _lock(self) -> None:
        try:
            self._held.enter_context(locked(self.path))
        except BlockingIOError:
            raise RunError(
                f"another process trains in {self.path}; wait for it, or give another runtime.run_dir"
            ) from None

    def tracking_id(self) -> str | None:
        """Id of the MLflow run that this folder belongs to."""
        path = self.path / "mlflow_run"
        return path.read_text(encoding="utf-8").strip() if path.exists() else None

    def keep_tracking_id(self, run_id: str) -> None:
        """Remember the MLflow run, so that a resumed training goes on in it."""
        atomic_text(self.path / "mlflow_run", run_id)

    def truncate_metrics(self, step: int) -> None:
        """Forget the lines after ``step``, and one that was cut off: those steps are about to be taken again.

        So is a look at the model after ``step``, whose line tells no loss of training.
        """
        if not self.metrics.exists():
            return
        kept = 0
        with self.metrics.open("rb+") as file:
            for line in file:
                if _is_after(line, step):
                    break
                kept += len(line)
            file.truncate(kept)  # needs no room, unlike a copy

    def log(self, step: int, values: dict[str, float]) -> None:
        """Append one line of metrics; what a step cannot tell (NaN) is left out.

        Lines that find no room are kept, and written when there is some.
        """
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        self._unwritten.append(json.dumps({"step": step, "time": round(time.time(), 3)} | finite) + "\n")
        self._try("metrics", self._write_metrics)

    def keep_picture(self, step: int, picture: Image.Image) -> None:
        """Write ``samples/step-….png``; a picture that finds no room is left out."""

        def write() -> None:
            with atomic_file(self.samples / f"step-{step:07d}.png") as file:
                picture.save(file, format="png")

        self._try("a picture", write)

    def keep_fault(self, what: str, step: int, films: list[list[str]]) -> None:
        """Write what was not finite, at which step, and the film keys of each rank."""
        fault = {"not_finite": what, "step": step, "films_by_rank": films}
        self._try("the fault", lambda: atomic_text(self.path / FAULT, json.dumps(fault, indent=1)))

    def _write_metrics(self) -> None:
        text = "".join(self._unwritten).encode()
        with self.metrics.open("ab", buffering=0) as file:  # a buffer would be written again before a truncation
            before = file.tell()
            try:
                written = file.write(text)
                if written != len(text):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                file.truncate(before)
                raise
        self._unwritten.clear()

    def _try(self, what: str, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            if what not in self._reported:
                self._reported.add(what)
                _log.warning("%s cannot be written (%s); the training goes on", what, error.strerror)


def unfinished_settings(run_dir: Path) -> dict[str, Any]:
    """Settings that a run in ``run_dir`` with a checkpoint has recorded, by name; empty where there is none."""
    if not any((run_dir / "checkpoints").glob("step-*")):
        return {}
    try:
        recorded: dict[str, Any] = json.loads((run_dir / "run.json").read_text(encoding="utf-8"))["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # check() reports it
    return recorded


def _is_after(line: bytes, step: int) -> bool:
    """Whether a line of metrics was written after ``step``, or is none: cut off, or left as zeros by a crash."""
    try:
        values = json.loads(line)
        return not line.endswith(b"\n") or values["step"] > step or (values["step"] == step and "loss" not in values)
    except ValueError:
        return True


def _differences(before: Any, now: Any, chosen: Any, name: str = "") -> list[str]:
    """What differs; a setting that there was not before counts where another value than its default is ``chosen``."""
    if isinstance(before, dict) and isinstance(now, dict):
        chosen = chosen if isinstance(chosen, dict) else {}
        return [
            line
            for key in sorted(before.keys() | (now.keys() & chosen.keys()))
            for line in _differences(before.get(key), now.get(key), chosen.get(key), f"{name}.{key}" if name else key)
        ]
    return [] if before == now else [f"{name} was {before!r} and is {now!r}"]
